"""Making a plan of a splitting and the maps of the input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..spt3glog import unit_logger
from . import bundling, flipping
from .factors import Bundles, SignFlips
from .facts import MapFacts
from .instants import DAY, date_of
from .overview import Overview, observation_of
from .plan import Group, Plan
from .products import Product, name_of
from .weights import weights_of
from .words import natural

logger = unit_logger(__name__, "MPIMapCoadder")


def make_plan(
    products: Sequence[Product], inputs: Sequence[MapFacts], record: Mapping[str, str]
) -> Plan:
    """The plan of a splitting.

    Parameters
    ----------
    products : sequence of Product
        Those that are side by side.
    inputs : sequence of MapFacts
        All maps of the input.
    record : mapping of str to str
        What is to be recorded of every coadd.

    Raises
    ------
    InputError
        If what is asked for is not known of a map, or two coadds would have the same name.
    """
    _require_once(inputs)
    planner = _Planner(inputs, products)
    groups: list[Group] = []
    made_by: dict[str, str] = {}
    for product in products:
        for group in planner.groups_of(product):
            for one in group.records.values():
                one |= record
            groups.append(group)
            for name in (group.name, *group.flips):
                if name in made_by:
                    raise InputError(
                        f"two coadds would be named {name!r}: one of ({made_by[name]}), and one of "
                        f"({product}). Give splits other names."
                    )
                made_by[name] = str(product)
    return Plan(inputs, groups, " + ".join(map(str, products)))


def _require_once(inputs: Sequence[MapFacts]) -> None:
    places: set[tuple[str, int]] = set()
    for one in inputs:
        if (one.file, one.frame) in places:
            raise InputError(
                f"{one.where} is twice among the maps to be planned for, and a split counts a map "
                "once: name each file once."
            )
        places.add((one.file, one.frame))


class _Bundled(NamedTuple):
    """Observations that were shared out to bundles.

    Attributes
    ----------
    bundle_of : dict of str to int
        The number of the bundle of each.
    n_bundles : int
    record : dict of str to str
        What is to be recorded of each bundle.
    pool : str
        What all of them have in common; empty if nothing.
    """

    bundle_of: dict[str, int]
    n_bundles: int
    record: dict[str, str]
    pool: str


class _Planner:
    """The maps of the input, and what they make of products."""

    def __init__(self, inputs: Sequence[MapFacts], products: Sequence[Product]):
        self._inputs = inputs
        self._overview = Overview(inputs)
        self._members = {product: self._members_of(product) for product in products}
        self._bundled = self._bundles_of_pools()

    def _members_of(self, product: Product) -> dict[tuple[str, ...], list[int]]:
        """The places of the maps in each split of a product, by the parts of its name."""
        members: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for place, facts in enumerate(self._inputs):
            parts = product.parts_of(facts, self._overview)
            if parts is not None:
                members[parts].append(place)
        if not members and self._inputs:
            self._warn_of_nothing(product)
        return members

    def _bundles_of_pools(self) -> dict[tuple[Bundles, str], _Bundled]:
        """Bundles of all observations, by how they are made, and by pool.

        Splits of all products that have the same in common share bundles, whatever their Ids.
        """
        pools: dict[tuple[Bundles, str], set[int]] = defaultdict(set)
        for product, members in self._members.items():
            for parts, places in members.items():
                if product.bundles is not None:
                    pools[product.bundles.whole(), product.pool_of(parts)].update(places)
        return {
            (bundles, pool): self._shared_out(bundles, pool, sorted(places))
            for (bundles, pool), places in pools.items()
        }

    def groups_of(self, product: Product) -> Iterator[Group]:
        """The coadds of a product, in order."""
        members = self._members[product]
        for parts in sorted(members, key=lambda parts: [natural(part) for part in parts]):
            record = product.record_of(parts)
            if product.asks_for_order:
                record["order"] = f"of observations by {self._overview.in_order_of}"
            whole = _group(name_of(parts), members[parts], record)
            groups: Iterator[Group] = iter((whole,))
            if product.bundles is not None:
                pool = product.bundles.whole(), product.pool_of(parts)
                groups = self._bundles_of(parts, whole, product.bundles, self._bundled[pool])
            for group in groups:
                group.takes_any_id = not product.chooses_ids
                if product.flips is not None:
                    self._flip(group, product.flips)
                yield group

    def _shared_out(self, bundles: Bundles, pool: str, places: Sequence[int]) -> _Bundled:
        """Bundles of the observations of these maps."""
        maps = [self._inputs[place] for place in places]
        names = list(dict.fromkeys(map(observation_of, maps)))
        record = {"bundles": str(bundles)}
        if bundles.kind == "days":
            last = max(self._overview.observations, key=self._time_of)
            found = bundling.by_time([*names, last], self._overview, bundles.days)
            n_bundles = 1 + found[last]
            return _Bundled({name: found[name] for name in names}, n_bundles, record, pool)
        bundling.require_enough(names, bundles.n_bundles, pool)
        if bundles.kind == "number":
            found = bundling.by_number(names, bundles.n_bundles, bundles.seed)
            return _Bundled(found, bundles.n_bundles, record, pool)
        of_maps: dict[str, list[float]] = {name: [] for name in names}
        weights, if_equal = weights_of(maps, "bundles")
        for one, weight in zip(maps, weights, strict=True):
            of_maps[observation_of(one)].append(weight)
        # Sorted, so that the sum does not depend on the order of files.
        of_observation = {name: sum(sorted(found)) for name, found in of_maps.items()}
        found = bundling.by_weight(of_observation, bundles.n_bundles, bundles.seed)
        return _Bundled(found, bundles.n_bundles, {**record, **if_equal}, pool)

    def _bundles_of(
        self, parts: tuple[str, ...], whole: Group, bundles: Bundles, bundled: _Bundled
    ) -> Iterator[Group]:
        of_maps = [bundled.bundle_of[observation_of(self._inputs[place])] for place in whole.maps]
        if bundles.jackknife and len({*of_maps}) == 1:
            self._without_jackknife(whole.name, bundles, bundled)
            return
        for bundle in sorted({*of_maps}):
            maps = [
                place
                for place, found in zip(whole.maps, of_maps, strict=True)
                if (found == bundle) != bundles.jackknife
            ]
            record = {**whole.records[whole.name], **bundled.record}
            record |= {"bundles": str(bundles), "bundle": str(bundle)}
            if bundles.kind == "days":
                start = bundling.first_day(self._overview) + bundle * bundles.days * DAY
                stop = start + bundles.days * DAY
                record["dates"] = f"{date_of(start)}..{date_of(stop)}"
            name = name_of((*parts, bundles.part_of(bundle, bundled.n_bundles)))
            yield _group(name, maps, record)

    def _without_jackknife(self, name: str, bundles: Bundles, bundled: _Bundled) -> None:
        """Say that all maps of a coadd are in one bundle: nothing would be left without it.

        Raises
        ------
        InputError
            If all observations are.
        """
        if len({*bundled.bundle_of.values()}) > 1:
            logger.warning(
                "All maps of %r are in one bundle, so there is no coadd of them that lacks it "
                "(%s).",
                *(name, bundles),
            )
            return
        pool = f" of {bundled.pool}" if bundled.pool else ""
        raise InputError(
            f"all observations{pool} are in one bundle, and nothing would be left of them without "
            f"it ({bundles}): make two bundles or more, or no jackknife."
        )

    def _time_of(self, observation: str) -> float:
        return self._overview.time_of(observation, "bundle_days")

    def _flip(self, group: Group, flips: SignFlips) -> None:
        """Add realisations to a coadd."""
        maps = [self._inputs[place] for place in group.maps]
        if len(maps) == 1:
            logger.warning(
                "%r has a single map (%s), so its sign flips cannot be balanced: each realisation "
                "is the coadd itself, or its negative, with all of the sky.",
                *(group.name, maps[0].where),
            )
        weights, if_equal = weights_of(maps, f"sign flips of {group.name!r}")
        names = self._overview.names
        group.signs = flipping.signs_of(
            [names[place] for place in group.maps],
            weights,
            flips.n_realisations,
            seed=flips.seed,
            group=group.name,
        )
        record = group.records[group.name]
        balance = group.signs @ (np.array(weights) / (sum(weights) or 1.0))
        group.flips = tuple(
            f"{group.name}_{flips.part_of(number)}" for number in range(flips.n_realisations)
        )
        for number, name in enumerate(group.flips):
            of_flip = {"base": group.name, "realisation": str(number)}
            of_flip["balance"] = f"{balance[number]:.6g}"
            of_flip["seed"] = str(flips.seed)
            group.records[name] = {**record, "name": name, **of_flip, **if_equal}

    def _warn_of_nothing(self, product: Product) -> None:
        ids = sorted({one.map_id for one in self._inputs}, key=natural)
        logger.warning(
            "No map of the input is in (%s), so there is no such coadd. There are %d maps; Ids: "
            "%s.",
            *(product, len(self._inputs), ", ".join(ids[:10]) + (", ..." if len(ids) > 10 else "")),
        )


def _group(name: str, maps: list[int], record: Mapping[str, str]) -> Group:
    return Group(name, maps, records={name: {**record, "name": name}})
