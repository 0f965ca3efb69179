"""The factors of a splitting: each says one part of the name of a coadd."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, UsageError
from .facts import MapFacts
from .overview import Overview
from .rules import Every, Rule

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")


class Factor(ABC):
    """One part of the name of a coadd, and which maps have it."""

    #: Whether it needs to know of all maps before it can decide about one.
    planned: bool = False
    #: Whether it needs the weights of maps.
    needs_weights: bool = False

    @property
    def pool(self) -> str:
        """The text of what it asks of observations: those that have it alike share bundles."""
        return ""

    @abstractmethod
    def parts_of(self, facts: MapFacts, overview: Overview | None = None) -> tuple[str, ...]:
        """The parts that a map has: none if it does not take part."""


@dataclass(frozen=True)
class Split(Factor):
    """The maps for which a rule holds.

    Attributes
    ----------
    name : str
    rule : Rule
    """

    name: str
    rule: Rule

    @property
    def planned(self) -> bool:  # type: ignore[override]
        """Whether the rule is."""
        return self.rule.planned

    @property
    def pool(self) -> str:
        """The rule, if it is about observations."""
        return str(self.rule) if self.rule.by_observation else ""

    def parts_of(self, facts: MapFacts, overview: Overview | None = None) -> tuple[str, ...]:
        """The name, if the rule holds."""
        return (self.name,) if self.rule.holds(facts, overview) else ()

    def __str__(self) -> str:
        return f"{self.name}: {self.rule}"


@dataclass(frozen=True)
class By(Factor):
    """A split for each value of a field.

    Attributes
    ----------
    field : str
    """

    field: str

    def parts_of(self, facts: MapFacts, overview: Overview | None = None) -> tuple[str, ...]:
        """The value of the map."""
        value = {"id": facts.map_id, "source": facts.source, "observation": facts.observation}
        found = value[self.field].replace("/", "-")
        if not found:
            raise InputError(
                f"{facts.where}: its {self.field} is not known, and there is to be a coadd for "
                f"each {self.field}. Leave the map out, or name splits by rules."
            )
        return (found,)

    def __str__(self) -> str:
        return f"by {self.field}"


@dataclass(frozen=True)
class Bundles(Factor):
    """Bundles of whole observations.

    Attributes
    ----------
    n_bundles : int
    by : {"weight", "number"}
    seed : int
    """

    n_bundles: int
    by: str = "weight"
    seed: int = 0

    planned = True

    @property
    def needs_weights(self) -> bool:  # type: ignore[override]
        """Whether they are of equal weight."""
        return self.by == "weight"

    def parts_of(self, facts: MapFacts, overview: Overview | None = None) -> tuple[str, ...]:
        """Not known of one map alone."""
        raise UsageError("Bundles are known only once they are planned.")

    def name_of(self, bundle: int) -> str:
        """The name of a bundle."""
        return f"bundle{bundle:0{len(str(self.n_bundles - 1))}}"

    def __str__(self) -> str:
        return f"{self.n_bundles} bundles of equal {self.by}, seed {self.seed}"


@dataclass(frozen=True)
class SignFlips(Factor):
    """Realisations of a coadd in which half of its weight is subtracted.

    Attributes
    ----------
    n_realisations, seed : int
    """

    n_realisations: int
    seed: int = 0

    planned = True
    needs_weights = True

    def parts_of(self, facts: MapFacts, overview: Overview | None = None) -> tuple[str, ...]:
        """Not known of one map alone."""
        raise UsageError("Sign flips are known only once they are planned.")

    def name_of(self, realisation: int) -> str:
        """The name of a realisation."""
        return f"signflip{realisation:0{max(3, len(str(self.n_realisations - 1)))}}"

    def __str__(self) -> str:
        return f"{self.n_realisations} sign flips, seed {self.seed}"


def check_name(name: Any) -> str:
    """A name of a split, if it can be one.

    Raises
    ------
    UsageError
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"a split is named {name!r}; expected letters, digits, and . + _ - after the first: "
            "the name is a part of Ids and of names of files."
        )
    return name


def as_rule(rule: Any, name: str) -> Rule:
    """A rule, if it is one.

    Raises
    ------
    UsageError
    """
    if not isinstance(rule, Rule):
        raise UsageError(
            f"the rule of the split {name!r} is {rule!r}; expected a rule, such as "
            'splits.map_id("150GHz*").'
        )
    return rule


EVERY = Every()
