"""Dropped samples, as spt3g marks them in a map of timestreams.

SO's G3SuperTimestream keeps a time for each sample. spt3g reads one into a `G3TimestreamMap` of
even steps: where samples are missing it puts NaN, or, into integers, 0 and beside the detectors a
timestream that is 1 there. That is the only entry of such a map that is no detector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# The name that spt3g gives it.
NANMASK = "_nanmask"


def detectors_of(samples: Any) -> tuple[str, ...]:
    """The detectors of a `G3TimestreamMap`, in its order."""
    return tuple(name for name in samples if name != NANMASK)


def dropped_of_all(samples: Any) -> NDArray[np.bool_] | None:
    """Which samples the mask of a `G3TimestreamMap` says did not come; None without one."""
    return np.asarray(samples[NANMASK]) != 0 if NANMASK in samples else None


def samples_of(samples: Any) -> NDArray[Any]:
    """The samples of all detectors of a `G3TimestreamMap`: shape (n_detectors, n_samples).

    That is the map's own array, unless it has a mask of dropped samples: then they are floats, and
    NaN where a sample was dropped.
    """
    dropped = dropped_of_all(samples)
    if dropped is None:
        return np.asarray(samples)
    found = np.array([np.asarray(samples[name]) for name in detectors_of(samples)], np.float64)
    found = found.reshape(-1, len(dropped))
    found[:, dropped] = np.nan
    return found
