"""Rules by what is known of maps, as users make them in Python."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from .conditions import ORDERS, Compares, ComparesWithMedian, Matches, Parity, When
from .instants import instant_of
from .rules import Both, Every, Not, Rule


def everything() -> Rule:
    """Every map."""
    return Every()


def map_id(pattern: str) -> Rule:
    """Maps whose Id matches a pattern of ``*``, ``?`` and ``[...]``, as of names of files."""
    return Matches("id", _pattern("map_id", pattern))


def source(pattern: str) -> Rule:
    """Maps of sources (``SourceName``) that match a pattern."""
    return Matches("source", _pattern("source", pattern))


def observation(pattern: str) -> Rule:
    """Maps of observations that match a pattern: ``SourceName/ObservationID``, or the last part."""
    return Matches("observation", _pattern("observation", pattern))


def file(pattern: str) -> Rule:
    """Maps of files that match a pattern, with their folders or without."""
    return Matches("file", _pattern("file", pattern))


def date(start: str | None = None, stop: str | None = None) -> Rule:
    """Maps of observations that began from `start` on, and before `stop`.

    Parameters
    ----------
    start, stop : str, optional
        As in ISO 8601, in UTC: ``"2019-05-01"``, ``"2019-05-01T12:30:00"``.
    """
    if start is None and stop is None:
        raise UsageError("date() was given neither start nor stop; expected one of them, or both.")
    first = None if start is None else When(">=", instant_of(start))
    last = None if stop is None else When("<", instant_of(stop))
    if first is None or last is None:
        return first or last or Every()
    if last.instant <= first.instant:
        raise UsageError(f"date(start={start!r}, stop={stop!r}): no date is in this range.")
    return Both(first, last)


def parity(which: str) -> Rule:
    """Maps of every other observation, in the order of time.

    Where no time is known it is the order of the names of observations, in which numbers count by
    their values. Observations are numbered from 0, over all of the input: the first one is even.

    Parameters
    ----------
    which : {"odd", "even"}
    """
    if which not in ("odd", "even"):
        raise UsageError(f"parity({which!r}); expected 'odd' or 'even'.")
    return Parity(which == "odd")


def column(name: str, order: str, value: float | str) -> Rule:
    """Maps by a column of the table of observations: see `Splitting.using`.

    Parameters
    ----------
    name : str
    order : {"=", "!=", "<", "<=", ">", ">="}
    value : float or str
        A text is a pattern of ``*``, ``?`` and ``[...]`` with ``=`` and ``!=``.
    """
    if not isinstance(value, str | int | float) or isinstance(value, bool) or value != value:
        raise UsageError(f"column({name!r}, {order!r}, {value!r}); expected a number or a text.")
    if order not in (*ORDERS, "=", "!="):
        raise UsageError(f"column({name!r}, {order!r}, …); expected one of =, !=, <, <=, >, >=.")
    found = value if isinstance(value, str) else float(value)
    rule = Compares(_pattern("column", name), "=" if order == "!=" else order, found)
    return Not(rule) if order == "!=" else rule


def above_median(name: str) -> Rule:
    """Maps of observations at or above the median of a column of the table of observations.

    The median is that over all observations of the input, each counted once. The others are
    ``~above_median(name)``.
    """
    return ComparesWithMedian(_pattern("above_median", name), ">=")


def _pattern(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name}({value!r}); expected a text, such as '150GHz*'.")
    return value
