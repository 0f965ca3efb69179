"""What Map frames hold beside maps, as plain tables, for files of other formats.

So the ledger of a coadd, its inputs and whatever else is plain in its frame go along, and come back
as what they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import InputError
from ..g3files.maps import MAP_KEYS
from ..spt3gtypes import Frame

# The table of what is one text or number, and the column of vectors that have no names in them.
SCALARS, VALUE = "Entries", "value"

# These are the integers behind reproducible sums, without use where pixels are numbers.
_LEFT_BEHIND = ("Exact",)

_VECTORS = {
    kind.__name__: kind
    for kind in (core.G3VectorString, core.G3VectorDouble, core.G3VectorInt, core.G3VectorBool)
}
_TABLES = {
    kind.__name__: kind
    for kind in (core.G3MapVectorString, core.G3MapVectorDouble, core.G3MapVectorInt)
}
_FILLERS: dict[str, Any] = {
    core.G3MapVectorString.__name__: "",
    core.G3MapVectorDouble.__name__: 0.0,
    core.G3MapVectorInt.__name__: 0,
}
_PAIRS = {kind.__name__: kind for kind in (core.G3MapString, core.G3MapDouble, core.G3MapInt)}
_SCALARS: dict[str, Any] = {"str": str, "bool": bool, "int": int, "float": float}


# Names of columns as FITS wants them, and how many there can be; others stand one below the other.
_PLAIN_NAME, _MOST_COLUMNS = re.compile(r"\w{1,60}", re.ASCII), 999

# Before the class of tables whose columns stand one below the other, with their names beside, and
# whether there is a value in this row.
_LONG, _HELD = "long ", "held"


class Table(NamedTuple):
    """An entry of a frame.

    Attributes
    ----------
    key : str
        Of the frame.
    kind : str
        The class that it has there: by this it comes back.
    columns : dict of str to list
        Texts or numbers, all of one length.
    """

    key: str
    kind: str
    columns: dict[str, list[Any]]


def tables_of(frame: Frame) -> Iterator[Table]:
    """All entries of a frame that are plain, but its maps and its Id; others stay behind."""
    scalars: dict[str, list[Any]] = {"key": [], "kind": [], VALUE: []}
    for key in frame.keys():  # noqa: SIM118 (not a dictionary)
        if key in MAP_KEYS or key == "Id" or key.startswith(_LEFT_BEHIND):
            continue
        value = frame[key]
        kind = type(value).__name__
        if kind in _SCALARS:
            for name, one in (("key", key), ("kind", kind), (VALUE, _as_text(value))):
                scalars[name].append(one)
        elif kind in _VECTORS:
            yield Table(key, kind, {VALUE: list(value)})
        elif kind in _TABLES:
            columns = {name: list(value[name]) for name in value.keys()}  # noqa: SIM118
            yield Table(key, kind, columns) if _is_even(columns) else _long(key, kind, columns)
        elif kind in _PAIRS:
            names = list(value.keys())
            yield Table(key, kind, {"key": names, VALUE: [value[name] for name in names]})
    if scalars["key"]:
        yield Table(SCALARS, "", scalars)


def put_tables(frame: Frame, tables: Iterable[Table], where: str) -> None:
    """Put entries back into a frame.

    Raises
    ------
    InputError
        If one is not what it says.
    """
    for key, kind, columns in tables:
        try:
            if key == SCALARS and not kind:
                rows = zip(columns["key"], columns["kind"], columns[VALUE], strict=True)
                for name, its_kind, text in rows:
                    frame[name] = _from_text(text, its_kind)
            elif kind in _VECTORS:
                frame[key] = _VECTORS[kind](columns[VALUE])
            elif kind in _TABLES:
                frame[key] = _TABLES[kind](columns)
            elif kind.startswith(_LONG):
                frame[key] = _TABLES[kind.removeprefix(_LONG)](_short(columns))
            elif kind in _PAIRS:
                frame[key] = _PAIRS[kind](dict(zip(columns["key"], columns[VALUE], strict=True)))
            else:
                raise ValueError(f"the class {kind!r} is not one of those")
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise InputError(f"{where}: the table of {key} cannot be used ({error}).") from error


def as_array(values: list[Any]) -> NDArray[Any]:
    """A column as numpy has it: texts as objects, numbers as float64, int64 or bool."""
    if not values or isinstance(values[0], str):
        return np.array(values, object)
    return np.asarray(values)


def of_array(values: NDArray[Any]) -> list[Any]:
    """The column that an array is."""
    found: list[Any] = values.tolist()
    return found


def _is_even(columns: Mapping[str, list[Any]]) -> bool:
    """Whether these can be columns of a table: of one length, with names that all formats have."""
    lengths = {len(column) for column in columns.values()}
    distinct = {name.lower() for name in columns if _PLAIN_NAME.fullmatch(name)}
    return len(lengths) == 1 and len(distinct) == len(columns) <= _MOST_COLUMNS


def _long(key: str, kind: str, columns: Mapping[str, list[Any]]) -> Table:
    """The values one below the other; a column that has none has a row that says so."""
    filler = _FILLERS[kind]
    rows = [
        (name, value, held)
        for name, column in columns.items()
        for value, held in ([(one, True) for one in column] or [(filler, False)])
    ]
    names, values, holds = ([row[place] for row in rows] for place in range(3))
    return Table(key, _LONG + kind, {"key": names, VALUE: values, _HELD: holds})


def _short(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    rows = zip(columns["key"], columns[VALUE], columns[_HELD], strict=True)
    for name, value, held in rows:
        column = found.setdefault(name, [])
        if held:
            column.append(value)
    return found


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _from_text(text: str, kind: str) -> Any:
    if kind == "bool":
        return {"True": True, "False": False}[text]
    return _SCALARS[kind](text)
