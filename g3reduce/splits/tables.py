"""Tables of observations, whose columns rules may ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from ..errors import InputError, UsageError
from ..maps.assumed import ID_COLUMNS, id_of_row
from .tableformats import rows_in
from .words import listed

_ID = "_".join(f"<{column}>" for column in ID_COLUMNS)

# Columns that name observations, without _ and capitals.
_KEYS = ("obsid", "observation", "observationid", "obs")


# A row of a table, and its number: the first is 1.
_Numbered: TypeAlias = "tuple[int, Mapping[str, Any]]"


class _Row(dict[str, Any]):
    """What a table says of a map. It is an error to ask for a column of which it says nothing."""

    def __init__(
        self, values: Mapping[str, Any], problem: str, differing: Sequence[_Numbered] = ()
    ):
        super().__init__(values)
        self._problem = problem
        self._differing = differing

    def __missing__(self, column: str) -> NoReturn:
        values = [f"row {number}: {row[column]!r}" for number, row in self._differing]
        are = f" The rows: {listed(values)}." if values else ""
        raise InputError(f"the column {column!r} is asked for, and {self._problem}{are}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _Row, (dict(self), self._problem, self._differing)


@dataclass(frozen=True)
class Table:
    """A table of observations.

    Attributes
    ----------
    file : str
        Where it was read.
    key : str
        The column that names the observations.
    columns : tuple of str
    rows : dict of str to dict
        By the names of the observations: of each, the columns in which its rows agree.
    rows_of_maps : dict of (str, str) to dict
        The same by the names of observations and the Ids of maps, of a table that lists maps.
    name : str
        Which one it is of an SQLite file, if that was named.
    """

    file: str
    key: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Any]]
    rows_of_maps: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    name: str = ""

    def row_of(self, observation: str, map_id: str = "") -> Mapping[str, Any]:
        """The row of a map, by the full name of its observation, or the part after the last ``/``.

        If there is none, it is an error to ask it for a value.
        """
        for name in (observation, observation.rpartition("/")[2]):
            if name and name in self.rows:
                return self.rows_of_maps.get((name, map_id), self.rows[name])
        if not observation:
            problem = (
                f"{self.file} has no row for maps of which the observation is not known. Give "
                "frames the keys SourceName and ObservationID."
            )
        else:
            problem = (
                f"{self.file} has no row for the observation {observation!r} ({self.key}; it has "
                f"{len(self.rows)} others). Add it, or leave the observation out of the input."
            )
        return _Row({}, problem)

    def require(self, columns: set[str]) -> None:
        """Refuse rules that ask for columns that there are not.

        Raises
        ------
        UsageError
        """
        missing = sorted(columns - {*self.columns})
        if missing:
            raise UsageError(
                f"{self.file} has no column {missing[0]!r}, which a rule asks for; it has "
                f"{', '.join(self.columns)}."
            )

    def __str__(self) -> str:
        named = f", table {self.name}" if self.name else ""
        return f"{self.file}{named} (by {self.key})"


def read_table(
    file: str | os.PathLike[str], *, key: str | None = None, table: str | None = None
) -> Table:
    """Read a table of observations.

    Parameters
    ----------
    file : path
        CSV (``.csv``, with a line of names; ``.ecsv``), YAML (``.yaml``: a list of rows, or a
        mapping of observations to rows), or SQLite (``.db``, ``.sqlite``), which is neither locked
        nor written.
    key : str, optional
        The column that names the observations, as ``SourceName/ObservationID`` or by the
        ObservationID alone. Default: the only one that is called ``obs_id``, ``observation``,
        ``ObservationID`` or the like.
    table : str, optional
        Which table of an SQLite file, if it has several.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        If it cannot be read.

    Notes
    -----
    An observation may have several rows. Of a table that lists sotodlib's atomic maps, each is of
    the map with the Id ``<wafer>_<freq_channel>_<split_label>``. Else it is an error to ask for a
    column in which they differ.
    """
    name = os.fspath(file)
    rows = rows_in(name, table)
    if not rows:
        raise InputError(f"{name}: there are no rows in it.")
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    key = _key_of(name, columns, key)
    lists_maps = {*ID_COLUMNS} <= {*columns}
    of_observations: dict[str, list[_Numbered]] = {}
    of_maps: dict[tuple[str, str], list[_Numbered]] = {}
    for number, given in enumerate(rows, 1):
        value = given.get(key)
        if value is None or isinstance(value, float | bytes | list | dict) or value == "":
            raise InputError(
                f"{name}, row {number}: {key} is {value!r}; expected the name of an observation."
            )
        row = {column: given.get(column) for column in columns}
        of_observations.setdefault(str(value), []).append((number, row))
        if lists_maps:
            of_maps.setdefault((str(value), id_of_row(row)), []).append((number, row))
    return Table(
        *(name, key, columns),
        {one: _agreed(found, name, f"{one!r}") for one, found in of_observations.items()},
        {one: _agreed(found, name, "{!r}, Id {!r}".format(*one)) for one, found in of_maps.items()},
        table or "",
    )


def _agreed(rows: Sequence[_Numbered], file: str, whose: str) -> Mapping[str, Any]:
    """A row of the columns in which all of these agree."""
    first = rows[0][1]
    agreed = {
        column: value
        for column, value in first.items()
        if all(row[column] == value for _, row in rows)
    }
    if len(agreed) == len(first):
        return agreed
    return _Row(
        agreed,
        f"{file} has {len(rows)} rows for the observation {whose}, which differ in it. Leave one "
        f"of them. (Rows are told apart by the Ids of maps if these are {_ID}.)",
        rows,
    )


def _key_of(file: str, columns: tuple[str, ...], key: str | None) -> str:
    if key is not None:
        if key not in columns:
            raise UsageError(f"{file} has no column {key!r}; it has {', '.join(columns)}.")
        return key
    found = [name for name in columns if name.lower().replace("_", "") in _KEYS]
    if len(found) != 1:
        raise UsageError(
            f"{file}: which column names the observations? {' and '.join(found) or 'None of them'} "
            f"may; it has {', '.join(columns) or 'no columns'}. "
            "Name one: key=COLUMN, or --table-key COLUMN."
        )
    return found[0]
