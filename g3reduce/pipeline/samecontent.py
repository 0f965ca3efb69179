"""Frames of different files that have the same content: suspected by checksum, then compared.

A CRC32C has 32 bits. Of a hundred thousand frames of one length, two that differ are likely to have
the same one.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator
from itertools import islice

from ..errors import InputError
from ..g3files.compressed import open_bytes
from ..g3files.frames import RawFrame, Unrecognised, walk
from ..g3files.names import SUFFIXES, is_stream
from ..limits import LIMITS
from .entries import Entry


def have_same_content(one: Entry, other: Entry) -> bool:
    """Whether two frames, of the same checksum and length, have the same content.

    Their bytes are compared, where both files can be read. Where not, they are the same if all
    that is known of them is: Ids, observations, and what they have contributed. Maps without any
    hit may be alike, and count as different.
    """
    if not (one.pixels and other.pixels):
        return False
    equal = _have_same_bytes(one, other)
    if equal is not None:
        return equal
    if one.map_id != other.map_id or one.observation != other.observation:
        return False
    return (one.pixels, one.weight) == (other.pixels, other.weight)


def _have_same_bytes(one: Entry, other: Entry) -> bool | None:
    """Whether the bytes of two frames are the same; None if they cannot be read."""
    mine, theirs = _frame_of(one), _frame_of(other)
    if mine is None or theirs is None:
        return _are_in_same_files(one, other)
    try:
        # The first bytes to differ end it.
        return all(a == b for a, b in zip(_parts(mine), _parts(theirs), strict=True))
    except InputError:
        return None


def _are_in_same_files(one: Entry, other: Entry) -> bool | None:
    """Whether files that are no .g3 files are copies of each other; None if that is not so."""
    mine, theirs = one.unit, other.unit
    if mine is None or theirs is None or mine.index != theirs.index:
        return None
    files = mine.file, theirs.file
    if any(file.endswith(SUFFIXES) or is_stream(file) for file in files):
        return None
    try:
        return filecmp.cmp(*files, shallow=False) or None
    except (OSError, ValueError):  # a ledger may name anything
        return None


def _frame_of(entry: Entry) -> RawFrame | None:
    """The frame of an entry, if it still is where it was, and what it was."""
    unit = entry.unit
    if unit is None or unit.index < 0 or not unit.file.endswith(SUFFIXES):
        return None
    try:
        frame = next(islice(walk(open_bytes(unit.file)), unit.index, None), None)
        return frame if frame is not None and frame.fingerprint == unit.fingerprint else None
    except (InputError, Unrecognised, OSError):
        return None


def _parts(frame: RawFrame) -> Iterator[bytes]:
    for begin in range(frame.start, frame.end, LIMITS.step):
        yield frame.source.read(begin, min(LIMITS.step, frame.end - begin))
