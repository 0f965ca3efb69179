"""The factors of a splitting: each says one part of the name of a coadd, and which maps have it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from ..errors import InputError
from .facts import MapFacts
from .overview import Overview
from .rules import Every, Rule

# What `By` takes from frames; anything else is a column.
OF_FRAMES = ("id", "source", "observation")


class Factor:
    """One part of the name of a coadd."""

    @property
    def planned(self) -> bool:
        """Whether all maps must be known before it can be said of one which part it has."""
        return True

    @property
    def needs_weights(self) -> bool:
        """Whether the weights of maps must be known."""
        return False

    @property
    def columns(self) -> set[str]:
        """The columns of the table of observations that it asks for."""
        return set()


class Direct(Factor, ABC):
    """A factor whose parts are known of each map by itself, or in view of all maps."""

    @property
    def planned(self) -> bool:
        """Not, unless it says otherwise."""
        return False

    @property
    @abstractmethod
    def asks_for_id(self) -> bool:
        """Whether the Ids of maps count."""

    @abstractmethod
    def part_of(self, facts: MapFacts, overview: Overview | None = None) -> str | None:
        """The part that a map has: None if it does not take part."""

    @abstractmethod
    def pool_of(self, part: str) -> str:
        """What observations with this part have in common: they make bundles of their own."""

    @abstractmethod
    def text_of(self, part: str) -> str:
        """How it is recorded which maps have this part."""


@dataclass(frozen=True)
class Split(Direct):
    """The maps for which a rule holds.

    Attributes
    ----------
    name : str
    rule : Rule
    """

    name: str
    rule: Rule

    @property
    def planned(self) -> bool:
        """Whether the rule is."""
        return self.rule.planned

    @property
    def columns(self) -> set[str]:
        """Those of the rule."""
        return self.rule.columns

    @property
    def asks_for_id(self) -> bool:
        """Whether the rule asks for Ids."""
        return any(condition.asks_for_id for condition in self.rule.conditions())

    def part_of(self, facts: MapFacts, overview: Overview | None = None) -> str | None:
        """The name, if the rule holds."""
        return self.name if self.rule.holds(facts, overview) else None

    def pool_of(self, part: str) -> str:
        """The rule, as far as it is about observations."""
        about = self.rule.about_observations()
        return "" if about == Every() else str(about)

    def text_of(self, part: str) -> str:
        """The name, and its rule."""
        return str(self)

    def __str__(self) -> str:
        return f"{self.name}: {self.rule}"


@dataclass(frozen=True)
class By(Direct):
    """A split for each value of a field.

    Attributes
    ----------
    field : str
        ``"id"``, ``"source"``, ``"observation"``, or a column of the table of observations.
    """

    field: str

    @property
    def columns(self) -> set[str]:
        """The field, if it is a column."""
        return set() if self.field in OF_FRAMES else {self.field}

    @property
    def asks_for_id(self) -> bool:
        """Whether the field is the Id."""
        return self.field == "id"

    def part_of(self, facts: MapFacts, overview: Overview | None = None) -> str | None:
        """The value of the map; a ``/`` in the name of an observation becomes a ``-``.

        Raises
        ------
        InputError
            If it is not known, or cannot be a part of a name.
        """
        part = self._value_of(facts)
        if not part:
            raise InputError(
                f"{facts.where}: its {self.field} is not known, and there is to be a coadd for "
                f"each {self.field}. Leave the map out, or name splits by rules."
            )
        if "/" in part or not part.isprintable():
            raise InputError(
                f"{facts.where}: its {self.field} is {part!r}, which cannot be a part of the name "
                "of a coadd, because of '/' or a sign that cannot be printed. Name splits by rules."
            )
        return part

    def _value_of(self, facts: MapFacts) -> str:
        if self.field == "id":
            return facts.map_id
        if self.field == "source":
            return facts.source
        if self.field == "observation":
            return facts.observation.replace("/", "-")
        value = facts.value_of(self.field)
        return value if isinstance(value, str) else f"{value:.15g}"

    def pool_of(self, part: str) -> str:
        """The value, if it is one of observations."""
        return "" if self.field == "id" else f"{self.field} {part}"

    def text_of(self, part: str) -> str:
        """The field, and its value."""
        return f"by {self.field}: {part}"

    def __str__(self) -> str:
        return f"by {self.field}"


@dataclass(frozen=True)
class Bundles(Factor):
    """Bundles of whole observations, or the coadds that lack one of them each.

    Attributes
    ----------
    n_bundles : int
        0 if they are of a number of days.
    kind : {"weight", "number", "days"}
    seed : int
    days : float
    jackknife : bool
        Whether each coadd lacks one bundle, instead of being it.
    """

    n_bundles: int
    kind: str = "weight"
    seed: int = 0
    days: float = 0.0
    jackknife: bool = False

    @property
    def needs_weights(self) -> bool:
        """Whether they are of equal weight."""
        return self.kind == "weight"

    def whole(self) -> Bundles:
        """The bundles themselves, where each coadd lacks one."""
        return replace(self, jackknife=False)

    def part_of(self, bundle: int, n_bundles: int) -> str:
        """The part of the name for one of so many bundles."""
        name = "jackknife" if self.jackknife else "bundle"
        return f"{name}{bundle:0{len(str(n_bundles - 1))}}"

    def __str__(self) -> str:
        if self.kind == "days":
            text = f"bundles of {self.days:.15g} days"
        else:
            text = f"{self.n_bundles} bundles of equal {self.kind}, seed {self.seed}"
        return f"all but one of {text}" if self.jackknife else text


@dataclass(frozen=True)
class SignFlips(Factor):
    """Realisations of a coadd in which half of its weight is subtracted.

    Attributes
    ----------
    n_realisations, seed : int
    """

    n_realisations: int
    seed: int = 0

    @property
    def needs_weights(self) -> bool:
        """They are balanced by weight."""
        return True

    def part_of(self, realisation: int) -> str:
        """The part of the name for a realisation."""
        return f"signflip{realisation:0{max(3, len(str(self.n_realisations - 1)))}}"

    def __str__(self) -> str:
        return f"{self.n_realisations} sign flips, seed {self.seed}"
