"""Tables in files: CSV, YAML and SQLite, read as rows of names and values."""

from __future__ import annotations

import contextlib
import csv
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import InputError, UsageError
from ..g3files.names import refuse_nul
from .words import Unread, number_in

Rows: TypeAlias = "list[dict[str, Any]]"

_LEADING_ZERO = re.compile("[+-]?0[0-9]")
_SQLITE = (".db", ".sqlite", ".sqlite3")


def rows_in(file: str, table: str | None = None) -> Rows:
    """The rows of a table, in order.

    Parameters
    ----------
    file : str
        Its format is that of its name: .csv, .ecsv, .yaml, .yml, .db, .sqlite, .sqlite3.
    table : str, optional
        Which table of an SQLite file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    refuse_nul(file)
    ending = os.path.splitext(file)[1].lower()
    try:
        if ending in _SQLITE:
            return _rows_in_sqlite(file, table)
        if table is not None:
            raise UsageError(
                f"{file} is no SQLite file, so there is no table {table!r} in it: leave out the "
                "name of the table."
            )
        if ending not in _READERS:
            raise InputError(
                f"{file}: a table of observations is named by what is in it; expected one of "
                f"{', '.join((*_READERS, *_SQLITE))}."
            )
        return _READERS[ending](file)
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text in UTF-8 ({error}).") from error


def _rows_in_csv(file: str) -> Rows:
    with open(file, newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader((line for line in stream if not line.startswith("#")), strict=True)
        try:
            names = [name.strip() for name in next(lines, [])]
            rows = [line for line in lines if line]
        except csv.Error as error:
            raise InputError(f"{file} is no CSV ({error}).") from error
    if len({*names}) < len(names) or "" in names:
        raise InputError(f"{file}: its columns are {names}; expected names, each once.")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(
                f"{file}, row {number + 1}: {len(row)} values; expected {len(names)}, one for each "
                "column."
            )
    columns = [_typed([row[at].strip() for row in rows]) for at in range(len(names))]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _typed(texts: list[str]) -> list[Any]:
    """The values of a column: numbers if all are, else texts; None where there is none."""
    known = {text for text in texts if text and text.lower() not in ("nan", "null", "none")}
    # Names such as 007 are no numbers.
    numbers = {text for text in known if number_in(text) is not None}
    numbers -= {text for text in numbers if _LEADING_ZERO.match(text)}
    if numbers == known:
        return [_number(text) if text in known else None for text in texts]
    row, other = next(
        (row, text) for row, text in enumerate(texts, 1) if text in known and text not in numbers
    )
    cells = {text: Unread(text, f"{other!r} in row {row}") for text in numbers}
    return [cells.get(text, text) if text in known else None for text in texts]


def _number(text: str) -> float | int:
    """Integers stay what they are: as floats, long names of observations would change."""
    return int(text) if text.lstrip("+-").isdecimal() else float(text)


def _rows_in_ecsv(file: str) -> Rows:
    from astropy.table import Table

    try:
        found = Table.read(file, format="ascii.ecsv")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is no ECSV ({error}).") from error
    names = list(found.colnames)
    return [{name: _plain(row[name]) for name in names} for row in found]


def _plain(value: Any) -> Any:
    """What numpy's scalars hold; None for what is masked."""
    return value.tolist() if hasattr(value, "tolist") else value


def _rows_in_yaml(file: str) -> Rows:
    import yaml

    # Refuses a key that is there twice, of which YAML would take the last.
    loader_of_rows: Any = type("LoaderOfRows", (yaml.SafeLoader,), {})

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in node.value:
            name = loader.construct_object(key, deep=True)
            if isinstance(name, list | dict):
                raise InputError(f"{file}: a key of a mapping is {name!r}; expected a name.")
            if name in found:
                raise InputError(f"{file}: {name!r} is there twice{key.start_mark}.")
            found[name] = loader.construct_object(value, deep=True)
        return found

    loader_of_rows.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        with open(file, encoding="utf-8") as stream:
            found = yaml.load(stream, loader_of_rows)
    except yaml.YAMLError as error:
        raise InputError(f"{file} is no YAML ({error}).") from error
    if isinstance(found, dict) and all(isinstance(row, dict) for row in found.values()):
        found = [{"observation": name, **row} for name, row in found.items()]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InputError(
            f"{file}: expected a list of rows, or a mapping of observations to rows, each of which "
            "maps columns to values."
        )
    return [{str(name): _plain_of_yaml(value) for name, value in row.items()} for row in found]


def _plain_of_yaml(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if hasattr(value, "isoformat"):  # YAML takes what looks like a date for one
        return value.isoformat()
    return value


def _rows_in_sqlite(file: str, table: str | None) -> Rows:
    """Rows of a database, which is neither locked nor changed: it may be on a shared file system.

    As sotodlib's readers do, it is opened as one that nobody is writing to.
    """
    import sqlite3

    if not os.path.isfile(file):
        raise InputError(f"{file}: no such file.")
    for ending in ("-wal", "-journal"):
        if os.path.exists(file + ending) and os.path.getsize(file + ending):
            raise InputError(
                f"{file}{ending}: the database is being written, or a writer has died, so that "
                f"{file} alone is not whole. Wait for the writer, or open it once with sqlite3, "
                "or copy it by its .backup."
            )
    try:
        with contextlib.closing(
            sqlite3.connect(f"{Path(file).absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as database:
            name = _table_in(file, database, table)
            cursor = database.execute('SELECT * FROM "{}"'.format(name.replace('"', '""')))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
    except sqlite3.Error as error:
        raise InputError(f"{file} cannot be read as SQLite ({error}).") from error


def _table_in(file: str, database: Any, table: str | None) -> str:
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE ?"
    names = sorted(row[0] for row in database.execute(query, ("sqlite_%",)))
    if table is None and len(names) == 1:
        return str(names[0])
    if table in names:
        return str(table)
    which = "which one of its tables is meant" if table is None else f"no table {table!r} in it"
    raise InputError(
        f"{file}: {which}; there are {', '.join(names) or 'none'}. Name one: --table-name NAME, or "
        "read_table(FILE, table=NAME)."
    )


_READERS: Mapping[str, Callable[[str], Rows]] = {
    ".csv": _rows_in_csv,
    ".ecsv": _rows_in_ecsv,
    ".yaml": _rows_in_yaml,
    ".yml": _rows_in_yaml,
}
