"""Sums of floats that do not depend on the order: integers on a grid.

The method is that of reproducible summation with a fixed grid of bins: J. Demmel and H. D. Nguyen,
"Fast reproducible floating-point summation" (ARITH 2013) and "Parallel reproducible summation"
(IEEE Trans. Comput. 64, 2015); P. Ahrens, J. Demmel and H. D. Nguyen, "Algorithms for efficient
reproducible floating point summation" (ACM TOMS 46, 2020). Here bins are integers of their own, as
wide as they can be, so that sums of sums are plain integer sums.

A grid has a top T: it takes values of ``|x| < 2**(T - 1)``. Limb k counts multiples of the quantum
``2**(T - 42 * (k + 1))``. A value is cut into one integer of at most ``2**41`` for each limb; what
is left after the last limb, at most half its quantum, is dropped. So 2**21 values cannot overflow
an int64, and what the limbs hold is the same in whatever order values, or sums of values, came.

A value that does not fit raises the top by a multiple of 42: limbs move down, the lowest is
dropped. What it counted is what the same values would have lost on the higher grid, so raising
commutes with adding.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..kernels import choice as kernels
from ..limits import LIMITS

Values: TypeAlias = NDArray[np.float64]
Limb: TypeAlias = NDArray[np.int64]

# Bits between the limbs.
WIDTH = 42

# Below this top, the quantum of a third limb would be less than the smallest float.
LOWEST = -924

# Values that can be summed: the slices of one more might not fit into the limbs, or the counters.
# It is no limit that may be set: sums of more values could be wrong.
MOST_ADDENDS = 2**21 - 1

# From this top on, the constants that cut a value would be infinite.
_HIGHEST = 1008
_DOWN = 2 * WIDTH

# Each of these counts up to `MOST_ADDENDS`, in 21 bits of one integer.
_NAN, _PLUS, _MINUS = 1, 1 << 21, 1 << 42
_COUNTER = (1 << 21) - 1

# The bits of a float64 that a float32 has not.
_BEYOND_SINGLE = 2**29 - 1

# Integers that floats hold.
_EXACT = 2**53

# Bits of the integer that is rounded to a float: more than the 55 that make it right, less than 63.
_KEPT = 62


def top_for(bound: float, like: int = 0) -> int:
    """The top of the lowest grid that takes values up to a bound.

    Parameters
    ----------
    bound : float
        Positive or 0, and finite.
    like : int
        Tops differ from this one by a multiple of 42: sums can only be joined on such grids.
    """
    needed = math.frexp(bound)[1] + 1 if bound else LOWEST
    return max(_raised(needed, like), _raised(LOWEST, like))


def fits(bound: float, top: int) -> bool:
    """Whether values up to a finite bound are taken by the grid with this top."""
    return not bound or math.frexp(bound)[1] < top


def largest(values: Values) -> float:
    """The largest absolute value; NaN if any value is NaN."""
    if not len(values):
        return 0.0
    if loops := kernels.loops():
        return float(loops.largest(np.ascontiguousarray(values)))
    high, low = float(values.max()), float(values.min())
    return math.nan if math.isnan(high) else max(high, -low)


def deposit(limbs: Sequence[Limb], values: Values, top: int, *, subtract: bool = False) -> None:
    """Add values to limbs, in place.

    Parameters
    ----------
    limbs : sequence of two or three contiguous int64 arrays
        The highest first.
    values : float64 array of the same shape (n,)
        All finite, and such that they fit.
    top : int
    subtract : bool
        Subtract them instead.
    """
    if loops := kernels.loops(len(values)):
        add = loops.deposit_two if len(limbs) == 2 else loops.deposit_three
        add(*limbs, np.ascontiguousarray(values), *lifts(top, len(limbs), subtract=subtract))
        return
    combine = np.subtract if subtract else np.add
    block = LIMITS.step // 8
    for start in range(0, len(values), block):
        place = slice(start, start + block)
        for limb, part in zip(limbs, _cut(values[place], top, len(limbs)), strict=True):
            stretch = limb[place]
            combine(stretch, part, stretch)


def lifts(top: int, n_limbs: int, *, subtract: bool) -> tuple[float, NDArray[np.float64]]:
    """What compiled loops multiply values with, and then lift them with to each limb."""
    scale, constants = _lifts(top, n_limbs)
    return -scale if subtract else scale, constants


def split(values: Values, top: int, n_limbs: int) -> list[Limb]:
    """The integers that values add to each limb; see `deposit`."""
    limbs = [np.zeros(len(values), np.int64) for _ in range(n_limbs)]
    deposit(limbs, values, top)
    return limbs


def raised(limbs: Sequence[Limb], steps: int) -> list[Limb]:
    """The limbs on a grid whose top is higher by so many times 42. Those given are used up."""
    steps = min(steps, len(limbs))
    kept, dropped = limbs[: len(limbs) - steps], limbs[len(limbs) - steps :]
    for limb in dropped:  # their memory is that of the new ones
        limb[...] = 0
    return [*dropped, *kept]


def to_floats(
    limbs: Sequence[Limb],
    top: int,
    special: Limb | None = None,
    dtype: type[np.floating[Any]] = np.float64,
    *,
    keep: bool = False,
) -> NDArray[Any]:
    """The sums as floats, rounded to nearest, ties to even; zeros are positive.

    Parameters
    ----------
    limbs : sequence of contiguous int64 arrays, shape (n,)
        They are used up, unless they are kept: the floats take the memory of the first.
    top : int
    special : int64 array, optional
        The codes of the values that were not finite; see `specials`.
    dtype : {np.float64, np.float32}
        The kind of the floats, which is that of the values that were summed.
    keep : bool
        Leave the limbs as they are.
    """
    values: NDArray[Any] = np.empty(len(limbs[0]), dtype)
    if not keep:
        values = limbs[0].view(dtype)[: len(limbs[0])]
    block = LIMITS.step // 8
    for start in range(0, len(values), block):
        place = slice(start, start + block)
        values[place] = nearest([limb[place] for limb in limbs], top, dtype)
        if special is not None:
            _put_specials(values[place], special[place])
    return values


def nearest(
    limbs: Sequence[Limb], top: int, dtype: type[np.floating[Any]] = np.float64
) -> NDArray[Any]:
    """The floats nearest to the sums that limbs hold, without a detour by a wider float."""
    if dtype is np.float64 and len(limbs) < 4 and (loops := kernels.loops()):
        found, scale = np.empty(len(limbs[0])), math.ldexp(1.0, top - WIDTH * len(limbs))
        if loops.nearest(limbs[0], limbs[1], limbs[-1], len(limbs), scale, found):
            return found
    digits = _carried(limbs)
    if len(digits) > 3 or np.abs(digits[0]).max(initial=0) >= _EXACT:
        return _nearest_of_any(digits, top, dtype)
    values = _nearest_of_few(digits, top)
    return values if dtype is np.float64 else _rounded_once(values, digits, top)


def specials(values: Values, *, subtract: bool = False) -> Limb:
    """Codes of values that are not finite, 0 for those that are: counters, to be summed."""
    plus, minus = (_MINUS, _PLUS) if subtract else (_PLUS, _MINUS)
    codes = np.zeros(values.shape, np.int64)
    codes[np.isnan(values)] = _NAN
    codes[values == np.inf] = plus
    codes[values == -np.inf] = minus
    return codes


def swapped(codes: Limb) -> Limb:
    """The codes of the same values with the other sign."""
    nan, plus, minus = (codes // unit & _COUNTER for unit in (_NAN, _PLUS, _MINUS))
    other: Limb = nan * _NAN + minus * _PLUS + plus * _MINUS
    return other


def _raised(top: int, like: int) -> int:
    """The lowest top from this one on that differs from `like` by a multiple of `WIDTH`."""
    return top + (like - top) % WIDTH


def _cut(values: Values, top: int, n_limbs: int) -> NDArray[np.int64]:
    """The integers that a block adds to each limb, in memory that the next block overwrites."""
    scale, lifts = _lifts(top, n_limbs)
    shifted, left = _scratch(n_limbs, len(values))
    if scale != 1:
        values = np.multiply(values, scale, left)
    for number, lift in enumerate(lifts):
        # The sum has the quantum as its last bit, so the multiple is in its mantissa.
        np.add(values, lift, shifted[number])
        if number + 1 < n_limbs:
            taken = np.subtract(shifted[number], lift, shifted[number + 1])
            values = np.subtract(values, taken, left)  # exact
    whole = shifted.view(np.int64)
    whole -= lifts.view(np.int64)[:, np.newaxis]
    return whole


def _scratch(n_limbs: int, n: int) -> tuple[NDArray[np.float64], Values]:
    raw = buffer("exact", LIMITS.step * (n_limbs + 1))[: 8 * n * (n_limbs + 1)]
    rows = raw.view(np.float64).reshape(n_limbs + 1, n)
    return rows[:-1], rows[-1]


@functools.lru_cache(maxsize=256)
def _lifts(top: int, n_limbs: int) -> tuple[float, NDArray[np.float64]]:
    """The factor by which values are scaled, and the constants that then lift them to each limb."""
    scale = 1.0
    if top > _HIGHEST:  # exact, but for values far below the quantum
        scale, top = 2.0**-_DOWN, top - _DOWN
    lifts = [math.ldexp(1.5, 52 + top - WIDTH * (k + 1)) for k in range(n_limbs)]
    return scale, np.array(lifts)


def _nearest_of_few(digits: Sequence[Limb], top: int) -> Values:
    """As `nearest`, of two or three digits, all of which floats can hold.

    A sum of two floats is rounded once. Of three, the two lower ones are added first, rounded to
    odd, which does not spoil the rounding of the last sum (S. Boldo and G. Melquiond, IEEE Trans.
    Comput. 57, 2008).
    """
    unit = 2.0**WIDTH
    high, low = digits[0] * unit, digits[1].astype(np.float64)
    values: Values = high + low
    if len(digits) == 3:
        left, lowest = (low - (values - high)) * unit, digits[2].astype(np.float64)
        low = left + lowest
        lost = lowest - (low - left)
        if lost.any():
            bits = low.view(np.int64)
            even = (lost != 0) & (bits & 1 == 0)
            bits[even] += np.where((lost > 0) == (low > 0), 1, -1)[even]
        values = values * unit + low
    with np.errstate(over="ignore"):  # a sum may be too large for a float
        return values * math.ldexp(1.0, top - WIDTH * len(digits))


def _rounded_once(values: Values, digits: Sequence[Limb], top: int) -> NDArray[np.float32]:
    """As float32, of digits and the float64 nearest to them.

    To round twice is wrong only where the first rounding may have led to the middle between two of
    float32. There are no more middles below the smallest normal float32, as sums are multiples of
    the smallest of all.
    """
    with np.errstate(over="ignore"):
        singles: NDArray[np.float32] = values.astype(np.float32)
    middle = values.view(np.int64) & _BEYOND_SINGLE == (_BEYOND_SINGLE + 1) // 2
    if middle.any():
        singles[middle] = _nearest_of_any([digit[middle] for digit in digits], top, np.float32)
    return singles


def _nearest_of_any(
    digits: Sequence[Limb], top: int, dtype: type[np.floating[Any]] = np.float64
) -> NDArray[Any]:
    """As `nearest`, of digits of any size.

    They are put into an integer of 62 bits, whose last bit is set if any of the bits that are left
    out is: rounded to odd. What is less than the smallest normal float of the kind of the values
    is an integer of few bits, and exact.
    """
    negative = digits[0] < 0
    digits = _carried([np.where(negative, -digit, digit) for digit in digits])
    whole, exponent = digits[0], np.full(digits[0].shape, top - WIDTH)
    room = np.clip(_KEPT - _bit_length(whole), 0, WIDTH)
    for digit in digits[1:]:
        left_out = WIDTH - room
        sticky = (digit & ((1 << left_out) - 1)) != 0
        whole = (whole << room) | (digit >> left_out) | sticky
        exponent -= room
        # Once bits were left out, there is no room for those of the next digit.
        room = np.where(left_out > 0, 0, np.clip(_KEPT - _bit_length(whole), 0, WIDTH))
    with np.errstate(over="ignore"):
        values: NDArray[Any] = np.ldexp(whole.astype(dtype), exponent.astype(np.intc))
    np.negative(values, out=values, where=negative)
    return values


def _carried(limbs: Sequence[Limb]) -> list[Limb]:
    """The same sums in digits: limbs that, but for the first, are from 0 to ``2**42 - 1``.

    They are unique for a sum, and the first has its sign.
    """
    digits, carry = [], np.zeros_like(limbs[0])
    for limb in reversed(limbs[1:]):
        limb = limb + carry
        carry = limb >> WIDTH
        digits.append(limb & ((1 << WIDTH) - 1))
    return [limbs[0] + carry, *reversed(digits)]


def _bit_length(whole: Limb) -> NDArray[np.int64]:
    """Bits of integers; of those over 2**53 one more, if they are rounded up to it."""
    return np.frexp(whole.astype(np.float64))[1].astype(np.int64)


def _put_specials(values: NDArray[Any], codes: Limb) -> None:
    if not codes.any():
        return
    nan, plus, minus = ((codes // unit) & _COUNTER != 0 for unit in (_NAN, _PLUS, _MINUS))
    values[plus] = np.inf
    values[minus] = -np.inf
    values[nan | (plus & minus)] = np.nan
