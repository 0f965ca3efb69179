"""Rules: whether a map is of a split. They combine by ``&``, ``|`` and ``~``."""

from __future__ import annotations

import fnmatch
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass

from .facts import MapFacts
from .overview import Overview


class Rule(ABC):
    """Whether a map is of a split.

    ``a & b`` holds where both do, ``a | b`` where any does, and ``~a`` where `a` does not.
    ``str(rule)`` is its text, which `parse_rule` reads.
    """

    #: Whether all maps of an observation are alike to the rule.
    by_observation: bool = True
    #: Whether the rule needs to know of all maps before it can decide about one.
    planned: bool = False

    @abstractmethod
    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether a map is of the split.

        Parameters
        ----------
        facts : MapFacts
        overview : Overview, optional
            All maps of the input, which planned rules need.

        Raises
        ------
        InputError
            If what the rule asks for is not known of the map.
        """

    def __and__(self, other: Rule) -> Rule:
        return Both(self, other) if isinstance(other, Rule) else NotImplemented

    def __or__(self, other: Rule) -> Rule:
        return Either(self, other) if isinstance(other, Rule) else NotImplemented

    def __invert__(self) -> Rule:
        return Not(self)


@dataclass(frozen=True)
class Every(Rule):
    """Holds for every map."""

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """True."""
        return True

    def __str__(self) -> str:
        return "all"


@dataclass(frozen=True)
class Both(Rule):
    """Holds where both rules do."""

    left: Rule
    right: Rule

    @property
    def by_observation(self) -> bool:  # type: ignore[override]
        """Whether both are."""
        return self.left.by_observation and self.right.by_observation

    @property
    def planned(self) -> bool:  # type: ignore[override]
        """Whether any is."""
        return self.left.planned or self.right.planned

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether both hold. What the second asks for need be known only where the first holds."""
        return self.left.holds(facts, overview) and self.right.holds(facts, overview)


@dataclass(frozen=True)
class Either(Rule):
    """Holds where any of two rules does."""

    left: Rule
    right: Rule

    @property
    def by_observation(self) -> bool:  # type: ignore[override]
        """Whether both are."""
        return self.left.by_observation and self.right.by_observation

    @property
    def planned(self) -> bool:  # type: ignore[override]
        """Whether any is."""
        return self.left.planned or self.right.planned

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether any holds."""
        return self.left.holds(facts, overview) or self.right.holds(facts, overview)


@dataclass(frozen=True)
class Not(Rule):
    """Holds where another rule does not."""

    rule: Rule

    @property
    def by_observation(self) -> bool:  # type: ignore[override]
        """Whether the other is."""
        return self.rule.by_observation

    @property
    def planned(self) -> bool:  # type: ignore[override]
        """Whether the other is."""
        return self.rule.planned

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the other does not hold."""
        return not self.rule.holds(facts, overview)


@dataclass(frozen=True)
class Matches(Rule):
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
    def by_observation(self) -> bool:  # type: ignore[override]
        """Whether the name is one of the observation."""
        return self.field in ("source", "observation")

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the name matches."""
        return any(fnmatch.fnmatchcase(name, self.pattern) for name in self._names_of(facts))

    def _names_of(self, facts: MapFacts) -> tuple[str, ...]:
        if self.field == "id":
            return (facts.map_id,)
        if self.field == "source":
            return (facts.source,)
        if self.field == "observation":
            return facts.observation, facts.observation.rpartition("/")[2]
        return facts.file, os.path.basename(facts.file)

    def __str__(self) -> str:
        return f"{self.field}={self.pattern}"
