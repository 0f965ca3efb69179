"""Planes as whole numbers, small enough for a page that holds their values."""

from __future__ import annotations

import base64
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .views import FloatArray

UNOBSERVED = -32768
"""Stands for pixels without a value."""

STEPS_PER_SIGMA = 32  # values are exact to 3 % of their scatter: noise takes a byte a pixel
_MOST = 32_000  # steps to either side: what an int16 holds
_EVEN = 16_000  # of these are even, if some values are further away


class PlaneValues(NamedTuple):
    """A plane as a page holds it: value = offset + step * number, or far away ever larger steps.

    Attributes
    ----------
    data : str
        Base64 of the deflated numbers (int16): the low bytes of all pixels, row by row from the
        bottom, then the high bytes. Most high bytes are alike and take no room.
    step, offset : float
    far : float
        0, or how steps grow: from number 16,000 on, ``16000 * exp(far * (number - 16000))`` stands
        in place of the number, and the same below -16,000.
    low, high : float
        Where the colour scale ends.
    """

    data: str
    step: float
    offset: float
    far: float
    low: float
    high: float


def packed(values: FloatArray, low: float, high: float) -> PlaneValues:
    """Round a plane to whole steps and pack it.

    Parameters
    ----------
    values : ndarray of float64, shape (y, x)
        NaN where nothing was observed.
    low, high : float
        Where the colour scale ends.

    Notes
    -----
    Steps are a 32nd of the scatter (by the median of absolute deviations). Where values reach
    further than 1000 times the scatter, as at noisy edges, steps grow from 500 times on, so that
    these are exact to a part of themselves.
    """
    seen = np.isfinite(values)
    found = values[seen]
    if not found.size:
        nothing = np.full(values.shape, UNOBSERVED)
        return PlaneValues(_packed_numbers(nothing), 1.0, 0.0, 0.0, low, high)
    offset = float(np.median(found))
    step = 1.4826 * float(np.median(np.abs(found - offset))) / STEPS_PER_SIGMA
    if not step:  # most values are alike
        step = float(np.abs(found - offset).max()) / _MOST or 1.0
    if np.all(found == np.round(found)):  # numbers of hits stay whole numbers
        step, offset = float(max(1, round(step))), float(round(offset))
    steps = (found - offset) / step
    far, furthest = 0.0, float(np.abs(steps).max())
    if furthest > _MOST:
        far = float(np.log(furthest / _EVEN)) / (_MOST - _EVEN)
        beyond = np.abs(steps) > _EVEN
        away = _EVEN + np.log(np.abs(steps[beyond]) / _EVEN) / far
        steps[beyond] = np.sign(steps[beyond]) * away
    numbers = np.full(values.shape, UNOBSERVED)
    numbers[seen] = np.round(steps)
    return PlaneValues(_packed_numbers(numbers), step, offset, far, low, high)


def _packed_numbers(numbers: NDArray[Any]) -> str:
    pairs = numbers.astype("<i2").ravel().view(np.uint8).reshape(-1, 2)
    return deflated(pairs.T.tobytes())


def deflated(content: bytes) -> str:
    """Bytes as a page can hold them, in little room."""
    return as_text(zlib.compress(content, 6))


def as_text(content: bytes) -> str:
    """Bytes as a page can hold them."""
    return base64.b64encode(content).decode("ascii")
