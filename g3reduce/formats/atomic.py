"""The table of sotodlib's atomic maps: an SQLite file that lists maps, each of a short observation.

Columns that are used: ``prefix_path``, ``obs_id``, ``ctime``, ``wafer``, ``freq_channel``,
``split_label``; where they are there, also ``telescope`` and ``valid``. The files of a row are
``<prefix_path>_wmap.fits`` (or ``.fits.gz``), ``_weights`` and ``_hits``.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from ..errors import InputError, UsageError
from ..maps.assumed import ID_COLUMNS, Named, id_of_row

_TABLE = "atomic"
_NEEDED = ("prefix_path", "obs_id", "ctime", *ID_COLUMNS)
_ENDINGS = ("_wmap.fits", "_wmap.fits.gz")

# All that a user's words may do in SQL.
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION}
_PATIENCE_S = 30.0


def atomic_maps(database: str | os.PathLike[str], where: str | None = None) -> dict[str, Named]:
    """The files of maps that a table of atomic maps lists, and what it says of them.

    The table is opened to be read only, and the words of `where` cannot do anything but select.
    Not collective: let one rank read it.

    Parameters
    ----------
    database : name or path
    where : str, optional
        Which rows, as SQL has it after WHERE: ``"freq_channel = 'f090' AND pwv < 1"``. Rows that
        are not ``valid`` are left out, unless it speaks of that. If there are several values of
        ``split_label``, whose maps are made of the same data, it must say which.

    Returns
    -------
    dict of str to Named
        By the files of the maps, in the order of time. The Id of a map is
        ``<wafer>_<freq_channel>_<split_label>``, its observation ``<telescope>/<obs_id>``.

    Raises
    ------
    InputError
        If the file is no such table, or lists nothing of that kind.
    UsageError
        If `where` cannot be used.

    Examples
    --------
    >>> list(atomic_maps("atomic.db", "split_label = 'full'"))  # doctest: +SKIP
    ['17098/atomic_1709852088_ws0_f090_full_wmap.fits', ...]
    """
    name = os.fspath(database)
    columns, rows = _rows_in(name, where)
    labels = sorted({str(row["split_label"]) for row in rows})
    if len(labels) > 1 and not _speaks_of("split_label", where):
        raise UsageError(
            f"{name}: the rows are of several splits of the same data ({', '.join(labels)}), which "
            f"would be summed twice. Say which: where=\"split_label = '{labels[0]}'\" (--where), "
            "or name several there, and coadd them apart (collate, or splits)."
        )
    folder = os.path.dirname(name)
    found = {}
    for row in rows:
        telescope = str(row["telescope"]) if "telescope" in columns else "atomic"
        start = float(row["ctime"])
        found[_file_of(row["prefix_path"], folder, name)] = Named(
            id_of_row(row), telescope, str(row["obs_id"]), start
        )
    if len(found) < len(rows):
        raise InputError(f"{name}: {len(rows)} rows name only {len(found)} different maps.")
    return found


def _rows_in(name: str, where: str | None) -> tuple[set[str], list[dict[str, Any]]]:
    if not os.path.isfile(name):
        raise InputError(f"{name}: there is no such file; expected a table of atomic maps.")
    uri = f"file:{quote(os.path.abspath(name))}?mode=ro"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S)
    except sqlite3.Error as error:
        raise InputError(f"{name}: this table cannot be opened ({error}).") from error
    try:
        connection.row_factory = sqlite3.Row
        try:
            described = connection.execute(f"PRAGMA table_info({_TABLE})").fetchall()
        except sqlite3.Error as error:
            raise InputError(f"{name}: this is no SQLite file ({error}).") from error
        columns = {str(row["name"]) for row in described}
        _require(columns, name)
        connection.set_authorizer(_authorize)
        conditions = [f"({where}\n)"] if where else []  # a comment ends with its line
        if "valid" in columns and not _speaks_of("valid", where):
            conditions.append("valid")
        chosen = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        order = "ctime, wafer, freq_channel, split_label"
        query = f"SELECT * FROM {_TABLE}{chosen} ORDER BY {order}"
        try:
            rows = [dict(row) for row in connection.execute(query)]
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise UsageError(
                f"{name}: where is {where!r}, with which nothing can be selected ({error}); "
                f"expected a condition on its columns ({', '.join(sorted(columns))})."
            ) from error
    finally:
        connection.close()
    if not rows:
        which = f" with {where}" if where else ""
        raise InputError(f"{name}: no row{which} in the table {_TABLE!r} is valid.")
    return columns, rows


def _require(columns: Iterable[str], name: str) -> None:
    missing = [column for column in _NEEDED if column not in columns]
    if missing:
        raise InputError(
            f"{name}: there is no table {_TABLE!r} with the columns {', '.join(_NEEDED)} in it "
            f"({', '.join(missing)} are missing)."
        )


def _authorize(action: int, *_: Any) -> int:
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _speaks_of(column: str, where: str | None) -> bool:
    return where is not None and re.search(rf"\b{column}\b", where, re.IGNORECASE) is not None


def _file_of(prefix: Any, folder: str, name: str) -> str:
    """The file of the map of a row: beside the table, or as seen from here."""
    if not isinstance(prefix, str) or not prefix:
        raise InputError(f"{name}: prefix_path is {prefix!r} in a row; expected a name.")
    beside = os.path.join(folder, prefix)
    names = [base + ending for base in (beside, prefix) for ending in _ENDINGS]
    return next((one for one in names if os.path.isfile(one)), names[0])
