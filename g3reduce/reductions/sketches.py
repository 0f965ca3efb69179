"""Quantiles of more values than fit in memory, by a mergeable sketch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.reduction import Reduction
from ..errors import UsageError
from .taking import What, as_floats, extractor, name_of


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
    FOCS) in the implementation of Apache DataSketches (``pip install 'g3reduce[sketch]'``). A
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
            "quantiles needs the package datasketches: pip install 'g3reduce[sketch]'."
        ) from error
    return datasketches
