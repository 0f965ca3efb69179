"""Tables and lines in plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 80
"""Columns of a line, but for long names."""


def aligned(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, numbers to the right."""
    table = [list(heads), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for first, *others in table:
        cells = [one.rjust(width) for one, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def wrapped(text: str, first: str = "", others: str = "") -> list[str]:
    """A text in lines, which begin with these; Ids and names stay whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def short(number: float, digits: int = 3) -> str:
    """So many digits, and no exponent unless it is needed: 25520 is 25,500."""
    return f"{float(f'{number:.{digits}g}'):,g}"
