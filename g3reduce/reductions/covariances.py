"""Cross products of several quantities, and their covariance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.reduction import Reduction
from .taking import as_floats, require_same_shape, taker

Array = NDArray[Any]


class _Products(NamedTuple):
    n: int
    mean: Array
    products: Array


class Covariance(NamedTuple):
    """How several quantities vary together.

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


def covariance(what: Sequence[str] | Callable[[Any], Any], *, ddof: int = 1) -> Reduction:
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
    >>> bands = covariance(["90GHz", "150GHz"])
    >>> state = bands.extract({"90GHz": [1.0, 2.0, 3.0], "150GHz": [2.0, 4.0, 6.0]})
    >>> bands.finalize(state).covariance
    array([[1., 2.],
           [2., 4.]])
    """
    takes = None if callable(what) else [taker(name) for name in what]

    def extract(frame: Any) -> _Products | None:
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
    return Reduction(f"covariance of {name}", _merge, extract=extract, finalize=finalize)


def _merge(a: _Products, b: _Products) -> _Products:
    require_same_shape(a.mean, b.mean)
    n = a.n + b.n
    part = b.n / max(n, 1)
    apart = b.mean - a.mean
    products = a.products + b.products + np.outer(apart, apart) * (a.n * part)
    return _Products(n, a.mean + apart * part, products)
