"""Making a plan of a splitting and the maps of the input."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeAlias

from ..errors import InputError
from . import bundling, flipping
from .factors import Bundles, Factor, SignFlips
from .facts import MapFacts
from .identity import identities_of
from .overview import Overview
from .plan import Group, Plan

Line: TypeAlias = "tuple[Factor, ...]"

# The coadd of a splitting that says nothing but sign flips.
ALONE = "Coadd"


def make_plan(lines: Sequence[Line], inputs: Sequence[MapFacts]) -> Plan:
    """The plan of a splitting.

    Parameters
    ----------
    lines : sequence of tuple of Factor
        The products that are side by side.
    inputs : sequence of MapFacts
    """
    overview = Overview(inputs)
    names = identities_of(inputs)
    groups: dict[str, tuple[Group, str]] = {}
    for line in lines:
        for group in _groups_of(line, inputs, names, overview):
            text = " * ".join(map(str, line))
            for name in (group.name, *group.flips):
                if name in groups:
                    raise InputError(
                        f"two coadds would be named {name!r}: one of {groups[name][1]}, one of "
                        f"{text}. Name the splits otherwise."
                    )
                groups[name] = group, text
    unique = {id(group): group for group, _ in groups.values()}
    return Plan(inputs, unique.values())


def _groups_of(
    line: Line, inputs: Sequence[MapFacts], names: Sequence[str], overview: Overview
) -> Iterator[Group]:
    direct = [one for one in line if not isinstance(one, Bundles | SignFlips)]
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, facts in enumerate(inputs):
        for parts in product(*(one.parts_of(facts, overview) for one in direct)):
            members[parts].append(place)
    rule = " * ".join(map(str, direct)) or "all"
    pool = " & ".join(filter(None, (one.pool for one in direct)))
    bundles = next((one for one in line if isinstance(one, Bundles)), None)
    flips = next((one for one in line if isinstance(one, SignFlips)), None)
    of_observation = {}
    if bundles is not None:
        of_observation = _bundled(bundles, pool, inputs, {p for m in members.values() for p in m})
    for parts in sorted(members):
        record = {"rule": rule}
        for bundle in range(bundles.n_bundles) if bundles else (None,):
            maps = members[parts]
            ending: tuple[str, ...] = ()
            if bundles is not None and bundle is not None:
                maps = [at for at in maps if of_observation[_key(inputs[at])] == bundle]
                ending = (bundles.name_of(bundle),)
                record = record | {"bundles": str(bundles), "bundle": str(bundle)}
            if maps:
                name = "_".join((*parts, *ending)) or ALONE
                yield _flipped(Group(name, maps, record=dict(record)), flips, inputs, names)


def _flipped(
    group: Group, flips: SignFlips | None, inputs: Sequence[MapFacts], names: Sequence[str]
) -> Group:
    if flips is None:
        return group
    weights = flipping.weights_of([inputs[place] for place in group.maps], group.name)
    group.signs = flipping.signs_of(
        [names[place] for place in group.maps],
        weights,
        flips.n_realisations,
        seed=flips.seed,
        group=group.name,
    )
    numbers = range(flips.n_realisations)
    group.flips = tuple(f"{group.name}_{flips.name_of(number)}" for number in numbers)
    group.record |= {"signflips": str(flips)}
    return group


def _key(facts: MapFacts) -> str:
    """What is kept together in one bundle: an observation, or a map whose one is not known."""
    return facts.observation


def _bundled(
    bundles: Bundles, pool: str, inputs: Sequence[MapFacts], places: set[int]
) -> dict[str, int]:
    weights: dict[str, float] = defaultdict(float)
    for place in sorted(places):
        weight = inputs[place].weight
        weights[_key(inputs[place])] += 1.0 if weight is None else weight
    return bundling.bundles_of(
        weights, bundles.n_bundles, by=bundles.by, seed=bundles.seed, pool=pool
    )
