"""Bundles: the observations of a split, shared out to parts of equal weight or number."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping

from ..errors import InputError


def bundles_of(
    observations: Mapping[str, float], n_bundles: int, *, by: str, seed: int, pool: str
) -> dict[str, int]:
    """The number of the bundle of each observation.

    Of equal number: observations are dealt out in an order drawn at random (by hashes, as in
    `flipping`), so that bundles differ by at most one. Of equal weight: from the heaviest to the
    lightest, each goes to the bundle that has least so far; so the weights of bundles differ by at
    most that of one observation.

    Parameters
    ----------
    observations : mapping of str to float
        The weight of each, by names that do not depend on paths.
    n_bundles : int
    by : {"weight", "number"}
    seed : int
        Of the order in which observations are dealt out, or of those that are as heavy.
    pool : str
        How messages, and hashes, name the observations.

    Raises
    ------
    InputError
        If there are fewer observations than bundles.
    """
    if len(observations) < n_bundles:
        raise InputError(
            f"{pool or 'The input'} has {len(observations)} observations, which cannot make "
            f"{n_bundles} bundles: ask for fewer."
        )

    def drawn(name: str) -> bytes:
        text = f"g3reduce bundles\n{seed}\n{pool}\n{name}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    if by == "number":
        order = sorted(observations, key=lambda name: (drawn(name), name))
        return {name: place % n_bundles for place, name in enumerate(order)}
    order = sorted(observations, key=lambda name: (-observations[name], drawn(name), name))
    # By weight, then by number of observations: those without weight are shared out, too.
    lightest = [(0.0, 0, bundle) for bundle in range(n_bundles)]
    found = {}
    for name in order:
        weight, number, bundle = lightest[0]
        found[name] = bundle
        heapq.heapreplace(lightest, (weight + observations[name], number + 1, bundle))
    return found
