"""Splittings: which maps go to which coadds, with which sign, for the argument `assign`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, UsageError
from ..spt3gtypes import Frame
from .factors import Bundles, By, Factor, SignFlips, Split, as_rule, check_name
from .facts import MapFacts
from .observing import FactsOfFrames
from .plan import Plan
from .planning import ALONE, Line, make_plan
from .rules import Rule


@dataclass(frozen=True)
class Splitting:
    """Which maps go to which coadds, with which sign: to be passed as `assign`.

    ``a * b`` is `b` within each coadd of `a`, whose names are joined by ``_``; ``a + b`` has the
    coadds of both, side by side.

    Attributes
    ----------
    lines : tuple of tuple of Factor
        The products that are side by side.
    """

    lines: tuple[Line, ...]

    @property
    def is_planned(self) -> bool:
        """Whether all maps must be known before it can be said of one where it goes."""
        return any(factor.planned for line in self.lines for factor in line)

    @property
    def needs_weights(self) -> bool:
        """Whether a plan needs the weights of maps."""
        return any(factor.needs_weights for line in self.lines for factor in line)

    def __str__(self) -> str:
        return " + ".join(" * ".join(map(str, line)) for line in self.lines)

    def __mul__(self, other: Splitting) -> Splitting:
        if not isinstance(other, Splitting):
            return NotImplemented
        lines = tuple((*mine, *theirs) for mine in self.lines for theirs in other.lines)
        return Splitting(lines)

    def __add__(self, other: Splitting) -> Splitting:
        if not isinstance(other, Splitting):
            return NotImplemented
        return Splitting(self.lines + other.lines)

    def plan(self, inputs: Sequence[MapFacts]) -> Plan:
        """Decide of all maps of the input where they go.

        Parameters
        ----------
        inputs : sequence of MapFacts
            All maps of the input, in any order.

        Raises
        ------
        InputError
            If what a rule asks for is not known of a map.
        """
        return make_plan(self.lines, inputs)

    def facts(self) -> FactsOfFrames:
        """What finds the facts of frames, as this splitting needs them."""
        return FactsOfFrames()

    def assigner(self) -> Assigner:
        """A function for `assign` that also learns from the frames before maps."""
        return Assigner(self)

    def signs_of(self, facts: MapFacts) -> dict[str, int]:
        """The coadds to which a map goes, and its sign in each.

        Raises
        ------
        UsageError
            If this has to be planned.
        """
        if self.is_planned:
            raise UsageError(
                "this splitting has bundles, sign flips or rules that can be decided only once all "
                "maps are known: pass splitting.planned(ledger), or use coadd_files, which plans."
            )
        found: dict[str, int] = {}
        for line in self.lines:
            names = [""]
            for factor in line:
                parts = factor.parts_of(facts)
                names = [f"{name}_{part}" if name else part for name in names for part in parts]
            for name in names:
                if name in found:
                    raise InputError(f"{facts.where}: two coadds would be named {name!r}.")
                found[name or ALONE] = 1
        return found

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes by itself alone; None if it goes to none."""
        return self.assigner()(frame)


class Assigner:
    """A splitting at work: an `assign` function that also sees the frames between maps."""

    def __init__(self, splitting: Splitting):
        self._splitting = splitting
        self._facts = splitting.facts()

    def __str__(self) -> str:
        return str(self._splitting)

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._facts.observe(frame)

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes, and its sign in each; None if it goes to none."""
        return self._splitting.signs_of(self._facts.facts_of(frame)) or None


def _of(factor: Factor) -> Splitting:
    return Splitting(((factor,),))


def split(**rules: Rule) -> Splitting:
    """Splits by rules, under the names of the arguments.

    A map goes to every split whose rule holds, and to none if none does.

    Examples
    --------
    >>> halves = split(first=source("field1"), rest=~source("field1"))
    """
    if not rules:
        raise UsageError("split() was given no rule; expected name=rule, once or more.")
    return Splitting(
        tuple((Split(check_name(name), as_rule(rule, name)),) for name, rule in rules.items())
    )


def by(field: str) -> Splitting:
    """A coadd for each Id, source or observation.

    Parameters
    ----------
    field : {"id", "source", "observation"}
    """
    if field not in ("id", "source", "observation"):
        raise UsageError(f"by({field!r}); expected one of id, source, observation.")
    return _of(By(field))


def bundles(n_bundles: int, *, by: str = "weight", seed: int = 0) -> Splitting:
    """Bundles of whole observations, of equal weight or equal number.

    Parameters
    ----------
    n_bundles : int
    by : {"weight", "number"}
    seed : int
    """
    if by not in ("weight", "number"):
        raise UsageError(f"bundles by {by!r}; expected one of weight, number.")
    return _of(Bundles(_counted("n_bundles", n_bundles), by, _seed(seed)))


def signflips(n_realisations: int, *, seed: int = 0) -> Splitting:
    """Each coadd, and beside it realisations of its noise, in which half of it is subtracted.

    Parameters
    ----------
    n_realisations : int
    seed : int
    """
    return _of(SignFlips(_counted("n_realisations", n_realisations), _seed(seed)))


def _counted(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name} is {value!r}; expected a number from 1 on.")
    return value


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"seed is {value!r}; expected an integer.")
    return value
