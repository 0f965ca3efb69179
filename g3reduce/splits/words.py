"""Words of the text of a rule, what is put in quotation marks there, and lists of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

# What a rule calls by these names; a column of the same name is put in quotation marks.
FIELDS = ("id", "source", "observation", "file", "date", "parity", "all")

# Stands for the median of a column. A text that is this word is put in quotation marks.
MEDIAN = "median"

_SHOWN = 5  # a list of names has so many, in messages

_PLAIN_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_PLAIN_VALUE = re.compile(r"[^\s&|~()\"<>=!]+")


def number_in(word: str) -> float | None:
    """The number that a word is; None if it is none."""
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", word, re.ASCII):
        return None
    number = float(word)
    return number if abs(number) != float("inf") else None


class Unread(str):
    """A number in a column of a table that is read as text, because another cell is no number."""

    other: str

    def __new__(cls, text: str, other: str) -> Unread:
        """Note where the other cell is, and what it has: ``"'N/A' in row 2"``."""
        new = super().__new__(cls, text)
        new.other = other
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        return Unread, (str(self), self.other)


def why_text(value: Any) -> str:
    """Why a value of a table is a text, as a sentence of a message; empty if it simply is one."""
    if not isinstance(value, Unread):
        return ""
    return (
        f"The whole column is text because of {value.other}, which is no number: correct it, or "
        "leave the cell empty. "
    )


def text_of_number(number: float) -> str:
    """The shortest text that `number_in` reads as this number."""
    text = repr(float(number))
    return text.removesuffix(".0")


def quoted(text: str) -> str:
    """A text in quotation marks."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquoted(text: str) -> str:
    """What stands in quotation marks."""
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def as_pattern(text: str) -> str:
    """A pattern of names, as it stands in a rule."""
    return text if _PLAIN_VALUE.fullmatch(text) else quoted(text)


def as_value(value: float | str) -> str:
    """A value with which a column is compared, as it stands in a rule."""
    if not isinstance(value, str):
        return text_of_number(value)
    plain = _PLAIN_VALUE.fullmatch(value) and number_in(value) is None and value != MEDIAN
    return value if plain else quoted(value)


def as_column(name: str) -> str:
    """The name of a column, as it stands in a rule."""
    plain = _PLAIN_FIELD.fullmatch(name) and name not in FIELDS
    return name if plain else quoted(name)


def natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """What puts names in their order, numbers in them by their values: 90GHz before 150GHz."""
    parts = [part for part in re.split(r"([0-9]+)", text) if part]
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], text


def listed(names: Sequence[str]) -> str:
    """Names as messages list them: the first of them."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
