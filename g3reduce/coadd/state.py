"""States of coadds: a running sum with its ledger as a frame, from which it can be taken up again.

A state is written between two frames of input, and what is read from it is the same sum, to the
bit. It is a frame of no type, so that whatever sums maps passes it over: its maps are empty, and
the sums stand beside them; see `g3reduce.maps.sumstate`. Nothing in it is ever executed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from spt3g import core

from ..errors import InputError
from ..g3files.compressed import open_bytes
from ..g3files.decoding import walked
from ..g3files.frames import RawFrame, Sink, Unrecognised
from ..maps import mapframe
from ..maps.mapfile import write_map_frame
from ..maps.storedframe import StoredFrame
from ..maps.sumstate import SumState, values_of
from ..pipeline.ledger import Entry, Ledger, Unit
from ..pipeline.originals import Original
from .joining import Coadd

_ENTRIES = "SumEntries"


def write_state(file: Sink, coadd: Coadd) -> None:
    """Write a running sum and its ledger as a frame. The sum stays as it is, and goes on.

    Parameters
    ----------
    file : Sink
    coadd : Coadd
        Between two frames of input.
    """
    outline = core.G3Frame(core.G3FrameType.none)
    empty = mapframe.to_frame(coadd.frame_id, coadd.total.outlines())
    for key in empty:
        outline[key] = empty[key]
    outline[_ENTRIES] = json.dumps([_as_list(entry) for entry in coadd.ledger.entries])
    write_map_frame(file, outline, {}, values_of(coadd.total))


def states_in(file: str) -> Iterator[Coadd]:
    """The sums that were written to a file, each with its ledger.

    Raises
    ------
    InputError
        If the file is broken, or has something else, or what a newer version wrote.
    """
    yield from walked(open_bytes(file), _state_of)


def _state_of(raw: RawFrame) -> Coadd:
    where = str(raw)
    try:
        if not raw.native:
            raise Unrecognised("a frame in another byte order or version")
        frame = StoredFrame(raw)
    except Unrecognised as reason:
        raise InputError(f"{where}: this is no state of a sum of maps ({reason}).") from reason
    frame.verify()
    total = SumState(frame, where).load()
    frame_id = frame.get("Id", None)
    if not isinstance(frame_id, str):
        raise InputError(f"{where}: this is no state of a sum of maps (its Id is {frame_id!r}).")
    return Coadd(frame_id, total, Ledger(_entries_in(frame, where)))


def _entries_in(frame: StoredFrame, where: str) -> list[Entry]:
    try:
        text = frame[_ENTRIES]
        if not isinstance(text, str):
            raise TypeError(f"a {type(text).__name__}")
        return [_entry_of(*one) for one in json.loads(text)]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{where}: the list of the frames in this sum cannot be read ({error})."
        ) from error


def _as_list(entry: Entry) -> list[Any]:
    unit = entry.unit
    return [
        None if unit is None else [unit.file, unit.index, unit.position, unit.shared],
        entry.map_ids,
        entry.originals,
        entry.is_coadd,
        entry.names_files,
        entry.file,
    ]


def _entry_of(
    unit: Any, map_ids: Any, originals: Any, is_coadd: Any, names_files: Any, file: Any
) -> Entry:
    return Entry(
        None if unit is None else Unit(str(unit[0]), int(unit[1]), int(unit[2]), bool(unit[3])),
        tuple(map(str, map_ids)),
        tuple(_original_of(*one) for one in originals),
        bool(is_coadd),
        bool(names_files),
        None if file is None else _original_of(*file),
    )


def _original_of(name: Any, keys: Any) -> Original:
    return Original(str(name), tuple(map(str, keys)))
