"""What benchmarks return, and how it becomes tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

# What was measured, in words, numbers, and spreads (low, median, high).
Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """How rows are shown.

    Attributes
    ----------
    title : str
        One line above it.
    index : dict of str to str
        Keys that tell rows apart, and the headings of their columns.
    values : dict of str to str
        Keys of what was measured, and the headings of their columns.
    across : tuple of str
        Keys whose values stand side by side, each with all of `values`.
    where : callable
        Which rows belong here.
    """

    title: str
    index: Mapping[str, str]
    values: Mapping[str, str]
    across: tuple[str, ...] = ()
    where: Callable[[Row], bool] = lambda row: True

    def markdown(self, rows: Iterable[Row]) -> str:
        """A Markdown table; empty if there are no such rows."""
        rows = [row for row in rows if self.where(row) and self.values.keys() & row.keys()]
        return markdown(*self._cells(rows)) if rows else ""

    def _cells(self, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
        """Headings and lines."""
        values = {k: head for k, head in self.values.items() if any(k in row for row in rows)}
        index = {k: head for k, head in self.index.items() if any(k in row for row in rows)}

        def place(row: Row) -> tuple[Any, ...]:
            return tuple(row.get(key) for key in index)

        def side(row: Row) -> tuple[Any, ...]:
            return tuple(row[key] for key in self.across if key in row)

        sides, places = _in_order(map(side, rows)), _in_order(map(place, rows))
        cells = {
            (*place(row), *side(row), key): row[key] for row in rows for key in values if key in row
        }
        columns = [
            (*where, key)
            for where in sides
            for key in values
            if any((*at, *where, key) in cells for at in places)
        ]
        headings = [*index.values(), *(_heading(where, values[key]) for *where, key in columns)]
        lines = [
            [*map(show, at), *(show(cells.get((*at, *column))) for column in columns)]
            for at in places
        ]
        return headings, lines


def show(value: Any) -> str:
    """A cell: numbers to two or three digits, a spread as ``median (low–high)``."""
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        low, median, high = map(_number, value)
        return f"{median} ({low}–{high})" if low != high else median
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def _heading(where: Sequence[Any], value: str) -> str:
    words = [f"{word} ranks" if isinstance(word, int) else str(word) for word in where]
    return ", ".join([*words, value] if value else words)


def _in_order(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, as wide as it is."""
    return str(tabulate(lines, headings, tablefmt="pipe", disable_numparse=True))
