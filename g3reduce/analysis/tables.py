"""Tables in plain text."""

from __future__ import annotations

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


def short(number: float) -> str:
    """Three digits, and no exponent unless it is needed."""
    return f"{float(f'{number:.3g}'):g}"
