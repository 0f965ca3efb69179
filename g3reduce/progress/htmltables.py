"""Small tables in HTML, as notebooks show results."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

SHOWN = 20  # rows; how many more there are is said


def table_of(
    heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str, n_rows: int | None = None
) -> str:
    """A table in HTML, of `SHOWN` rows at most; `n_rows` is how many there are, if not all here."""
    lines = [f"<table><caption>{escape(caption)}</caption>", _row("th", heads)]
    lines += [_row("td", row) for row in rows[:SHOWN]]
    if (total := len(rows) if n_rows is None else n_rows) > SHOWN:
        lines.append(f'<tr><td colspan="{len(heads)}">... and {total - SHOWN} more</td></tr>')
    return "\n".join([*lines, "</table>"])


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
