"""Counts, sums and extremes of elements; histograms and quantiles of all values."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays.reduction import Reduction
from ..errors import UsageError
from ..spt3gtypes import Frame
from .taking import What, as_array, as_floats, extractor, name_of, taker

_NAMES = {"MIN": "minimum", "MAX": "maximum"}


def count(what: What) -> Reduction:
    """The number of frames: N = sum of 1.

    Parameters
    ----------
    what : str or callable
        Frames that have this key, or for which this function does not return None, are counted.

    Returns
    -------
    Reduction
        Its result is an integer.

    Examples
    --------
    >>> count("CalTimestreams").name
    'count of CalTimestreams'
    """
    take = taker(what)

    def extract(frame: Frame) -> Any:
        if isinstance(what, str):  # without decoding it
            return 1 if what in frame else None
        return None if take(frame) is None else 1

    return Reduction(f"count of {name_of(what)}", identity=0, extract=extract, operation="SUM")


def total(what: What) -> Reduction:
    """The sum over frames, element by element: S = sum of x.

    Parameters
    ----------
    what : str or callable
        What is summed: numbers, or arrays, vectors or maps of one shape in all frames.

    Returns
    -------
    Reduction
        Its result is a number or an array, in the shape and the units of the values; of bools
        it is how many are true.
    """

    def summand(value: Any) -> Any:
        array = as_array(value)
        return _plain(array.astype(np.int64) if array.dtype == bool else array)

    extract = extractor(what, summand)
    return Reduction(f"sum of {name_of(what)}", identity=0, extract=extract, operation="SUM")


def minimum(what: What) -> Reduction:
    """The least over frames, element by element. NaN are left out.

    Parameters
    ----------
    what : str or callable
        Numbers, or arrays, vectors or maps of one shape in all frames.

    Returns
    -------
    Reduction
        Its result has the shape and the units of the values; inf where all were NaN.
    """
    return _extreme(what, "MIN", np.inf)


def maximum(what: What) -> Reduction:
    """The greatest over frames, element by element. NaN are left out.

    Parameters
    ----------
    what : str or callable
        Numbers, or arrays, vectors or maps of one shape in all frames.

    Returns
    -------
    Reduction
        Its result has the shape and the units of the values; -inf where all were NaN.
    """
    return _extreme(what, "MAX", -np.inf)


def _extreme(what: What, operation: str, nothing: float) -> Reduction:
    def candidate(value: Any) -> Any:
        array = as_array(value)
        # MPI does not say what the lesser of a number and NaN is.
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), nothing, array)
        return _plain(array)

    name = f"{_NAMES[operation]} of {name_of(what)}"
    return Reduction(name, extract=extractor(what, candidate), operation=operation)


def _plain(array: Any) -> Any:
    return array if array.ndim else array[()]


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
    """The number of values in each bin, of all elements of all frames.

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


class _Sketch:
    """A KLL sketch that can be sent to other ranks."""

    def __init__(self, sketch: Any):
        self.sketch = sketch

    def __getstate__(self) -> bytes:
        serialized: bytes = self.sketch.serialize()
        return serialized

    def __setstate__(self, serialized: bytes) -> None:
        self.sketch = _datasketches().kll_doubles_sketch.deserialize(serialized)


def quantiles(what: What, q: Sequence[float] = (0.16, 0.5, 0.84), *, k: int = 800) -> Reduction:
    """Quantiles of all elements of all frames, from a sketch of a few kilobytes.

    The KLL sketch of Karnin, Lang & Liberty (2016, "Optimal quantile approximation in streams",
    FOCS) in the implementation of Apache DataSketches (``pip install datasketches``). A
    quantile that is asked for as q is the true one of some rank from ``q - e`` to ``q + e``, where
    e is about 2.3 / k^0.9 with a probability of 99 % (0.6 % for the default `k`), whatever the
    values are and however they were spread over ranks. With at most `k` values it is exact. The
    sketch flips coins, so that the last digits differ from run to run. NaN are left out.

    Parameters
    ----------
    what : str or callable
        Numbers or arrays of any shape.
    q : sequence of float
        From 0 (the least value) to 1 (the greatest).
    k : int
        Size of the sketch: the larger, the nearer to the true quantiles. From 8 to 65535.

    Returns
    -------
    Reduction
        Its result is an array of the quantiles, in the units of the values; NaN without any.

    Raises
    ------
    UsageError
        If DataSketches is not installed, or an argument is out of bounds.
    """
    if not q or not all(0 <= number <= 1 for number in q):
        raise UsageError(f"q is {q!r}; expected numbers from 0 to 1.")
    if not 8 <= k <= 65535:
        raise UsageError(f"k is {k!r}; expected 8 to 65535.")
    wanted = [float(number) for number in q]
    kll = _datasketches().kll_doubles_sketch

    def sketch_of(value: Any) -> _Sketch:
        sketch = kll(k)
        sketch.update(np.ascontiguousarray(as_floats(value).reshape(-1)))
        return _Sketch(sketch)

    def combine(a: _Sketch, b: _Sketch) -> _Sketch:
        a.sketch.merge(b.sketch)
        return a

    def finalize(state: _Sketch) -> Any:
        if state.sketch.is_empty():
            return np.full(len(wanted), np.nan)
        return np.array(state.sketch.get_quantiles(wanted))

    return Reduction(
        f"quantiles of {name_of(what)}",
        combine,
        extract=extractor(what, sketch_of),
        finalize=finalize,
        commutes=True,
    )


def _datasketches() -> Any:
    try:
        datasketches = importlib.import_module("datasketches")
    except ImportError as error:
        raise UsageError(
            "quantiles needs the package datasketches: pip install datasketches."
        ) from error
    return datasketches
