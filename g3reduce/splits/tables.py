"""Tables of observations, whose columns rules may ask for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import InputError, UsageError
from .tableformats import rows_in

# Columns that name observations, without _ and capitals.
_KEYS = ("obsid", "observation", "observationid", "obs")


class _NoRow(dict[str, Any]):
    """In place of the row of an observation that a table lacks, which is an error if it is used."""

    def __init__(self, where: str):
        super().__init__()
        self.where = where

    def __missing__(self, column: str) -> NoReturn:
        raise InputError(self.where)

    def __reduce__(self) -> tuple[Any, ...]:
        return _NoRow, (self.where,)


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
        By the names of the observations.
    """

    file: str
    key: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Any]]

    def row_of(self, observation: str) -> Mapping[str, Any]:
        """The row of an observation, by its full name, or by the part after the last ``/``.

        If there is none, it is an error to ask it for a value.
        """
        for name in (observation, observation.rpartition("/")[2]):
            if name and name in self.rows:
                return self.rows[name]
        if not observation:
            return _NoRow(
                f"{self.file}: maps of which the observation is not known have no row in it. Give "
                "frames the keys SourceName and ObservationID."
            )
        return _NoRow(
            f"{self.file} has no row for the observation {observation!r} ({self.key}; it has "
            f"{len(self.rows)} others). Add it, or leave the observation out of the input."
        )

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
        return f"{self.file} (by {self.key})"


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
        If it cannot be read, or an observation is in it twice.
    """
    name = os.fspath(file)
    rows = rows_in(name, table)
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    key = _key_of(name, columns, key)
    found: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(rows):
        value = row.get(key)
        if value is None or isinstance(value, float | bytes | list | dict) or value == "":
            raise InputError(
                f"{name}, row {number + 1}: {key} is {value!r}; expected the name of an "
                "observation."
            )
        if str(value) in found:
            raise InputError(
                f"{name}, row {number + 1}: the observation {value!r} ({key}) is there twice; "
                "expected one row for each. Take one of them out, or name another key."
            )
        found[str(value)] = {column: row.get(column) for column in columns}
    return Table(name, key, columns, found)


def _key_of(file: str, columns: tuple[str, ...], key: str | None) -> str:
    if key is not None:
        if key not in columns:
            raise UsageError(f"{file} has no column {key!r}; it has {', '.join(columns)}.")
        return key
    found = [name for name in columns if name.lower().replace("_", "") in _KEYS]
    if len(found) != 1:
        raise UsageError(
            f"{file}: which column names the observations? {' and '.join(found) or 'None of them'} "
            f"may; it has {', '.join(columns) or 'no columns'}. Name one as key."
        )
    return found[0]
