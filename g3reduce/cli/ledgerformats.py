"""Ledgers as tables, CSV, JSON and SQLite."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .messages import counted

if TYPE_CHECKING:
    from ..coadd.coaddledger import CoaddLedger

COLUMNS = (
    *("coadd", "coadd_frame", "coadd_id", "file", "frame", "id", "observation"),
    *("sign", "pixels", "weight", "checksum", "length"),
)
LEFT_OUT = ("coadd", "coadd_frame", "coadd_id", "file", "frame", "reason")

_IN_TABLE = COLUMNS[3:11]
_NUMBERS = {"frame", "sign", "pixels", "weight"}


def lines(kind: str, found: Sequence[CoaddLedger]) -> Iterator[str]:
    """The lines of a table, of CSV, or of JSON."""
    if kind == "table":
        for one in found:
            yield from _table(one)
    elif kind == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(row for one in found for row in _rows(one))
        yield text.getvalue().rstrip("\n")
    else:
        yield json.dumps(_as_json(found), indent=1)


def write(output: str, kind: str, found: Sequence[CoaddLedger]) -> None:
    """Write them to a file, which is replaced when the new one is complete.

    Raises
    ------
    OutputError
    """
    from ..pipeline.output import write_output

    if kind == "sqlite":
        content = _database(found)
    else:
        content = "".join(f"{line}\n" for line in lines(kind, found)).encode()
    write_output(output, lambda file: file.write(content))


def _database(found: Sequence[CoaddLedger]) -> bytes:
    """The content of a file of SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ledger.sqlite")
        _write_sqlite(path, found)
        with open(path, "rb") as file:
            return file.read()


def _write_sqlite(path: str, found: Sequence[CoaddLedger]) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for name, columns in (("ledger", COLUMNS), ("left_out", LEFT_OUT)):
            database.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
        for one in found:
            for name, rows in (("ledger", _rows(one)), ("left_out", _left_out(one))):
                for row in rows:
                    marks = ", ".join("?" * len(row))
                    database.execute(f"INSERT INTO {name} VALUES ({marks})", row)


def _as_json(found: Sequence[CoaddLedger]) -> list[dict[str, Any]]:
    return [
        {
            "coadd": one.file,
            "frame": one.frame,
            "id": one.frame_id,
            "ledger": [dict(zip(COLUMNS[3:], row[3:], strict=True)) for row in _rows(one)],
            "left_out": [dict(zip(LEFT_OUT[3:], row[3:], strict=True)) for row in _left_out(one)],
            "InputMapIds": one.map_ids,
            "InputFiles": one.files,
        }
        for one in found
    ]


def _rows(one: CoaddLedger) -> Iterator[tuple[Any, ...]]:
    """A row for each frame that was counted; where there is no ledger, for each file."""
    coadd = one.file, one.frame, one.frame_id
    for entry in one.ledger.entries:
        unit, mark = entry.unit, entry.fingerprint
        yield (
            *coadd,
            *((unit.file, unit.index) if unit else ("", -1)),
            *(entry.map_id, entry.observation, entry.sign, entry.pixels, entry.weight),
            *((f"{mark.checksum:08x}", mark.length) if mark else ("", 0)),
        )
    if not one.ledger.entries:
        for file in one.files:
            yield (*coadd, file, -1, "", "", None, None, None, "", 0)


def _left_out(one: CoaddLedger) -> Iterator[tuple[Any, ...]]:
    for item in one.ledger.left_out:
        yield (one.file, one.frame, one.frame_id, *item)


def _table(one: CoaddLedger) -> Iterator[str]:
    """The table of a coadd, what was left out, and totals."""
    ledger = one.ledger
    yield f"{one}:"
    if not (ledger.entries or one.files or one.map_ids):
        yield "  no coadd: there is no ledger, and no input is listed."
        return
    if not ledger.entries:
        yield f"  no ledger. It lists {counted(len(one.files), 'file')}: {', '.join(one.files)};"
        yield f"  and the Ids {', '.join(one.map_ids) or '(none)'}."
        return
    rows = [[_text(value) for value in row[3:11]] for row in _rows(one)]
    widths = [max(map(len, column)) for column in zip(_IN_TABLE, *rows, strict=True)]
    for row in [list(_IN_TABLE), *rows]:
        cells = [
            text.rjust(width) if name in _NUMBERS else text.ljust(width)
            for name, text, width in zip(_IN_TABLE, row, widths, strict=True)
        ]
        yield f"  {'  '.join(cells)}".rstrip()
    for item in ledger.left_out:
        yield f"  left out: {item}"
    files = counted(len(ledger.files()), "file")
    total = f"  {counted(len(ledger.entries), 'frame')} of {files}"
    if observations := ledger.observations():
        total += f", {counted(len(observations), 'observation')}"
    yield f"{total}; {len(ledger.left_out)} left out"


def _text(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
