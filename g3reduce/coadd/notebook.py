"""What a notebook shows of coadds: small tables in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ..g3files.maps import MAP_KEYS
from ..maps.coverage import Coverage
from ..spt3gtypes import Frame

_SHOWN = 20  # rows; how many more there are is said


def table_of(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table in HTML: the first column to the left, the others to the right."""
    lines = [f"<table><caption>{escape(caption)}</caption>", _row("th", heads)]
    lines += [_row("td", row) for row in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        lines.append(f'<tr><td colspan="{len(heads)}">... and {len(rows) - _SHOWN} more</td></tr>')
    return "\n".join([*lines, "</table>"])


def rows_of(frames: Mapping[str, Frame], coverage: Mapping[str, Coverage]) -> list[list[str]]:
    """A row for each coadd: Id, maps, files, area, hits, and the depths."""
    rows = []
    for name, frame in frames.items():
        keys = ", ".join(key for key in MAP_KEYS if key in frame)
        n_files = str(len(frame.get("InputFiles", ())))
        one = coverage.get(name)
        figures = (one.area_deg2, one.hits, one.depth_t, one.depth_p) if one else (None,) * 4
        rows.append([name, keys, n_files, *("" if x is None else f"{x:,.3g}" for x in figures)])
    return rows


HEADS = ("Id", "maps", "files", "deg²", "hits a pixel", "depth T", "depth Q, U")


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
