"""Inner loops, compiled by numba. To import this file compiles them.

They give the bits of what numpy does in `g3reduce.arrays.exact`, and so must not be compiled with
``fastmath``. What is compiled is kept in files.
"""

from __future__ import annotations

import numpy as np
from numba import float64, int64, njit, types, void
from numpy.typing import NDArray

from .keeping import loop

# Arrays are contiguous. Values may be read-only, and begin anywhere in the bytes of a file.
_VALUES = types.Array(float64, 1, "C", readonly=True, aligned=False)
_LIMB = int64[::1]

_NO_SIGN = np.uint64(2**63 - 1)


@loop(float64(_VALUES))
def largest(values: NDArray[np.float64]) -> float:
    """The largest absolute value; NaN if any value is NaN.

    Without their signs, the bits of floats are in the order of the floats, and NaN comes last.
    Unlike floats, integers can be compared several at a time, whatever their order.
    """
    highest = np.uint64(0)
    bits = values.view(np.uint64)
    for i in range(bits.size):
        highest = max(highest, bits[i] & _NO_SIGN)
    absolute: float = np.uint64(highest).view(np.float64)
    return absolute


@njit
def _take(limb: NDArray[np.int64], i: int, left: float, lift: float) -> float:
    """Add what a limb takes of a value, and return the rest."""
    shifted = left + lift
    limb[i] += np.float64(shifted).view(np.int64) - np.float64(lift).view(np.int64)
    return left - (shifted - lift)


@loop(void(_LIMB, _LIMB, _VALUES, float64, float64[::1]))
def deposit_two(
    high: NDArray[np.int64],
    low: NDArray[np.int64],
    values: NDArray[np.float64],
    scale: float,
    lifts: NDArray[np.float64],
) -> None:
    """Add values, times `scale`, to two limbs."""
    first, second = lifts[0], lifts[1]
    for i in range(values.size):
        left = _take(high, i, values[i] * scale, first)
        _take(low, i, left, second)


@loop(void(_LIMB, _LIMB, _LIMB, _VALUES, float64, float64[::1]))
def deposit_three(
    high: NDArray[np.int64],
    middle: NDArray[np.int64],
    low: NDArray[np.int64],
    values: NDArray[np.float64],
    scale: float,
    lifts: NDArray[np.float64],
) -> None:
    """Add values, times `scale`, to three limbs."""
    first, second, third = lifts[0], lifts[1], lifts[2]
    for i in range(values.size):
        left = _take(high, i, values[i] * scale, first)
        left = _take(middle, i, left, second)
        _take(low, i, left, third)
