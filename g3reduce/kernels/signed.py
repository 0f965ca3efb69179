"""An inner loop for sign flips, compiled by numba: the same values, added with many signs.

Frames are taken four at a time. With the signs of a realisation they have one of 16 sums, which are
made once for all realisations. So a realisation takes one add for four frames. Sums are rounded
elsewhere than those of a matrix product, which numpy has instead.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, njit, void
from numpy.typing import NDArray

from .keeping import loop

GROUP = 4  # frames of which all sums are made
_SUMS = 2**GROUP
_AT_ONCE = 4  # groups that are added in one go
_TILE = 256  # pixels: their sums and realisations stay in the cache


@njit(inline="always")
def _split(plus: NDArray[np.float64], minus: NDArray[np.float64], v: NDArray[np.float64]) -> None:
    """Make two sums of one: with these values added, and with them subtracted."""
    for i in range(v.size):
        before, value = plus[i], v[i]
        minus[i] = before - value
        plus[i] = before + value


@njit(inline="always")
def _add_four(
    to: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    c: NDArray[np.float64],
    d: NDArray[np.float64],
) -> None:
    for i in range(to.size):
        to[i] += (a[i] + b[i]) + (c[i] + d[i])


@loop(void(float64[:, :, ::1], float64[:, ::1], int64[:, ::1]))
def add_signed(
    sums: NDArray[np.float64], staged: NDArray[np.float64], patterns: NDArray[np.int64]
) -> None:
    """Add frames to realisations, and set them to 0 as long as they are in the cache.

    Parameters
    ----------
    sums : array, shape (rows, realisations, pixels of a row)
    staged : array, shape (frames, pixels)
        The pixels of all rows, and maybe more.
    patterns : array, shape (groups, realisations)
        Of each group of frames, the bits of those that are subtracted. A multiple of four groups;
        frames that are not there count as 0.
    """
    n_rows, n_flips, length = sums.shape
    flat = sums.reshape(-1)
    n_tiles = -(-length // _TILE)
    table = np.empty(_AT_ONCE * _SUMS * _TILE)
    for tile in range(n_rows * n_tiles):
        row, number = tile // n_tiles, tile % n_tiles
        begin, end = number * length // n_tiles, (number + 1) * length // n_tiles
        n, first = end - begin, row * length + begin
        for group in range(0, len(patterns), _AT_ONCE):
            for member in range(_AT_ONCE):
                at = member * _SUMS * _TILE
                table[at : at + n] = 0
                for place in range(GROUP):
                    frame = (group + member) * GROUP + place
                    bit = 2**place
                    for known in range(bit):
                        plus, minus = at + known * _TILE, at + (known + bit) * _TILE
                        if frame < len(staged):
                            values = staged[frame][first : first + n]
                            _split(table[plus : plus + n], table[minus : minus + n], values)
                        else:
                            table[minus : minus + n] = table[plus : plus + n]
                    if frame < len(staged):
                        staged[frame][first : first + n] = 0
            for flip in range(n_flips):
                a = patterns[group, flip] * _TILE
                b = (patterns[group + 1, flip] + _SUMS) * _TILE
                c = (patterns[group + 2, flip] + 2 * _SUMS) * _TILE
                d = (patterns[group + 3, flip] + 3 * _SUMS) * _TILE
                to = (row * n_flips + flip) * length + begin
                _add_four(
                    flat[to : to + n],
                    table[a : a + n],
                    table[b : b + n],
                    table[c : c + n],
                    table[d : d + n],
                )
