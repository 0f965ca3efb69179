"""Means, variances, covariances and chi-square, merged so that they do not lose digits.

Two sets of n_a and n_b values with means m_a and m_b and sums of squared deviations M_a and M_b
make one, by Chan, Golub & LeVeque (1979, "Updating formulae and a pairwise algorithm for computing
sample variances", Stanford CS-79-773)::

    n = n_a + n_b,  d = m_b - m_a
    m = m_a + d n_b / n
    M = M_a + M_b + d^2 n_a n_b / n

and the variance is M / (n - ddof). The textbook sum of x^2 minus n m^2 loses all digits where the
mean is large beside the spread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays.reduction import Reduction
from ..spt3gtypes import Frame
from .taking import What, as_floats, extractor, name_of, require_same_shape, taker

Array = NDArray[Any]


class _Moments(NamedTuple):
    n: Array
    mean: Array
    squares: Array


class MeanVariance(NamedTuple):
    """Mean and variance of values, each in the shape of these.

    Attributes
    ----------
    n : int64 array
        How many values there were.
    mean : array
        In the units of the values; NaN where there was none.
    variance : array
        In the square of these units; NaN where there were too few.
    """

    n: Array
    mean: Array
    variance: Array


def mean_and_variance(what: What, *, pooled: bool = False, ddof: int = 0) -> Reduction:
    """Mean and variance over frames: of each element, or of all elements together.

    By the formulae of Chan, Golub & LeVeque (1979), which keep their digits. NaN are left out.

    Parameters
    ----------
    what : str or callable
        Numbers or arrays; of one shape in all frames, unless they are pooled.
    pooled : bool
        Take all elements of all frames for values of one quantity.
    ddof : int
        The variance is the sum of squared deviations over ``n - ddof``.

    Returns
    -------
    Reduction
        Its result is a `MeanVariance`.

    Examples
    --------
    >>> gains = mean_and_variance("Gains", ddof=1)
    >>> first, second = (gains.extract({"Gains": [x, 7.0]}) for x in (1.0, 3.0))
    >>> print(*gains.finalize(gains.combine(first, second)))
    [2 2] [2. 7.] [2. 0.]
    """

    def moments(value: Any) -> _Moments:
        values = as_floats(value)
        return _pooled(values) if pooled else _single(values, ~np.isnan(values))

    return _reduction(f"mean and variance of {name_of(what)}", extractor(what, moments), ddof)


def mean(what: What, *, pooled: bool = False) -> Reduction:
    """The mean over frames, as `mean_and_variance` has it, alone.

    Parameters
    ----------
    what : str or callable
        Numbers or arrays; of one shape in all frames, unless they are pooled.
    pooled : bool
        Take all elements of all frames for values of one quantity.

    Returns
    -------
    Reduction
        Its result is an array of the shape of the values, in their units.
    """
    both = mean_and_variance(what, pooled=pooled)
    return Reduction(
        f"mean of {name_of(what)}",
        both.combine,
        extract=both.extract,
        finalize=lambda state: both.finalize(state).mean,
    )


def map_mean_and_variance(what: What, *, ddof: int = 1) -> Reduction:
    """Mean and variance of each pixel over maps, each map counting the same.

    As `mean_and_variance`; pixels that are 0 or NaN in a map were not observed in it, and are left
    out. Maps that are to be compared have their weights removed.

    Parameters
    ----------
    what : str or callable
        A map of one geometry in all frames, such as ``"T"``.
    ddof : int
        The variance is the sum of squared deviations over ``n - ddof``.

    Returns
    -------
    Reduction
        Its result is a `MeanVariance` of arrays in the shape of the maps.
    """

    def moments(value: Any) -> _Moments:
        values = as_floats(value)
        return _single(values, (values != 0) & ~np.isnan(values))

    return _reduction(f"mean and variance of maps {name_of(what)}", extractor(what, moments), ddof)


def _reduction(name: str, extract: Any, ddof: int) -> Reduction:
    def finalize(state: _Moments) -> MeanVariance:
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = np.where(state.n > ddof, state.squares / (state.n - ddof), np.nan)
        return MeanVariance(state.n, np.where(state.n > 0, state.mean, np.nan), variance)

    return Reduction(name, _merge_moments, extract=extract, finalize=finalize)


def _single(values: Array, counts: Array) -> _Moments:
    """The moments of each element, of which some count."""
    n = np.asarray(counts, np.int64)
    return _Moments(n, np.where(counts, values, 0.0), np.zeros(values.shape))


def _pooled(values: Array) -> _Moments:
    values = values[~np.isnan(values)]
    average = values.mean() if values.size else 0.0
    squares = np.sum((values - average) ** 2)
    return _Moments(np.array(values.size), np.array(average), np.array(squares))


def _merge_moments(a: _Moments, b: _Moments) -> _Moments:
    require_same_shape(a.mean, b.mean)
    n = a.n + b.n
    part = b.n / np.maximum(n, 1)
    apart = b.mean - a.mean
    squares = a.squares + b.squares + apart**2 * a.n * part
    return _Moments(*map(np.asarray, (n, a.mean + apart * part, squares)))


class _Products(NamedTuple):
    n: int
    mean: Array
    products: Array


class Covariance(NamedTuple):
    """The covariance of several quantities.

    Attributes
    ----------
    n : int
        How many samples of all of them there were.
    mean : array, shape (quantities,)
    products : array, shape (quantities, quantities)
        Sums over samples of the products of deviations from the means.
    covariance : array, shape (quantities, quantities)
        ``products / (n - ddof)``, in the units of one times those of the other; NaN if there are
        too few.
    """

    n: int
    mean: Array
    products: Array
    covariance: Array


def covariance(what: Sequence[str] | Callable[[Frame], Any], *, ddof: int = 1) -> Reduction:
    """The covariance between keys (bands, detectors, ...), over all samples of all frames.

    With the cross products C_ij = sum of (x_i - m_i)(x_j - m_j), two sets are merged as by Chan,
    Golub & LeVeque (1979), here between quantities: C = C_a + C_b + d d^T n_a n_b / n, with
    d = m_b - m_a.

    Parameters
    ----------
    what : sequence of str or callable
        Keys of a frame, or a function of it that returns a sequence of arrays, or None. They have
        the same shape, of which each element is one sample of all of them. Samples with a NaN in
        any are left out. Frames that lack one of the keys take no part.
    ddof : int
        The covariance is the products over ``n - ddof``.

    Returns
    -------
    Reduction
        Its result is a `Covariance`, in the order of `what`.

    Examples
    --------
    >>> bands = covariance(["95GHz", "150GHz"])
    >>> state = bands.extract({"95GHz": [1.0, 2.0, 3.0], "150GHz": [2.0, 4.0, 6.0]})
    >>> bands.finalize(state).covariance
    array([[1., 2.],
           [2., 4.]])
    """
    takes = None if callable(what) else [taker(name) for name in what]

    def extract(frame: Frame) -> _Products | None:
        values = what(frame) if callable(what) else [take(frame) for take in takes or ()]
        if values is None or any(value is None for value in values):
            return None
        arrays = [as_floats(value).reshape(-1) for value in values]
        for array in arrays:
            require_same_shape(arrays[0], array)
        samples = np.array(arrays)
        samples = samples[:, ~np.isnan(samples).any(axis=0)]
        n = samples.shape[1]
        average = samples.mean(axis=1) if n else np.zeros(len(samples))
        deviations = samples - average[:, None]
        return _Products(n, average, deviations @ deviations.T)

    def finalize(state: _Products) -> Covariance:
        enough = state.n > ddof
        scaled = state.products / (state.n - ddof) if enough else state.products * np.nan
        return Covariance(state.n, state.mean, state.products, scaled)

    name = getattr(what, "__name__", "function") if callable(what) else ", ".join(what)
    return Reduction(f"covariance of {name}", _merge_products, extract=extract, finalize=finalize)


def _merge_products(a: _Products, b: _Products) -> _Products:
    require_same_shape(a.mean, b.mean)
    n = a.n + b.n
    part = b.n / max(n, 1)
    apart = b.mean - a.mean
    products = a.products + b.products + np.outer(apart, apart) * (a.n * part)
    return _Products(n, a.mean + apart * part, products)


class _Scatter(NamedTuple):
    n: Array
    weight: Array
    mean: Array
    squares: Array


class ChiSquare(NamedTuple):
    """The scatter of a set of maps, in units of its noise.

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

    def extract(frame: Frame) -> _Scatter | None:
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

    return Reduction(
        f"chi-square of {name_of(what)}", _merge_scatter, extract=extract, finalize=finalize
    )


def _merge_scatter(a: _Scatter, b: _Scatter) -> _Scatter:
    require_same_shape(a.mean, b.mean)
    weight = a.weight + b.weight
    part = np.divide(b.weight, weight, out=np.zeros(weight.shape), where=weight > 0)
    apart = b.mean - a.mean
    squares = a.squares + b.squares + apart**2 * a.weight * part
    return _Scatter(*map(np.asarray, (a.n + b.n, weight, a.mean + apart * part, squares)))
