"""Chi-square of sign-flip realisations, as it is of the difference of two maps."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MismatchError
from ..g3files.lines import Values
from ..maps import matrices
from ..maps.agreement import require_agreement
from ..maps.stokes import StokesMaps, stokes_maps
from .chisquare import chi_squares, chi_squares_of, diagonal_of
from .differencing import CONCLUSION
from .pairing import Pair
from .realisations import NoiseMap, noise_maps_in
from .sources import Headers, Source

HALVES, WHOLE = "halves", "whole"

# Weights of realisations, which are sums in another order, are equal to so much of the largest.
_SAME = 1e-6


def noise_of(
    pair: Pair,
    difference: StokesMaps,
    signflips: Source | tuple[Source, Source],
    headers: Headers,
    options: dict[str, Any],
) -> tuple[str, Values]:
    """Chi-square of the realisations that belong to a pair.

    Parameters
    ----------
    pair : Pair
    difference : StokesMaps
        Its half difference.
    signflips : source, or tuple of two
        See `g3reduce.null_test`.
    headers : Headers
    options : dict
        Arguments of `stokes_maps`.

    Returns
    -------
    kind : {"halves", "whole"}
        What they are of.
    chi2 : float64 array, shape (realisations, statistics)

    Raises
    ------
    MismatchError
        If there are none, or they do not fit.
    """
    found = _Found(pair, difference, options)
    ids = (pair.a.frame_id, pair.b.frame_id)
    if isinstance(signflips, tuple) and len(signflips) == 2:
        for side, source in enumerate(signflips):
            for noise in noise_maps_in(source, headers):
                if noise.base in (ids[side], ""):
                    found.add_half(side, noise)
                else:
                    found.others[noise.base] = None
    else:
        for noise in noise_maps_in(signflips, headers):
            if noise.base in ids and ids[0] != ids[1]:
                found.add_half(ids.index(noise.base), noise)
            elif noise.base in (pair.frame_id, ""):
                found.add_whole(noise)
            else:
                found.others[noise.base] = None
    return found.result()


class _Found:
    """What was found so far of the realisations of a pair.

    Of halves, the maps of one wait for those of the other.
    """

    def __init__(self, pair: Pair, difference: StokesMaps, options: dict[str, Any]):
        self._pair = pair
        self._difference = difference
        self._options = options
        self._variances = diagonal_of(matrices.inverse(difference.weights))
        self._waiting: tuple[dict[int, Values], dict[int, Values]] = {}, {}
        self._weights: dict[int, Values] = {}  # of the first realisation of each side
        self._of_halves: list[Values] = []
        self._of_whole: list[Values] = []
        self.others: dict[str, None] = {}  # the Ids of coadds of which there were others

    def add_half(self, side: int, noise: NoiseMap) -> None:
        """Take a realisation of one of the two maps."""
        maps = self._read(noise)
        if side in self._weights:
            self._require_same(maps.weights, self._weights[side], noise)
        else:
            self._weights[side] = maps.weights
            if len(self._weights) == 2:
                both = matrices.half_difference_weights(*self._weights.values())
                self._require_same(both, self._difference.weights, noise)
        other = self._waiting[1 - side].pop(noise.number, None)
        if other is None:
            self._waiting[side][noise.number] = maps.values
            return
        values = (maps.values - other) / 2  # the sign of all of it does not count
        self._of_halves.append(chi_squares(values, self._difference.weights, self._variances))

    def add_whole(self, noise: NoiseMap) -> None:
        """Take a realisation of one coadd."""
        self._of_whole.append(chi_squares_of(self._read(noise)))

    def result(self) -> tuple[str, Values]:
        """Of what they are, and chi-square of all.

        Raises
        ------
        MismatchError
        """
        alone = [sorted(numbers) for numbers in self._waiting]
        if any(alone):
            side = 0 if alone[0] else 1
            one, other = (self._pair.a, self._pair.b)[:: 1 - 2 * side]
            raise MismatchError(
                f"{one.where} has sign flips that {other.where} has not: the first is number "
                f"{alone[side][0]}. Make as many of both, with one seed."
            )
        if self._of_halves:
            return HALVES, np.array(self._of_halves)
        if self._of_whole:
            return WHOLE, np.array(self._of_whole)
        wanted = dict.fromkeys((self._pair.a.frame_id, self._pair.b.frame_id, self._pair.frame_id))
        there = ", ".join(map(repr, self.others)) or "none"
        raise MismatchError(
            f"There are no sign flips of {' or '.join(map(repr, wanted))}; there are those of "
            f"{there}. Their Ids are that of the coadd, _signflip and a number."
        )

    def _read(self, noise: NoiseMap) -> StokesMaps:
        """A realisation at the pixels of the difference."""
        maps = stokes_maps(noise.given.frame, noise.given.where, **self._options)
        wanted = self._difference
        if maps.names != wanted.names:
            raise MismatchError(
                f"{maps.where} has {', '.join(maps.names)}; expected {', '.join(wanted.names)}."
            )
        require_agreement(maps.stubs, wanted.stubs, maps.where, wanted.where, CONCLUSION)
        places = np.searchsorted(maps.pixels, wanted.pixels)
        places = np.minimum(places, max(len(maps.pixels) - 1, 0))
        missing = np.count_nonzero(maps.pixels[places] != wanted.pixels) if len(maps.pixels) else -1
        if missing:
            raise MismatchError(
                f"{maps.where} lacks pixels that {wanted.where} has, so it is no sign flip of "
                "these maps."
            )
        return maps.take(places)

    def _require_same(self, weights: Values, wanted: Values, noise: NoiseMap) -> None:
        if not np.allclose(weights, wanted, rtol=0, atol=_SAME * np.abs(wanted).max()):
            raise MismatchError(
                f"{noise.given.where} has other weights than the map that it is a sign flip of; "
                "expected realisations of the same observations."
            )
