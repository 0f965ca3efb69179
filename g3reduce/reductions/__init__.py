"""Reductions: as data, and those that are ready for use.

Each of the ready ones is a function that returns a `Reduction` for `g3reduce.MPIReducer`. It is
told what to take from a frame: the name of a key, or a function of the frame, which returns None
for a frame that does not take part. Frames without the key do not take part.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..arrays.reduction import SUM, Reduction

if TYPE_CHECKING:
    from .counts import Histogram, count, histogram, maximum, minimum, quantiles, total
    from .moments import (
        ChiSquare,
        Covariance,
        MeanVariance,
        chi_square,
        covariance,
        map_mean_and_variance,
        mean,
        mean_and_variance,
    )
    from .spectra import Spectra, mean_psd

_HOME = {
    "ChiSquare": "moments",
    "Covariance": "moments",
    "Histogram": "counts",
    "MeanVariance": "moments",
    "Spectra": "spectra",
    "chi_square": "moments",
    "count": "counts",
    "covariance": "moments",
    "histogram": "counts",
    "map_mean_and_variance": "moments",
    "maximum": "counts",
    "mean": "moments",
    "mean_and_variance": "moments",
    "mean_psd": "spectra",
    "minimum": "counts",
    "quantiles": "counts",
    "total": "counts",
}

__all__ = [
    "SUM",
    "ChiSquare",
    "Covariance",
    "Histogram",
    "MeanVariance",
    "Reduction",
    "Spectra",
    "chi_square",
    "count",
    "covariance",
    "histogram",
    "map_mean_and_variance",
    "maximum",
    "mean",
    "mean_and_variance",
    "mean_psd",
    "minimum",
    "quantiles",
    "total",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
