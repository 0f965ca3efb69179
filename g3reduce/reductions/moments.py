"""Means and variances, merged so that they do not lose digits.

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

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.reduction import Reduction
from .taking import What, as_floats, extractor, name_of, require_same_shape

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

    return Reduction(name, _merge, extract=extract, finalize=finalize)


def _single(values: Array, counts: Array) -> _Moments:
    """The moments of each element, of which some count."""
    n = np.asarray(counts, np.int64)
    return _Moments(n, np.where(counts, values, 0.0), np.zeros(values.shape))


def _pooled(values: Array) -> _Moments:
    values = values[~np.isnan(values)]
    average = values.mean() if values.size else 0.0
    squares = np.sum((values - average) ** 2)
    return _Moments(np.array(values.size), np.array(average), np.array(squares))


def _merge(a: _Moments, b: _Moments) -> _Moments:
    require_same_shape(a.mean, b.mean)
    n = a.n + b.n
    part = b.n / np.maximum(n, 1)
    apart = b.mean - a.mean
    squares = a.squares + b.squares + apart**2 * a.n * part
    return _Moments(*map(np.asarray, (n, a.mean + apart * part, squares)))
