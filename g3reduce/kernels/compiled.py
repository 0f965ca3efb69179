"""Inner loops, compiled by numba. To import this file compiles them.

They give the bits of what numpy does in `g3reduce.arrays.exact`, and so must not be compiled with
``fastmath``; `add_signed` alone rounds in its own way. What is compiled is kept in files.
"""

from __future__ import annotations

import numpy as np
from numba import boolean, float64, int64, njit, types, uint8, void
from numpy.typing import NDArray

from .keeping import loop
from .signed import GROUP as GROUP
from .signed import add_signed as add_signed

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


@loop(boolean(_LIMB, _LIMB, _LIMB, int64, float64, float64[::1]))
def nearest(
    high: NDArray[np.int64],
    middle: NDArray[np.int64],
    low: NDArray[np.int64],
    n_limbs: int,
    scale: float,
    values: NDArray[np.float64],
) -> bool:
    """Round the sums of two or three limbs; `low` is the last. False if some are too large.

    This is `g3reduce.arrays.exact._nearest_of_few`, which says why it is right.
    """
    unit, digit = 2.0**42, np.int64(2**42 - 1)
    for i in range(high.size):
        carry = low[i] >> 42
        if n_limbs == 3:
            carry = (middle[i] + carry) >> 42
        if abs(high[i] + carry) >= 2**53:
            return False
    for i in range(high.size):
        carry = low[i] >> 42
        second = low[i] & digit
        if n_limbs == 3:
            second = middle[i] + carry
            carry = second >> 42
            second &= digit
        first = np.float64(high[i] + carry) * unit
        value = first + np.float64(second)
        if n_limbs == 3:
            left = (np.float64(second) - (value - first)) * unit
            lowest = np.float64(low[i] & digit)
            rest = left + lowest
            lost = lowest - (rest - left)
            if lost != 0:
                bits = np.float64(rest).view(np.int64)
                if bits & 1 == 0:
                    bits += 1 if (lost > 0) == (rest > 0) else -1
                    rest = np.int64(bits).view(np.float64)
            value = value * unit + rest
        values[i] = value * scale
    return True


# Runs of values in bytes: the bytes, where each run begins in them, where it belongs in a plane,
# how many values it has; which of the runs are to be taken, and the offset of the first byte.
_RUNS = (types.Array(uint8, 1, "C", readonly=True, aligned=False), *[int64[::1]] * 3, *[int64] * 3)


@loop(void(float64[::1], *_RUNS, int64, boolean))
def add_runs(
    plane: NDArray[np.float64],
    raw: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    first: int,
    last: int,
    base: int,
    step: int,
    subtract: bool,
) -> None:
    """Add values to a plane, or subtract them: a value to each `step`-th number."""
    for run in range(first, last):
        n, begin, position = lengths[run], offsets[run] - base, positions[run]
        values = raw[begin : begin + 8 * n].view(np.float64)
        if step != 1:
            for i in range(n):
                value = values[i]
                plane[position + i * step] += -value if subtract else value
        elif subtract:
            for i in range(n):
                plane[position + i] -= values[i]
        else:
            for i in range(n):
                plane[position + i] += values[i]


@njit
def _sum_of_few(values: NDArray[np.float64], begin: int, n: int) -> float:
    """The sum of up to 128 values, in the order in which numpy adds so many."""
    end = begin + n
    if n < 8:
        total: float = -0.0
        for i in range(begin, end):
            total += values[i]
        return total
    a, b, c, d = values[begin], values[begin + 1], values[begin + 2], values[begin + 3]
    e, f, g, h = values[begin + 4], values[begin + 5], values[begin + 6], values[begin + 7]
    rest = end - n % 8
    for i in range(begin + 8, rest, 8):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(rest, end):
        total += values[i]
    return total


@njit
def _pairwise(
    values: NDArray[np.float64],
    begin: int,
    n: int,
    right: NDArray[np.int64],
    left: NDArray[np.float64],
) -> float:
    """The sum of values as numpy adds them: more than 128 are halved, and so are the halves.

    `right` holds the sizes of right halves that are still to be summed, and `left` the sums of the
    left ones beside them.
    """
    depth, size = 0, n
    while True:
        while size > 128:
            half = size // 2
            half -= half % 8
            right[depth] = size - half
            depth += 1
            size = half
        total: float = _sum_of_few(values, begin, size)
        begin += size
        while depth and right[depth - 1] == 0:
            depth -= 1
            total = left[depth] + total
        if depth == 0:
            return total
        left[depth - 1] = total
        size = right[depth - 1]
        right[depth - 1] = 0


@loop(int64(_RUNS[0], int64[::1], int64, float64[::1]))
def sum_runs(
    raw: NDArray[np.uint8], lengths: NDArray[np.int64], header: int, sums: NDArray[np.float64]
) -> int:
    """Sum each run by itself, as ``np.add.reduceat`` does, and count the values that are not 0.

    Runs lie one after the other, each behind a header of so many bytes. The sum of a run without
    values is 0.
    """
    right, left = np.empty(64, np.int64), np.empty(64)
    begin, hit = 0, 0
    for run in range(lengths.size):
        begin += header
        n = lengths[run]
        values = raw[begin : begin + 8 * n].view(np.float64)
        begin += 8 * n
        sums[run] = 0.0
        if n > 0:
            sums[run] = values[0] + _pairwise(values, 1, n - 1, right, left)
        for i in range(n):
            hit += values[i] != 0
    return hit


@loop(float64(*_RUNS))
def largest_of_runs(
    raw: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    first: int,
    last: int,
    base: int,
) -> float:
    """As `largest`, of the values of runs."""
    highest = np.uint64(0)
    for run in range(first, last):
        begin = offsets[run] - base
        bits = raw[begin : begin + 8 * lengths[run]].view(np.uint64)
        for i in range(bits.size):
            highest = max(highest, bits[i] & _NO_SIGN)
    absolute: float = np.uint64(highest).view(np.float64)
    return absolute


@loop(void(_LIMB, _LIMB, _LIMB, *_RUNS, int64, float64, float64[::1]))
def deposit_runs(
    high: NDArray[np.int64],
    middle: NDArray[np.int64],
    low: NDArray[np.int64],
    raw: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    first: int,
    last: int,
    base: int,
    step: int,
    scale: float,
    lifts: NDArray[np.float64],
) -> None:
    """Add the values of runs, times `scale`, to limbs: of two lifts, not to `low`."""
    for run in range(first, last):
        begin, position = offsets[run] - base, positions[run]
        values = raw[begin : begin + 8 * lengths[run]].view(np.float64)
        if lifts.size == 2:
            for i in range(values.size):
                left = _take(high, position + i * step, values[i] * scale, lifts[0])
                _take(middle, position + i * step, left, lifts[1])
        else:
            for i in range(values.size):
                left = _take(high, position + i * step, values[i] * scale, lifts[0])
                left = _take(middle, position + i * step, left, lifts[1])
                _take(low, position + i * step, left, lifts[2])


# Parts of lines: how many the lines before each have; where each begins on its line, how many
# values it has, and where they begin in a plane.
_PARTS = (int64[::1],) * 4


@njit
def _zeros_before(plane: NDArray[np.float64], begin: int, end: int) -> int:
    """How many numbers from `begin` on are 0, up to `end`: eight at a time, then one by one."""
    i = begin
    while i + 8 <= end:
        bits = np.uint64(0)
        for j in range(8):
            bits |= np.float64(plane[i + j]).view(np.uint64) & _NO_SIGN
        if bits:
            break
        i += 8
    while i < end and plane[i] == 0:
        i += 1
    return i - begin


@njit
def _zeros_behind(plane: NDArray[np.float64], begin: int, end: int) -> int:
    """How many numbers up to `end` are 0, counted backwards."""
    i = end
    while i - 8 >= begin:
        bits = np.uint64(0)
        for j in range(8):
            bits |= np.float64(plane[i - 8 + j]).view(np.uint64) & _NO_SIGN
        if bits:
            break
        i -= 8
    while i > begin and plane[i - 1] == 0:
        i -= 1
    return end - i


@loop(void(_VALUES, *_PARTS, int64[::1], int64[::1]))
def trim(
    plane: NDArray[np.float64],
    of_line: NDArray[np.int64],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    begins: NDArray[np.int64],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
) -> None:
    """Find on each line where what is not 0 starts and stops; both stay 0 if there is nothing."""
    for line in range(of_line.size - 1):
        first, last = of_line[line], of_line[line + 1]
        for part in range(first, last):
            zeros = _zeros_before(plane, begins[part], begins[part] + lengths[part])
            if zeros < lengths[part]:
                starts[line] = positions[part] + zeros
                break
        for part in range(last - 1, first - 1, -1):
            zeros = _zeros_behind(plane, begins[part], begins[part] + lengths[part])
            if zeros < lengths[part]:
                stops[line] = positions[part] + lengths[part] - zeros
                break


@loop(
    void(
        types.Array(uint8, 1, "C", aligned=False),
        types.Array(uint8, 2, "C", readonly=True),
        *[int64[::1]] * 2,
        *[int64] * 3,
        _VALUES,
        *_PARTS,
    )
)
def pack_runs(
    raw: NDArray[np.uint8],
    headers: NDArray[np.uint8],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    first: int,
    last: int,
    shift: int,
    plane: NDArray[np.float64],
    of_line: NDArray[np.int64],
    positions: NDArray[np.int64],
    lengths: NDArray[np.int64],
    begins: NDArray[np.int64],
) -> None:
    """Put runs into bytes, each behind its header; what the plane does not hold is 0.

    Run i starts at ``starts[i]`` on line ``i + shift``, and has ``counts[i]`` values. The plane
    holds the last one.
    """
    at = 0
    for run in range(first, last):
        raw[at : at + headers.shape[1]] = headers[run]
        at += headers.shape[1]
        values = raw[at : at + 8 * counts[run]].view(np.float64)
        at += 8 * counts[run]
        done = 0
        for part in range(of_line[run + shift], of_line[run + shift + 1]):
            ahead = positions[part] - starts[run]
            begin, end = max(ahead, 0), min(ahead + lengths[part], counts[run])
            if begin >= end:
                continue
            values[done:begin] = 0.0
            for i in range(begin, end):
                values[i] = plane[begins[part] - ahead + i]
            done = end
