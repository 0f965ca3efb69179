"""Signs of sign-flip realisations: half of the weight of a coadd is subtracted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Signs: TypeAlias = NDArray[np.int8]

# One hash gives the places in the permutations of so many realisations.
_AT_ONCE = 8

# Weights are compared as integers, the largest of which is this.
_LARGEST = 2**40


def signs_of(
    names: Sequence[str], weights: Sequence[float], n_realisations: int, *, seed: int, group: str
) -> Signs:
    """The signs of maps in sign-flip realisations of their coadd.

    Maps are put in an order that is drawn at random, and flipped one after the other as long as the
    sum of the weights of those that are flipped stays below one half of all. The one with which it
    would reach one half is flipped, too, if that brings the sum nearer to it; if it is as near
    without, at random. So the weight that is flipped is one half to within half the weight of one
    map. (The bundling scripts of Simons Observatory do the same, but for the last one: there it is
    not flipped, so that of two equal maps none would be.)

    The order is that of hashes (BLAKE2b) of the seed, the number of the realisation, the name of
    the coadd, and the name of the map. So the signs depend on nothing else: not on the order of
    files, their folders, the number of ranks, nor on versions of Python or numpy.

    Parameters
    ----------
    names : sequence of str
        The names of the maps, as `identities_of` gives them.
    weights : sequence of float
        Of each map, finite and not negative. If all are 0, they count as equal.
    n_realisations, seed : int
    group : str
        The name of the coadd.

    Returns
    -------
    ndarray of int8, of shape (n_realisations, number of maps)
        1, or -1 where a map is flipped.
    """
    order = sorted(range(len(names)), key=lambda number: names[number])
    words = _words([names[number] for number in order], n_realisations, seed, group)
    whole = _whole_numbers([weights[number] for number in order])
    total = int(whole.sum())
    signs = np.ones((n_realisations, len(names)), np.int8)
    places = np.array(order, np.intp)
    for realisation in range(n_realisations):
        drawn = np.argsort(words[realisation], kind="stable")
        running = 2 * np.cumsum(whole[drawn])
        n_flipped = int(np.searchsorted(running, total, side="left"))
        if n_flipped < len(drawn):
            without = int(running[n_flipped - 1]) if n_flipped else 0
            missing, above = total - without, int(running[n_flipped]) - total
            at_random = bool(words[realisation, drawn[n_flipped]] & np.uint64(1))
            n_flipped += above < missing or (above == missing and at_random)
        signs[realisation, places[drawn[:n_flipped]]] = -1
    return signs


def _whole_numbers(weights: Sequence[float]) -> NDArray[np.int64]:
    """Weights as integers, whose sums are exact: equal ones stay equal in any order."""
    largest = max(weights, default=0.0)
    if not largest:
        return np.ones(len(weights), np.int64)
    return np.array([round(weight / largest * _LARGEST) for weight in weights], np.int64)


def _words(names: Sequence[str], n_realisations: int, seed: int, group: str) -> NDArray[np.uint64]:
    """A number drawn at random for each realisation and map, of shape (realisations, maps)."""
    blocks = range(math.ceil(n_realisations / _AT_ONCE))
    words = np.empty((len(blocks), len(names), _AT_ONCE), np.uint64)
    for block in blocks:
        begin = hashlib.blake2b(f"g3reduce sign flips\n{seed}\n{block}\n{group}\n".encode())
        for number, name in enumerate(names):
            one = begin.copy()
            one.update(name.encode())
            words[block, number] = np.frombuffer(one.digest(), "<u8")
    by_realisation: NDArray[np.uint64] = words.transpose(0, 2, 1).reshape(-1, len(names))
    return by_realisation[:n_realisations]
