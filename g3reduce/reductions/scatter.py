"""Chi-square of a set of maps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays.reduction import Reduction
from .taking import What, as_floats, name_of, require_same_shape, taker

Array = NDArray[Any]


class _Scatter(NamedTuple):
    n: Array
    weight: Array
    mean: Array
    squares: Array


class ChiSquare(NamedTuple):
    """How far a set of maps scatters, in units of its noise.

    Attributes
    ----------
    chi_square : float
        Of all pixels.
    dof : int
        Degrees of freedom: what `chi_square` is expected to be.
    pixels, pixels_dof : array
        The same for each pixel, in the shape of the maps.
    mean : array
        The weighted mean of each pixel, or the model that was given. NaN where nothing counted.
    """

    chi_square: float
    dof: int
    pixels: Array
    pixels_dof: Array
    mean: Array


def chi_square(what: What, weights: What, *, model: ArrayLike | None = None) -> Reduction:
    """Chi-square of a set of maps: against their own weighted mean, or against a model.

    For each pixel chi^2 = sum over maps of w (x - m)^2, with the inverse variance w of the pixel in
    that map, and m = sum(w x) / sum(w) or the model. It has N - 1 or N degrees of freedom for N
    maps with a weight there. Sets are merged by the weighted form of Chan, Golub & LeVeque (1979):
    with d = m_b - m_a, chi^2 = chi^2_a + chi^2_b + d^2 W_a W_b / (W_a + W_b).

    Parameters
    ----------
    what : str or callable
        A map (or an array) of one shape in all frames, unweighted: temperatures, not temperatures
        times weights.
    weights : str or callable
        Its inverse variance, in 1 over the square of the units of the map: a map or an array of the
        same shape. Pixels with a weight that is not above 0, or with NaN, are left out.
    model : array_like, optional
        What the maps are expected to be.

    Returns
    -------
    Reduction
        Its result is a `ChiSquare`.

    Examples
    --------
    >>> split = chi_square("T", lambda frame: frame["Wunpol"].TT)
    >>> split.name
    'chi-square of T'
    """
    take, take_weights = taker(what), taker(weights)
    expected = None if model is None else np.array(model, np.float64)

    def extract(frame: Any) -> _Scatter | None:
        value = take(frame)
        weight = None if value is None else take_weights(frame)
        if weight is None:
            return None
        x, w = as_floats(value), as_floats(weight)
        require_same_shape(x, w)
        counts = (w > 0) & ~np.isnan(x)
        w = np.where(counts, w, 0.0)
        n = np.asarray(counts, np.int64)
        if expected is None:
            return _Scatter(n, w, np.where(counts, x, 0.0), np.zeros(x.shape))
        require_same_shape(x, np.broadcast_to(expected, x.shape))
        return _Scatter(n, w, np.zeros(x.shape), np.where(counts, w * (x - expected) ** 2, 0.0))

    def finalize(state: _Scatter) -> ChiSquare:
        hit = state.n > 0
        dof = np.where(hit, state.n - (expected is None), 0)
        where = np.where(hit, state.mean if expected is None else expected, np.nan)
        return ChiSquare(float(state.squares.sum()), int(dof.sum()), state.squares, dof, where)

    return Reduction(f"chi-square of {name_of(what)}", _merge, extract=extract, finalize=finalize)


def _merge(a: _Scatter, b: _Scatter) -> _Scatter:
    require_same_shape(a.mean, b.mean)
    weight = a.weight + b.weight
    part = np.divide(b.weight, weight, out=np.zeros(weight.shape), where=weight > 0)
    apart = b.mean - a.mean
    squares = a.squares + b.squares + apart**2 * a.weight * part
    return _Scatter(*map(np.asarray, (a.n + b.n, weight, a.mean + apart * part, squares)))
