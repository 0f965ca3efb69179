"""Histograms with fixed bins."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays.reduction import Reduction
from ..errors import UsageError
from .taking import What, as_array, extractor, name_of


class Histogram(NamedTuple):
    """Numbers of values in bins.

    Attributes
    ----------
    edges : array, shape (bins + 1,)
        In the units of the values.
    counts : int64 array, shape (bins,)
        Values v with ``edges[i] <= v < edges[i + 1]``; the last bin has its upper edge, too.
    under, over : int
        Values below the first edge and above the last one.
    nan : int
        Values that are not a number.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    under: int
    over: int
    nan: int


def histogram(what: What, edges: ArrayLike) -> Reduction:
    """How many values fall into each bin, of all elements of all frames.

    The bins are those of `numpy.histogram`; what falls outside of them is counted as well, so that
    nothing is lost.

    Parameters
    ----------
    what : str or callable
        Numbers or arrays of any shape.
    edges : array_like
        Of the bins, rising, in the units of the values.

    Returns
    -------
    Reduction
        Its result is a `Histogram`.

    Examples
    --------
    >>> histogram("Elevation", edges=[0, 30, 60, 90]).extract({"Elevation": [10, 29, 90, 99]})
    array([0, 2, 0, 1, 1, 0])
    """
    bounds = np.array(edges, np.float64)
    if bounds.ndim != 1 or len(bounds) < 2 or not np.all(np.diff(bounds) > 0):
        raise UsageError(f"edges is {edges!r}; expected two numbers or more, each above the last.")
    last = len(bounds) + 1

    def counts(value: Any) -> Any:
        values = as_array(value).reshape(-1)
        nan = np.isnan(values)
        values = values[~nan]
        bins = np.searchsorted(bounds, values, side="right")
        bins[values == bounds[-1]] -= 1
        return np.append(np.bincount(bins, minlength=last), nan.sum())

    def finalize(state: Any) -> Histogram:
        under, *_, over, nan = state.tolist()
        return Histogram(bounds, state[1:-2], under, over, nan)

    return Reduction(
        f"histogram of {name_of(what)}",
        identity=np.zeros(last + 1, np.int64),
        extract=extractor(what, counts),
        finalize=finalize,
        operation="SUM",
    )
