"""Splittings of a coadd that is planned: what a sample of its files tells of what they make of all.

To which splits a map goes is known from the map itself; parity and medians are those of the sample.
Bundles and sign flips are shared out in view of all maps, so only their numbers count here: each of
them is taken to get an equal part of the maps of its split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..maps.flips import Signs
from ..pipeline.units import Unit, unit_of
from ..splits import MapFacts, Splitting
from ..splits.bundling import first_day
from ..splits.factors import Bundles
from ..splits.instants import DAY
from ..splits.overview import Overview, observation_of
from ..splits.products import Product, name_of
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from .parts import MapSize, costs_of

logger = unit_logger(__name__, "plan_coadd")


class Share(NamedTuple):
    """Coadds that are alike, made of the maps of one split.

    Attributes
    ----------
    name : str
        Their names, as a pattern.
    number : int
        How many they are.
    files, maps : float
        The part of the files, and of the maps, of the split of which each is.
    flips : int
        How many realisations each of them has.
    """

    name: str
    number: int = 1
    files: float = 1.0
    maps: float = 1.0
    flips: int = 0


class More(NamedTuple):
    """How many sums a map is added to, beside that of each of its splits.

    Attributes
    ----------
    sums, flips : float
        Whole ones, and those of realisations that share the weights of others.
    """

    sums: float = 0.0
    flips: float = 0.0


class SampledSplits:
    """A splitting of many maps of which some are known.

    Parameters
    ----------
    splitting : Splitting
    facts : list of MapFacts
        Of the maps of the sample.
    sizes : dict of (file, frame) to MapSize
        How large they are.
    part : float
        The part of all files that the sample is.
    reach : float
        How many times as far from the first one as the last observation of the sample is that of
        all of them.

    Raises
    ------
    InputError
        If what a rule asks for is not known of a map; and whatever the coadd would refuse, if the
        sample has all files.
    """

    def __init__(
        self,
        splitting: Splitting,
        facts: Sequence[MapFacts],
        sizes: Mapping[tuple[str, int], MapSize],
        *,
        part: float,
        reach: float,
    ):
        if part == 1:
            splitting.plan(facts)
        self._sizes = sizes
        self._overview = Overview(facts)
        self._part, self._reach = part, reach
        self._splits_of: dict[tuple[str, int], dict[str, None]] = {}
        self._maps: dict[str, list[MapFacts]] = {}
        self._products: dict[str, list[tuple[Product, tuple[str, ...]]]] = {}
        for product in splitting.products:
            found: dict[tuple[str, ...], list[MapFacts]] = {}
            for one in facts:
                parts = product.parts_of(one, self._overview)
                if parts is not None:
                    found.setdefault(parts, []).append(one)
                    self._splits_of.setdefault((one.file, one.frame), {})[name_of(parts)] = None
            for parts, maps in found.items():
                self._maps[name_of(parts)] = maps
                self._products.setdefault(name_of(parts), []).append((product, parts))
            if not found and part < 1:
                logger.warning(
                    "No map of the sample is in (%s), which is not reckoned with. Take more files "
                    "for the sample.",
                    product,
                )

    def plan(self, sums: int = 0, flips: int = 0) -> PlanOfSample:
        """What adds the maps of the sample to their splits, and to so many more sums of each."""
        return PlanOfSample(self._splits_of, sums, flips)

    def shares_of(self, split: str) -> list[Share]:
        """What the splitting makes of the maps of a split."""
        maps = self._maps[split]
        places = {(one.file, observation_of(one)) for one in maps}
        of_a_file = len(places) / len({file for file, _ in places})
        most = max(1, round(len({observation for _, observation in places}) / self._part))
        shares = []
        for product, parts in self._products[split]:
            flips = product.flips.n_realisations if product.flips else 0
            name, number, part = split, 1, 1.0
            if bundles := product.bundles:
                number = min(most, self._number_of(bundles))  # those that are empty do not count
                if bundles.jackknife and number == 1:  # nothing is left without it
                    continue
                name = name_of((*parts, "jackknife*" if bundles.jackknife else "bundle*"))
                part = 1 - 1 / number if bundles.jackknife else 1 / number
            # A file goes where any of its observations goes.
            files = 1 - (1 - part) ** of_a_file
            shares.append(Share(name, number, files, part, flips))
        return shares

    def asked(self, *, limbs: int, at_once: bool) -> float:
        """The bytes that a coadd asks for on each rank before it begins; see `costs_of`."""
        asked = 0.0
        for split in self._maps:
            for share in self.shares_of(split):
                plan = self.plan(flips=share.flips)
                costs = costs_of(plan, self._sizes, limbs=limbs, at_once=at_once)
                asked += share.number * sum(one.whole for one in costs if one.name == split)
        return asked

    def _number_of(self, bundles: Bundles) -> int:
        """How many bundles there will be."""
        if bundles.kind != "days":
            return bundles.n_bundles
        overview = self._overview
        times = [overview.time_of(name, "bundle_days") for name in overview.observations]
        if len(times) == 1:  # nothing tells how far the others are apart
            return max(1, round(1 / self._part))
        days = (min(times) - first_day(overview) + self._reach * (max(times) - min(times))) / DAY
        return 1 + math.floor(days / bundles.days)


class PlanOfSample:
    """A plan for the maps of a sample, which it adds to their splits; see `g3reduce.splits.Plan`.

    Parameters
    ----------
    splits_of : dict of (str, int) to names
        The splits of each map, by its file and frame.
    sums, flips : int
        How many sums, and how many realisations, each split has beside its own.
    """

    def __init__(
        self, splits_of: Mapping[tuple[str, int], Mapping[str, None]], sums: int, flips: int
    ):
        self._splits_of = splits_of
        self._copies = [f" {number}" for number in range(sums)]
        self._signs: Signs = np.array([1 - 2 * (number % 2) for number in range(flips)], np.int8)
        splits = dict.fromkeys(name for names in splits_of.values() for name in names)
        bases = [f"{name}{copy}" for name in splits for copy in ("", *self._copies)]
        self.base_of = {f"{base} flip {number}": base for base in bases for number in range(flips)}
        self.names = [*bases, *self.base_of]

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes."""
        unit = unit_of(frame)
        return None if unit is None else dict.fromkeys(self.bases_of(unit), 1) or None

    def bases_of(self, unit: Unit) -> Mapping[str, Signs]:
        """The coadds without flips to which a map goes, and its signs in their realisations."""
        splits = self._splits_of.get((unit.file, unit.index), {})
        return {f"{name}{copy}": self._signs for name in splits for copy in ("", *self._copies)}

    def record_of(self, name: str) -> Mapping[str, str]:
        """What is to be recorded of a coadd: nothing, because none is made."""
        return {}

    def takes_any_id(self, name: str) -> bool:
        """Not that it was to be told."""
        return False
