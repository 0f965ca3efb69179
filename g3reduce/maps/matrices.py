"""Weights as matrices: one for each pixel, 3 by 3 for T, Q and U, or 1 by 1 for T alone.

Arrays hold the upper triangles, as frames do: a row for each of TT, TQ, TU, QQ, QU and UU, or one
for TT; and a column for each pixel. What is solved here is positive definite, so it is done by the
factors L D L^T of each matrix, written out: without pivots, and as exact as LAPACK's. (What divides
as spt3g does, to the bit, is in `g3reduce.maps.unweighting`.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..g3files.lines import Values
from .unweighting import condition_of

MAX_CONDITION = 1e6
"""Matrices of a larger condition number are not inverted, unless another limit is given."""

# Rows of the array in which the elements of a matrix stand, by the number of its rows.
_PLACES = {1: [[0]], 3: [[0, 1, 2], [1, 3, 4], [2, 4, 5]]}

_BLOCK = 1 << 14  # so many pixels at a time stay in the cache

# The smallest eigenvalue by `condition_of` is wrong by less than so much of the largest.
_ROUNDING = 1e-7


def is_invertible(weights: Values, max_condition: float = MAX_CONDITION) -> NDArray[np.bool_]:
    """Whether weights can be inverted: finite, positive definite, and well conditioned.

    Parameters
    ----------
    weights : float64 array, shape (6, pixels) or (1, pixels)
    max_condition : float
        The largest condition number, that is, ratio of the largest eigenvalue to the smallest.

    Returns
    -------
    bool array, shape (pixels,)
    """
    if len(weights) == 1:
        single: NDArray[np.bool_] = np.isfinite(weights[0]) & (weights[0] > 0)
        return single
    return np.asarray(_by_blocks(lambda part: _well_conditioned(part, max_condition), weights))


def _well_conditioned(weights: Values, max_condition: float) -> NDArray[np.bool_]:
    found = np.isfinite(weights).all(axis=0) & (weights[[0, 3, 5]] > 0).all(axis=0)
    with np.errstate(divide="ignore"):
        ratio = np.nan_to_num(1 / condition_of(list(weights)))  # 0 of what is not definite
    good: NDArray[np.bool_] = found & (ratio * max_condition >= 1)
    doubtful = np.flatnonzero(found & (np.abs(ratio - 1 / max_condition) < _ROUNDING))
    if len(doubtful):  # by LAPACK, which takes some twenty times as long
        values = np.linalg.eigvalsh(np.moveaxis(weights[_PLACES[3]][..., doubtful], 2, 0))
        smallest, largest = values[:, 0], values[:, -1]
        good[doubtful] = (smallest > 0) & (largest <= max_condition * smallest)
    return good


def inverse(weights: Values) -> Values:
    """The inverse matrices, of the same shape. All must be invertible."""
    return _by_blocks(_inverse, weights)


def _inverse(weights: Values) -> Values:
    if len(weights) == 1:
        with np.errstate(over="ignore"):  # of 1e-310
            return 1 / weights
    (d1, d2, d3), (l21, l31, l32) = _factors(weights)
    uu = 1 / d3
    qu = -l32 * uu
    qq = 1 / d2 - l32 * qu
    tu = -l21 * qu - l31 * uu
    tq = -l21 * qq - l31 * qu
    tt = 1 / d1 - l21 * tq - l31 * tu
    return np.stack([tt, tq, tu, qq, qu, uu])


def divide(values: Values, weights: Values) -> Values:
    """The inverse of each matrix times a vector: unweighted maps.

    Parameters
    ----------
    values : float64 array, shape (3, pixels) or (1, pixels)
    weights : float64 array, shape (6, pixels) or (1, pixels)
        All invertible.

    Returns
    -------
    float64 array of the shape of `values`
    """
    return _by_blocks(_divide, values, weights)


def _divide(values: Values, weights: Values) -> Values:
    if len(weights) == 1:
        return values / weights
    (d1, d2, d3), (l21, l31, l32) = _factors(weights)
    t, q, u = values
    q = q - l21 * t
    u = (u - l31 * t - l32 * q) / d3
    q = q / d2 - l32 * u
    t = t / d1 - l21 * q - l31 * u
    return np.stack([t, q, u])


def _factors(weights: Values) -> tuple[list[Values], list[Values]]:
    """D and L of L D L^T: the diagonal of D, and below that of L the elements 21, 31 and 32."""
    tt, tq, tu, qq, qu, uu = weights
    l21, l31 = tq / tt, tu / tt
    d2, rest = qq - l21 * tq, qu - l21 * tu
    l32 = rest / d2
    d3 = uu - l31 * tu - l32 * rest
    return [tt, d2, d3], [l21, l31, l32]


def multiply(values: Values, weights: Values) -> Values:
    """Each matrix times a vector: weighted maps. Shapes are as in `divide`."""
    rows = _PLACES[len(values)]
    return np.stack([sum(weights[at] * one for at, one in zip(row, values)) for row in rows])  # noqa: B905


def half_difference_weights(a: Values, b: Values) -> Values:
    """The weights of half the difference of two maps with independent noise.

    With the covariances A^-1 and B^-1 of both, that of (m_A - m_B) / 2 is (A^-1 + B^-1) / 4. Its
    inverse is 4 (A^-1 + B^-1)^-1 = 4 A (A + B)^-1 B, for which neither A nor B is inverted.

    Parameters
    ----------
    a, b : float64 array, shape (6, pixels) or (1, pixels)
        Both invertible, in all pixels.

    Returns
    -------
    float64 array of the same shape
    """
    return _by_blocks(_half_difference_weights, a, b)


def _half_difference_weights(a: Values, b: Values) -> Values:
    both = a + b
    rows = _PLACES[1 if len(a) == 1 else 3]
    columns = [multiply(_divide(b[row], both), a) for row in rows]  # of A (A + B)^-1 B
    return np.stack(
        [  # it is symmetric, but for bits
            2 * (columns[place][other] + columns[other][place])
            for place in range(len(rows))
            for other in range(place, len(rows))
        ]
    )


def _by_blocks(work: Callable[..., NDArray[Any]], *arrays: Values) -> NDArray[Any]:
    """What `work` makes of arrays with a column for each pixel, in blocks of pixels."""
    starts = range(0, max(arrays[0].shape[1], 1), _BLOCK)
    done = [work(*(one[:, start : start + _BLOCK] for one in arrays)) for start in starts]
    whole: NDArray[Any] = np.concatenate(done, axis=-1)
    return whole
