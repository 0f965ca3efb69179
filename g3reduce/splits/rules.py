"""Rules: whether a map is of a split. They combine by ``&``, ``|`` and ``~``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import UsageError
from .facts import MapFacts
from .overview import Overview

# So deep may rules be within each other: each level takes some calls of Python, of which about 1000
# may be within each other.
DEEPEST = 100


class Rule(ABC):
    """Whether a map is of a split.

    ``a & b`` holds where both do, ``a | b`` where any does, and ``~a`` where `a` does not. What the
    second one asks for need be known only of maps for which the first one does not decide.
    ``str(rule)`` is its text, from which `parse_rule` makes it again.

    Attributes
    ----------
    depth : int
        How many rules are within each other: 0 of a single condition.
    """

    depth = 0

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
        return AllOf.of((self, other)) if isinstance(other, Rule) else NotImplemented

    def __or__(self, other: Rule) -> Rule:
        return AnyOf.of((self, other)) if isinstance(other, Rule) else NotImplemented

    def __invert__(self) -> Rule:
        return self.rule if isinstance(self, Not) else Not(self)


class Condition(Rule):
    """A rule that is not made of others.

    Attributes
    ----------
    of_observation : bool
        Whether it asks for something that all maps of an observation have in common.
    of_all : bool
        Whether all maps must be known before it can decide about one.
    asks_for_id : bool
        Whether it asks for their Ids.
    """

    of_observation = True
    of_all = False
    asks_for_id = False

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
class _Joined(Rule):
    """Several rules as one.

    Attributes
    ----------
    rules : tuple of Rule
        Two or more.
    """

    rules: tuple[Rule, ...]

    def __post_init__(self) -> None:
        _note_depth(self, self.rules)

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Rule:
        """These rules as one, of which those of the same kind give their parts; or the only one."""
        parts: list[Rule] = []
        for rule in rules:
            parts.extend(rule.rules if isinstance(rule, cls) else (rule,))
        return cls(tuple(parts)) if len(parts) > 1 else parts[0]

    def conditions(self) -> Iterator[Condition]:
        """Those of all of them."""
        for rule in self.rules:
            yield from rule.conditions()


class AllOf(_Joined):
    """Holds where all of several rules do."""

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether all hold."""
        return all(rule.holds(facts, overview) for rule in self.rules)

    def about_observations(self) -> Rule:
        """The parts of all, as far as they are about observations."""
        parts = [rule.about_observations() for rule in self.rules]
        return AllOf.of([part for part in parts if part != Every()] or [Every()])

    def __str__(self) -> str:
        return " & ".join(_in_brackets(rule, AllOf, AnyOf) for rule in self.rules)


class AnyOf(_Joined):
    """Holds where any of several rules does."""

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether any holds."""
        return any(rule.holds(facts, overview) for rule in self.rules)

    def __str__(self) -> str:
        return " | ".join(_in_brackets(rule, AnyOf) for rule in self.rules)


@dataclass(frozen=True)
class Not(Rule):
    """Holds where another rule does not."""

    rule: Rule

    def __post_init__(self) -> None:
        _note_depth(self, (self.rule,))

    def holds(self, facts: MapFacts, overview: Overview | None = None) -> bool:
        """Whether the other does not hold."""
        return not self.rule.holds(facts, overview)

    def conditions(self) -> Iterator[Condition]:
        """Those of the other."""
        yield from self.rule.conditions()

    def __str__(self) -> str:
        return f"~{_in_brackets(self.rule, AllOf, AnyOf)}"


def _note_depth(rule: Rule, inner: Sequence[Rule]) -> None:
    """Refuse rules within rules within rules, which Python could not follow.

    Raises
    ------
    UsageError
    """
    depth = 1 + max(one.depth for one in inner)
    if depth > DEEPEST:
        raise UsageError(
            f"rules are nested more than {DEEPEST} deep: write them side by side, as a & b & c and "
            "a | b | c, of which there may be any number."
        )
    object.__setattr__(rule, "depth", depth)  # rules are frozen, and this follows from their parts


def _in_brackets(rule: Rule, *kinds: type[Rule]) -> str:
    """The text of a rule, in brackets if it is of one of these kinds."""
    return f"({rule})" if isinstance(rule, kinds) else str(rule)
