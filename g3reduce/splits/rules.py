"""Rules: whether a map is of a split. They combine by ``&``, ``|`` and ``~``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from .facts import MapFacts
from .overview import Overview


class Rule(ABC):
    """Whether a map is of a split.

    ``a & b`` holds where both do, ``a | b`` where any does, and ``~a`` where `a` does not. What the
    second one asks for need be known only of maps for which the first one does not decide.
    ``str(rule)`` is its text, from which `parse_rule` makes it again.
    """

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

    @abstractmethod
    def conditions(self) -> Iterator[Condition]:
        """What it is made of."""

    @property
    def by_observation(self) -> bool:
        """Whether all maps of an observation are alike to the rule."""
        return all(condition.of_observation for condition in self.conditions())

    @property
    def planned(self) -> bool:
        """Whether all maps must be known before the rule can decide about one."""
        return any(condition.of_all for condition in self.conditions())

    @property
    def columns(self) -> set[str]:
        """The columns of the table of observations that it asks for."""
        return {condition.asks_for for condition in self.conditions() if condition.asks_for}

    def about_observations(self) -> Rule:
        """The part of the rule that all maps of an observation are alike to."""
        return self if self.by_observation else Every()

    def __and__(self, other: Rule) -> Rule:
        return Both(self, other) if isinstance(other, Rule) else NotImplemented

    def __or__(self, other: Rule) -> Rule:
        return Either(self, other) if isinstance(other, Rule) else NotImplemented

    def __invert__(self) -> Rule:
        return Not(self)


class Condition(Rule):
    """A rule that is not made of others.

    Attributes
    ----------
    of_observation : bool
        Whether it asks for something that all maps of an observation have in common.
    of_all : bool
        Whether all maps must be known before it can decide about one.
    """

    of_observation = True
    of_all = False

    @property
    def asks_for(self) -> str:
        """The column of the table of observations that it asks for; empty if none."""
        return ""

    def conditions(self) -> Iterator[Condition]:
        """Itself."""
        yield self


@dataclass(frozen=True)
class Every(Condition):
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

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether both hold."""
        return self.left.holds(facts, overview) and self.right.holds(facts, overview)

    def conditions(self) -> Iterator[Condition]:
        """Those of both."""
        yield from self.left.conditions()
        yield from self.right.conditions()

    def about_observations(self) -> Rule:
        """The parts of both, as far as they are about observations."""
        parts = [self.left.about_observations(), self.right.about_observations()]
        parts = [part for part in parts if part != Every()]
        return Both(*parts) if len(parts) == 2 else (*parts, Every())[0]

    def __str__(self) -> str:
        left = _in_brackets(self.left, Either)
        return f"{left} & {_in_brackets(self.right, Either, Both)}"


@dataclass(frozen=True)
class Either(Rule):
    """Holds where any of two rules does."""

    left: Rule
    right: Rule

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether any holds."""
        return self.left.holds(facts, overview) or self.right.holds(facts, overview)

    def conditions(self) -> Iterator[Condition]:
        """Those of both."""
        yield from self.left.conditions()
        yield from self.right.conditions()

    def __str__(self) -> str:
        return f"{self.left} | {_in_brackets(self.right, Either)}"


@dataclass(frozen=True)
class Not(Rule):
    """Holds where another rule does not."""

    rule: Rule

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the other does not hold."""
        return not self.rule.holds(facts, overview)

    def conditions(self) -> Iterator[Condition]:
        """Those of the other."""
        yield from self.rule.conditions()

    def __str__(self) -> str:
        return f"~{_in_brackets(self.rule, Either, Both)}"


def _in_brackets(rule: Rule, *kinds: type[Rule]) -> str:
    """The text of a rule, in brackets if it is of one of these kinds."""
    return f"({rule})" if isinstance(rule, kinds) else str(rule)
