"""What benchmarks return, and how it becomes tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tabulate import tabulate

# What was measured, in words, numbers, and spreads (low, median, high).
Row = dict[str, Any]

LONGEST_LINE = 120

# A table of those into which one is split: what is the same in all of it, in words, and itself.
_Part = tuple[tuple[str, ...], str]


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
        """A Markdown table; empty if there are no such rows.

        Where it would be wider than `LONGEST_LINE`, it is several that are not, each with what
        they differ in above it.
        """
        rows = [row for row in rows if self.where(row) and self.values.keys() & row.keys()]
        parts = self._fitting(rows) if rows else []
        return "\n\n".join(
            f"{_cut(', '.join(words), LONGEST_LINE - 1)}:\n\n{table}" if words else table
            for words, table in parts
        )

    def _fitting(self, rows: Sequence[Row]) -> list[_Part]:
        """The table, or its parts, split by the key that makes the fewest lines of them."""
        table = pipe_table(*self._cells(rows))
        if fits(table):
            return [((), table)]
        splits = [self._split(rows, key) for key in self._keys_to_split_by(rows)]
        return min(splits, key=_n_lines) if splits else [((), fitted(*self._cells(rows)))]

    def _keys_to_split_by(self, rows: Sequence[Row]) -> list[str]:
        """The first key of `across`, and of `index`, in which rows differ."""
        differ = [
            [key for key in keys if len({row.get(key) for row in rows}) > 1]
            for keys in (self.across, self.index)
        ]
        return [key for keys in differ for key in keys[:1]]

    def _split(self, rows: Sequence[Row], key: str) -> list[_Part]:
        """A table, or several, for each value of a key, with the value in words."""
        rest = replace(
            self,
            index={k: head for k, head in self.index.items() if k != key},
            across=tuple(k for k in self.across if k != key),
        )
        parts = []
        for value in _in_order(row.get(key) for row in rows):
            of_value = [row for row in rows if row.get(key) == value]
            if key in self.across:
                word = _heading([value], "")
            else:
                word = value if isinstance(value, str) else f"{self.index[key]} {show(value)}"
            parts += [((word, *words), table) for words, table in rest._fitting(of_value)]
        return parts

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


def pipe_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table: with the spaces that align columns, with single ones, or with none, as
    there is room."""
    table = str(tabulate(lines, headings, tablefmt="pipe", disable_numparse=True))
    for spaces, replacement in ((" {2,}", " "), (r" *\| *", "|")):
        if not fits(table):
            table = re.sub(spaces, replacement, re.sub("-{4,}", "---", table))
    return table


def fitted(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose longest cells are cut off until it is narrow enough."""
    longest = max(len(cell) for line in [headings, *lines] for cell in line)
    for most in range(longest, 1, -1):
        cut = [[_cut(cell, most) for cell in line] for line in [headings, *lines]]
        table = pipe_table(cut[0], cut[1:])
        if fits(table):
            break
    return table


def fits(text: str) -> bool:
    """Whether no line is too long."""
    return max(map(len, text.splitlines())) <= LONGEST_LINE


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _n_lines(parts: Sequence[_Part]) -> int:
    return sum(len(table.splitlines()) + len(("", "words", "")) for _, table in parts)
