"""Weights as matrices: one for each pixel, 3 by 3 for T, Q and U, or 1 by 1 for T alone.

Arrays hold the upper triangles, as frames do: a row for each of TT, TQ, TU, QQ, QU and UU, or one
for TT; and a column for each pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..g3files.lines import Values

Matrices = NDArray[np.float64]  # of shape (pixels, 3, 3) or (pixels, 1, 1)

MAX_CONDITION = 1e6
"""Matrices of a larger condition number are not inverted, unless another limit is given."""

# Rows of the array in which the elements of a matrix stand, by the number of its rows.
_PLACES = {1: [[0]], 3: [[0, 1, 2], [1, 3, 4], [2, 4, 5]]}
_SIDE = {1: 1, 6: 3}

_BLOCK = 1 << 15  # so many pixels at a time stay in the cache


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

    def invertible(matrices: Matrices) -> NDArray[np.bool_]:
        finite = np.all(np.isfinite(matrices), axis=(1, 2), keepdims=True)
        values = np.linalg.eigvalsh(np.where(finite, matrices, 0))
        smallest, largest = values[:, 0], values[:, -1]
        return (smallest > 0) & (largest <= max_condition * smallest)

    return np.asarray(by_blocks(invertible, weights), bool)


def inverse(weights: Values) -> Values:
    """The inverse matrices, of the same shape. All must be invertible."""
    return by_blocks(lambda matrices: _upper(np.linalg.inv(matrices)), weights)


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
    if len(weights) == 1:
        return values / weights
    return by_blocks(
        lambda matrices, vectors: np.linalg.solve(matrices, vectors[..., None])[..., 0].T,
        weights,
        values.T,
    )


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

    def combine(a: Matrices, b: Matrices) -> Values:
        product = a @ np.linalg.solve(a + b, b)
        return _upper(2 * (product + product.transpose(0, 2, 1)))  # it is symmetric, but for bits

    return by_blocks(combine, a, b)


def by_blocks(work: Callable[..., NDArray[Any]], weights: Values, *others: Values) -> NDArray[Any]:
    """What `work` makes of matrices, in blocks of pixels, so that few are whole at a time.

    It gets the matrices of each block, and of `others` what belongs to it: of weights their
    matrices, of arrays with a row for each pixel these rows.
    """
    n_pixels = weights.shape[1]
    done = []
    for start in range(0, max(n_pixels, 1), _BLOCK):
        block = slice(start, start + _BLOCK)
        more = [
            _whole(other[:, block]) if other.shape == weights.shape else other[block]
            for other in others
        ]
        done.append(work(_whole(weights[:, block]), *more))
    whole: NDArray[Any] = np.concatenate(done, axis=-1)
    return whole


def _whole(weights: Values) -> Matrices:
    """The matrices of upper triangles."""
    return np.moveaxis(weights[np.array(_PLACES[_SIDE[len(weights)]])], 2, 0)


def _upper(matrices: Matrices) -> Values:
    """The upper triangles of matrices."""
    rows, columns = np.triu_indices(matrices.shape[1])
    upper: Values = matrices[:, rows, columns].T
    return upper
