"""Bundles: observations shared out to parts of equal weight, of equal number, or of equal time."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Mapping, Sequence

from ..errors import InputError
from .instants import DAY, day_of
from .overview import Overview


def by_weight(weights: Mapping[str, float], n_bundles: int, seed: int) -> dict[str, int]:
    """Bundles of equal weight.

    From the heaviest observation to the lightest, each goes to the bundle that has least so far. So
    the weights of two bundles differ by at most that of one observation.

    Parameters
    ----------
    weights : mapping of str to float
        Of each observation, by names that do not depend on paths.
    n_bundles : int
    seed : int
        Of the order, drawn at random, of observations that are as heavy.

    Returns
    -------
    dict of str to int
        The number of the bundle of each observation.
    """
    order = sorted(weights, key=lambda name: (-weights[name], _drawn(seed, name), name))
    # By weight, then by number of observations: those without weight are shared out, too.
    lightest = [(0.0, 0, bundle) for bundle in range(n_bundles)]
    found = {}
    for name in order:
        weight, number, bundle = lightest[0]
        found[name] = bundle
        heapq.heapreplace(lightest, (weight + weights[name], number + 1, bundle))
    return found


def by_number(names: Sequence[str], n_bundles: int, seed: int) -> dict[str, int]:
    """Bundles of equal number, to within one: observations are dealt out in an order drawn at
    random."""
    order = sorted(names, key=lambda name: (_drawn(seed, name), name))
    return {name: place % n_bundles for place, name in enumerate(order)}


def by_time(names: Sequence[str], overview: Overview, days: float) -> dict[str, int]:
    """Bundles of so many days, from the begin (in UTC) of the first day of the whole input on."""
    who = "bundle_days"
    begin = first_day(overview)
    return {
        name: math.floor((overview.time_of(name, who) - begin) / (days * DAY)) for name in names
    }


def first_day(overview: Overview) -> float:
    """The begin of the day of the first observation of the input, in UTC."""
    return day_of(min(overview.time_of(name, "bundle_days") for name in overview.observations))


def require_enough(names: Sequence[str], n_bundles: int, pool: str) -> None:
    """Refuse to make more bundles than there are observations.

    Raises
    ------
    InputError
    """
    if len(names) < n_bundles:
        raise InputError(
            f"there are {len(names)} observations{f' of {pool}' if pool else ''}, which cannot "
            f"make {n_bundles} bundles: ask for fewer."
        )


def _drawn(seed: int, name: str) -> bytes:
    """A number drawn at random for an observation: its hash with the seed."""
    text = f"g3reduce bundles\n{seed}\n{name}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
