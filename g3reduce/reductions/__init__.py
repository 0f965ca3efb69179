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
    from .counts import count, maximum, minimum, total
    from .covariances import Covariance, covariance
    from .histograms import Histogram, histogram
    from .moments import MeanVariance, map_mean_and_variance, mean, mean_and_variance
    from .scatter import ChiSquare, chi_square
    from .sketches import quantiles
    from .spectra import Spectra, mean_psd

_HOME = {
    "ChiSquare": "scatter",
    "Covariance": "covariances",
    "Histogram": "histograms",
    "MeanVariance": "moments",
    "Spectra": "spectra",
    "chi_square": "scatter",
    "count": "counts",
    "covariance": "covariances",
    "histogram": "histograms",
    "map_mean_and_variance": "moments",
    "maximum": "counts",
    "mean": "moments",
    "mean_and_variance": "moments",
    "mean_psd": "spectra",
    "minimum": "counts",
    "quantiles": "sketches",
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
