"""What rules are made of: each asks for one thing that is known of a map."""

from __future__ import annotations

import fnmatch
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, UsageError
from .facts import MapFacts
from .instants import date_of
from .overview import Overview
from .rules import Condition
from .words import as_column, as_pattern, as_value, why_text

ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Matches(Condition):
    """Holds where a name matches a pattern of ``*``, ``?`` and ``[...]``.

    Attributes
    ----------
    field : str
        ``"id"``, ``"source"``, ``"observation"`` or ``"file"``.
    pattern : str
    """

    field: str
    pattern: str

    @property
    def of_observation(self) -> bool:  # type: ignore[override]
        """Whether the name is one of the observation."""
        return self.field in ("source", "observation")

    @property
    def asks_for_id(self) -> bool:  # type: ignore[override]
        """Whether the name is the Id."""
        return self.field == "id"

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the name matches."""
        return any(fnmatch.fnmatchcase(name, self.pattern) for name in self._names_of(facts))

    def _names_of(self, facts: MapFacts) -> tuple[str, ...]:
        if self.field == "id":
            return (facts.map_id,)
        if self.field == "file":
            return facts.file, os.path.basename(facts.file)
        if not facts.observation:
            raise InputError(
                f"{facts.where}: its observation is not known, and the rule {self} asks for it. "
                "Neither the frame nor one before it in its file has SourceName and ObservationID."
            )
        if self.field == "source":
            return (facts.source,)
        return facts.observation, facts.observation.rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.field}={as_pattern(self.pattern)}"


@dataclass(frozen=True)
class When(Condition):
    """Holds where the observation began before or after an instant.

    Attributes
    ----------
    order : {"<", "<=", ">", ">="}
    instant : float
        In seconds since 1970-01-01 UTC.
    """

    order: str
    instant: float

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether it did."""
        return ORDERS[self.order](facts.known_time(f"the rule {self}"), self.instant)

    def __str__(self) -> str:
        return f"date{self.order}{date_of(self.instant)}"


@dataclass(frozen=True)
class Parity(Condition):
    """Holds for every other observation, in the order of time, or else of names.

    Attributes
    ----------
    odd : bool
        Whether for the second, the fourth, …: they are numbered from 0.
    """

    odd: bool

    of_all = True

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the number of its observation is odd, or even."""
        return bool(_known(overview, self).number_of(facts) % 2) == self.odd

    def __str__(self) -> str:
        return f"parity={'odd' if self.odd else 'even'}"


@dataclass(frozen=True)
class Compares(Condition):
    """Holds where the value of a column is equal to another, greater or smaller.

    Attributes
    ----------
    column : str
    order : {"=", "<", "<=", ">", ">="}
    value : float or str
        With ``=`` a text is a pattern of ``*``, ``?`` and ``[...]``.
    """

    column: str
    order: str
    value: float | str

    @property
    def asks_for(self) -> str:
        """The column."""
        return self.column

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the value is."""
        found = facts.value_of(self.column)
        if isinstance(found, str) != isinstance(self.value, str):
            raise InputError(
                f"{facts.where}: {self.column} of {facts.observation} is {found!r}, which cannot "
                f"be compared as the rule {self} does: one is a number, the other a text. "
                f"{why_text(found)}"
                'Put a text that looks like a number in quotation marks: wafer="25".'
            )
        if self.order == "=" and isinstance(self.value, str):
            return fnmatch.fnmatchcase(str(found), self.value)
        return bool(found == self.value if self.order == "=" else self._compared(found))

    def _compared(self, found: Any) -> bool:
        return ORDERS[self.order](found, self.value)

    def __str__(self) -> str:
        return f"{as_column(self.column)}{self.order}{as_value(self.value)}"


@dataclass(frozen=True)
class ComparesWithMedian(Condition):
    """Holds where the value of a column is above or below the median over all observations.

    Attributes
    ----------
    column : str
    order : {"<", "<=", ">", ">="}
    """

    column: str
    order: str

    of_all = True

    @property
    def asks_for(self) -> str:
        """The column."""
        return self.column

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the value is."""
        median = _known(overview, self).median(self.column)
        return ORDERS[self.order](facts.number_of(self.column), median)

    def __str__(self) -> str:
        return f"{as_column(self.column)}{self.order}median"


def _known(overview: Overview | None, rule: Condition) -> Overview:
    if overview is None:
        raise UsageError(
            f"the rule {rule} can be decided only once all maps are known: plan the splitting."
        )
    return overview
