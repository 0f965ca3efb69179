"""Ledgers as a few arrays, in which they go from rank to rank: each thing in them is there once.

A frame that is in a hundred ledgers, as of splits, is one row of a table and a hundred numbers; so
are the names of files, Ids and observations. What is unpacked shares them, too.
"""

from __future__ import annotations

import gc
import pickle
import struct
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..g3files.frames import Fingerprint
from .entries import Entry, LeftOut
from .ledger import Ledger
from .originals import Original
from .units import Unit

T = TypeVar("T", bound=Hashable)

# Rows of tables. Of units: file, whether shared, whether its checksum is known; index, position,
# checksum, length. Of entries: unit, read, map_ids, originals, file, map_id, observation, flags;
# pixels, weight. Numbers of other tables are -1 where there is nothing.
_UNIT = struct.Struct("<i??2x4q")
_ENTRY = struct.Struct("<8iqd")


class _Numbers(dict[T, int], Generic[T]):
    """Numbers things in the order in which they come, each once."""

    def __missing__(self, key: T) -> int:
        number = self[key] = len(self)
        return number


def pack(ledgers: Iterable[Ledger]) -> bytes:
    """Pack ledgers, for `unpack` on another rank of the same job.

    Parameters
    ----------
    ledgers : iterable of Ledger

    Returns
    -------
    bytes
        48 for each frame, and about as much for its unit, with the names that are new; and five
        for each ledger in which it is.
    """
    tables = _Tables()
    packed = [tables.pack(ledger) for ledger in ledgers]
    return pickle.dumps((tables.content(), packed), protocol=5)


def unpack(content: bytes, strings: dict[str, str] | None = None) -> list[Ledger]:
    """The ledgers that `pack` has packed.

    Parameters
    ----------
    content : bytes
    strings : dict of str to str, optional
        Strings that are in memory already, which are used again; it gets the new ones. Give the
        same for the ledgers of several ranks.

    Returns
    -------
    list of Ledger
    """
    tables, packed = pickle.loads(content)
    with _no_garbage():
        entries = _entries_of(*tables, strings={} if strings is None else strings)
    changed: dict[tuple[int, int, bytes], Entry] = {}
    return [_ledger_of(entries, changed, *columns) for columns in packed]


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Do not let Python look for cycles meanwhile: among millions of new tuples, of which none is
    garbage, that takes most of the time."""
    looks = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looks:
            gc.enable()


class _Tables:
    """The tables of all that is in some ledgers."""

    def __init__(self) -> None:
        self.strings: _Numbers[str] = _Numbers()
        self.lists: _Numbers[tuple[int, ...]] = _Numbers()
        self.entries: _Numbers[bytes] = _Numbers()
        self.originals, self.units = array("i"), bytearray()
        # By identity: entries, units and originals, which live as long as the ledgers.
        self._known: dict[int, int] = {}

    def pack(self, ledger: Ledger) -> tuple[Any, ...]:
        """The columns of a ledger: rows of the table, signs, flips, and what was left out."""
        entries = ledger.entries
        rows = np.fromiter(map(self._row_of, entries), np.int32, len(entries))
        signs = np.fromiter((entry.sign for entry in entries), np.int8, len(entries))
        flips = None
        if any(entry.flips for entry in entries):
            lengths = np.fromiter((len(entry.flips) for entry in entries), np.int32, len(entries))
            flips = lengths, b"".join(entry.flips for entry in entries)
        return rows, signs, flips, [tuple(one) for one in ledger.left_out]

    def content(self) -> tuple[Any, ...]:
        """The tables, as they are sent."""
        lengths = np.fromiter(map(len, self.lists), np.int32, len(self.lists))
        members = np.fromiter((at for one in self.lists for at in one), np.int32)
        entries = b"".join(self.entries)
        return [*self.strings], (lengths, members), self.originals, bytes(self.units), entries

    def _row_of(self, entry: Entry) -> int:
        row = self._known.get(id(entry))
        if row is None:
            row = self._known[id(entry)] = self.entries[self._packed(entry)]
        return row

    def _packed(self, entry: Entry) -> bytes:
        return _ENTRY.pack(
            self._unit(entry.unit),
            self._unit(entry.read),
            self._list(list(map(self.strings.__getitem__, entry.map_ids))),
            self._list(list(map(self._original, entry.originals))),
            self._original(entry.file),
            self.strings[entry.map_id],
            self.strings[entry.observation],
            entry.is_coadd | entry.names_files << 1 | entry.inside << 2,
            entry.pixels,
            entry.weight,
        )

    def _unit(self, unit: Unit | None) -> int:
        if unit is None:
            return -1
        number = self._known.get(id(unit))
        if number is None:
            mark, file = unit.fingerprint, self.strings[unit.file]
            of_frame = (0, 0) if mark is None else mark
            packed = _UNIT.pack(
                file, unit.shared, mark is not None, unit.index, unit.position, *of_frame
            )
            number = self._known[id(unit)] = len(self.units) // _UNIT.size
            self.units += packed
        return number

    def _original(self, file: Original | None) -> int:
        if file is None:
            return -1
        number = self._known.get(id(file))
        if number is None:
            keys = self._list(list(map(self.strings.__getitem__, file.keys)))
            number = self._known[id(file)] = len(self.originals) // 2
            self.originals.extend((self.strings[file.name], keys))
        return number

    def _list(self, members: list[int]) -> int:
        """The number of a list of numbers: most are of one, and stand for themselves."""
        return -1 - members[0] if len(members) == 1 else self.lists[tuple(members)]


def _entries_of(
    names: list[str],
    packed_lists: tuple[NDArray[np.int32], NDArray[np.int32]],
    packed_originals: array[int],
    packed_units: bytes,
    packed_entries: bytes,
    *,
    strings: dict[str, str],
) -> list[Entry]:
    """The entries of the table, each with the sign 1."""
    names = [strings.setdefault(name, name) for name in names]
    lengths, members = packed_lists
    ends = list(accumulate(lengths.tolist(), initial=0))
    lists = [members[begin:end].tolist() for begin, end in pairwise(ends)]
    # Lists of strings and of originals are in one table, and made where they are first used.
    names_at: dict[int, tuple[str, ...]] = {}
    files_at: dict[int, tuple[Original, ...]] = {}

    def names_in(number: int) -> tuple[str, ...]:
        if number not in names_at:
            names_at[number] = tuple(names[at] for at in _members(number, lists))
        return names_at[number]

    pairs = zip(packed_originals[::2], packed_originals[1::2], strict=True)
    originals = [Original(names[name], names_in(keys)) for name, keys in pairs]

    def files_in(number: int) -> tuple[Original, ...]:
        if number not in files_at:
            files_at[number] = tuple(originals[at] for at in _members(number, lists))
        return files_at[number]

    units: list[Unit | None] = [*_units_of(packed_units, names), None]  # the last is number -1
    files: list[Original | None] = [*originals, None]
    return [
        Entry(
            unit=units[unit],
            map_ids=names_in(map_ids),
            originals=files_in(listed),
            is_coadd=bool(flags & 1),
            names_files=bool(flags & 2),
            file=files[file],
            read=units[read],
            inside=bool(flags & 4),
            map_id=names[map_id],
            observation=names[observation],
            pixels=pixels,
            weight=weight,
        )
        for unit, read, map_ids, listed, file, map_id, observation, flags, pixels, weight in (
            _ENTRY.iter_unpack(packed_entries)
        )
    ]


def _members(number: int, lists: Sequence[Sequence[int]]) -> Sequence[int]:
    """The members of a list, by its number; see `_Tables`."""
    return lists[number] if number >= 0 else [-1 - number]


def _units_of(packed: bytes, names: Sequence[str]) -> Iterator[Unit]:
    for file, shared, is_marked, index, position, *mark in _UNIT.iter_unpack(packed):
        fingerprint = Fingerprint(*mark) if is_marked else None
        yield Unit(names[file], index, position, shared, fingerprint)


def _ledger_of(
    entries: list[Entry],
    changed: dict[tuple[int, int, bytes], Entry],
    rows: NDArray[np.int32],
    signs: NDArray[np.int8],
    flips: tuple[NDArray[np.int32], bytes] | None,
    left_out: list[tuple[str, int, str]],
) -> Ledger:
    """A ledger of these columns; `changed` are entries of the table with other signs and flips."""
    found = [entries[row] for row in rows.tolist()]
    flips_at: dict[int, bytes] = {}
    if flips is not None:
        lengths, joined = flips
        ends = accumulate(lengths.tolist(), initial=0)
        flips_at = {at: joined[begin:end] for at, (begin, end) in enumerate(pairwise(ends))}
    for at in flips_at or np.flatnonzero(signs != 1).tolist():
        key = int(rows[at]), int(signs[at]), flips_at.get(at, b"")
        if key not in changed:
            changed[key] = found[at]._replace(sign=key[1], flips=key[2])
        found[at] = changed[key]
    return Ledger(found, [LeftOut(*one) for one in left_out])
