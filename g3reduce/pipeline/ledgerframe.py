"""The ledger of a coadd in its Map frame, written and read.

It is plain spt3g data: vectors of strings and numbers, in which a place stands for a frame that was
counted, in the order of input. ``coadd["Ledger"]["file"][3]`` is the file of the fourth one, and
``coadd["LedgerNumbers"]["frame"][3]`` says which frame of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from spt3g import core

from ..errors import InputError
from ..g3files.frames import Fingerprint
from ..spt3gtypes import Frame
from .ledger import Entry, Ledger, LeftOut, Unit
from .originals import KnownFiles, Original

TEXTS, NUMBERS, LEFT_OUT = "Ledger", "LedgerNumbers", "LeftOut"

DIFFERENCE = "Difference"
"""What half differences have beside their ledger: they are not the sum of what that lists."""

# Of coadds without a ledger of their own: what they list, by their places.
_IDS, _FILES = "LedgerInputMapIds", "LedgerInputFiles"

# The frames that were read, where they are not those of the ledger, or their order counts.
_READ_TEXTS, _READ_NUMBERS = "LedgerRead", "LedgerReadNumbers"

_COLUMNS = {
    TEXTS: ("file", "id", "observation", "checksum"),
    NUMBERS: ("frame", "length", "sign", "pixels", "weight"),
    LEFT_OUT: ("file", "frame", "reason"),
    _READ_TEXTS: ("file", "listed"),
    _READ_NUMBERS: ("frame", "position", "shared", "inside"),
}


def put_ledger(frame: Frame, ledger: Ledger, *, as_read: bool = False) -> None:
    """Write a ledger into a frame.

    Parameters
    ----------
    frame : G3Frame
    ledger : Ledger
    as_read : bool
        Also write which frames were read, so that `ledger_as_read` gives the same ledger again.
    """
    entries = ledger.entries
    if entries or as_read:
        _put(frame, TEXTS, map(_texts_of, entries), core.G3MapVectorString)
        _put(frame, NUMBERS, map(_numbers_of, entries), core.G3MapVectorDouble)
    coadds = [(str(place), entry) for place, entry in enumerate(entries) if entry.is_coadd]
    if coadds:
        frame[_IDS] = core.G3MapVectorString({at: list(one.map_ids) for at, one in coadds})
        files = {at: list(one.files) for at, one in coadds if one.names_files}
        frame[_FILES] = core.G3MapVectorString(files)
    if ledger.left_out:
        rows = [(one.file, str(one.frame), one.reason) for one in ledger.left_out]
        _put(frame, LEFT_OUT, rows, core.G3MapVectorString)
    if as_read:
        _put(frame, _READ_TEXTS, map(_read_texts_of, entries), core.G3MapVectorString)
        _put(frame, _READ_NUMBERS, map(_read_numbers_of, entries), core.G3MapVectorDouble)


def ledger_in(frame: Frame, where: str) -> Ledger | None:
    """The ledger in a frame, as it stands there: no file is looked for.

    Parameters
    ----------
    frame : G3Frame or StoredFrame
    where : str
        How messages name the frame.

    Returns
    -------
    Ledger or None
        None if there is none.

    Raises
    ------
    InputError
        If it is there, but is no ledger.
    """
    left_out = _left_out_in(frame, where)
    if TEXTS not in frame and NUMBERS not in frame:
        return Ledger([], left_out) if left_out else None
    texts = _columns(frame, TEXTS, where)
    numbers = _columns(frame, NUMBERS, where)
    ids, files = _lists(frame, _IDS, where), _lists(frame, _FILES, where)
    rows = zip(*texts, *numbers, strict=False)
    if len({*map(len, texts), *map(len, numbers)}) != 1:
        raise _no_ledger(where, "its columns are of different lengths")
    try:
        entries = [_entry_of(row) for row in rows]
        for at, listed in ids.items():
            inputs = files.get(at, [])
            originals = tuple(Original(name, ()) for name in inputs)
            entries[int(at)] = entries[int(at)]._replace(
                map_ids=tuple(listed),
                originals=originals or entries[int(at)].originals,
                is_coadd=True,
                names_files=bool(inputs),
            )
    except (ValueError, OverflowError, IndexError) as error:
        raise _no_ledger(where, str(error)) from error
    return Ledger(entries, left_out)


def ledger_as_read(frame: Frame, where: str, known: KnownFiles | None = None) -> Ledger:
    """The ledger that `put_ledger` has written with `as_read`, as it was.

    Raises
    ------
    InputError
        If it is not there.
    """
    known = known or KnownFiles()
    ledger = ledger_in(frame, where)
    if ledger is None:
        raise _no_ledger(where, "there is none")
    texts, numbers = _columns(frame, _READ_TEXTS, where), _columns(frame, _READ_NUMBERS, where)
    if {*map(len, texts), *map(len, numbers)} != {len(ledger.entries)}:
        raise _no_ledger(where, "its columns are of different lengths")
    rows = map(_Read._make, zip(*texts, *numbers, strict=True))
    ledger.entries = [
        _as_read(entry, row, known) for entry, row in zip(ledger.entries, rows, strict=True)
    ]
    return ledger


class _Read(NamedTuple):
    """What is written of the frame that was read: its unit, and how coadds list the map."""

    file: str
    listed: str
    frame: float
    position: float
    shared: float
    inside: float


def _as_read(entry: Entry, row: _Read, known: KnownFiles) -> Entry:
    """An entry as it was, from what is written of it."""

    def find(name: str) -> Original:
        return known.listed(name, None) if row.inside else known.given(name)

    unit = entry.unit
    read = None
    if row.file:
        read = Unit(row.file, int(row.frame), int(row.position), bool(row.shared))
    if unit is not None and read is not None and not row.inside:
        unit = read = replace(read, fingerprint=unit.fingerprint)
    file = find(unit.file) if unit else None
    map_ids = entry.map_ids
    originals: tuple[Original, ...] = (file,) if file else ()
    if not entry.is_coadd:
        map_ids = (row.listed,) if row.listed else ()
    elif entry.names_files:
        originals = tuple(known.listed(one.name, None) for one in entry.originals)
    return entry._replace(
        unit=unit,
        map_ids=map_ids,
        originals=originals,
        file=file,
        read=read,
        inside=bool(row.inside),
    )


def _texts_of(entry: Entry) -> tuple[str, ...]:
    mark, file = entry.fingerprint, entry.unit.file if entry.unit else ""
    checksum = "" if mark is None else f"{mark.checksum:08x}"
    return file, entry.map_id, entry.observation, checksum


def _numbers_of(entry: Entry) -> tuple[float, ...]:
    mark, index = entry.fingerprint, entry.unit.index if entry.unit else -1
    length = 0 if mark is None else mark.length
    return index, length, entry.sign, entry.pixels, entry.weight


def _read_texts_of(entry: Entry) -> tuple[str, ...]:
    listed = "" if entry.is_coadd or not entry.map_ids else entry.map_ids[0]
    return entry.read.file if entry.read else "", listed


def _read_numbers_of(entry: Entry) -> tuple[float, ...]:
    read = entry.read or Unit("", -1)
    return read.index, read.position, read.shared, entry.inside


def _entry_of(row: tuple[Any, ...]) -> Entry:
    file, map_id, observation, checksum, index, length, sign, pixels, weight = row
    unit = None
    if file:
        mark = Fingerprint(int(checksum, 16), int(length)) if checksum else None
        unit = Unit(file, int(index), fingerprint=mark)
    if sign not in (1, -1):
        raise ValueError(f"a sign is {sign}")
    original = Original(file, ())
    return Entry(
        unit,
        map_ids=(map_id,) if map_id else (),
        originals=(original,) if file else (),
        names_files=bool(file),
        map_id=map_id,
        observation=observation,
        sign=int(sign),
        pixels=int(pixels),
        weight=float(weight),
    )


def _left_out_in(frame: Frame, where: str) -> list[LeftOut]:
    if LEFT_OUT not in frame:
        return []
    try:
        return [
            LeftOut(file, int(index), reason)
            for file, index, reason in zip(*_columns(frame, LEFT_OUT, where), strict=True)
        ]
    except ValueError as error:
        raise _no_ledger(where, f"{LEFT_OUT}: {error}") from error


def _put(frame: Frame, key: str, rows: Any, kind: Any) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS[key])
    frame[key] = kind(dict(zip(_COLUMNS[key], map(list, columns), strict=True)))


def _columns(frame: Frame, key: str, where: str) -> list[list[Any]]:
    value = frame.get(key, None)
    # Other classes of spt3g may take text of the file for Python where they are asked for a key.
    kind = core.G3MapVectorDouble if key in (NUMBERS, _READ_NUMBERS) else core.G3MapVectorString
    if not isinstance(value, kind):
        raise _no_ledger(where, f"{key} is a {type(value).__name__} instead of a {kind.__name__}")
    missing = [name for name in _COLUMNS[key] if name not in value]
    if missing:
        raise _no_ledger(where, f"{key} has no {missing[0]!r}")
    return [list(value[name]) for name in _COLUMNS[key]]


def _lists(frame: Frame, key: str, where: str) -> dict[str, list[str]]:
    if key not in frame:
        return {}
    value = frame[key]
    if not isinstance(value, core.G3MapVectorString):
        raise _no_ledger(where, f"{key} is a {type(value).__name__}")
    return {name: list(value[name]) for name in value.keys()}  # noqa: SIM118 (spt3g's own)


def _no_ledger(where: str, problem: str) -> InputError:
    return InputError(f"{where}: the ledger of this coadd cannot be used ({problem}).")
