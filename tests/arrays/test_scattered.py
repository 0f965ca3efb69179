"""Runs of values in bytes, added to planes: plain and exact sums, by numpy and by numba."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g3reduce.arrays.arithmetic import Plain
from g3reduce.arrays.blocks import Blocks
from g3reduce.arrays.exactarithmetic import Exact
from g3reduce.arrays.exactness import Exactness
from g3reduce.arrays.scattered import Places, Scattered
from g3reduce.kernels import choice as kernels

pytestmark = pytest.mark.usefixtures("each_kernels")

LENGTH = 40  # numbers of a plane
any_float = st.floats(width=64) | st.sampled_from([-0.0, math.nan, math.inf, -math.inf, 5e-324])


@st.composite
def scattered(draw, floats):
    """Runs in bytes with headers of any size before each, and what they are, by themselves.

    The runs before `first` and from `last` on are not there, and their positions are nonsense.
    """
    step = draw(st.sampled_from([1, 1, 1, 3]))
    size = LENGTH // step
    cuts = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=8, unique=True)))
    stretches = [
        (begin * step, draw(st.lists(floats, min_size=0, max_size=end - begin)))
        for begin, end in itertools.pairwise(cuts)
    ]
    draw(st.randoms()).shuffle(stretches)
    raw, offsets, base = b"", [], draw(st.integers(0, 50))
    for _, values in stretches:
        raw += b"\xff" * draw(st.integers(0, 13))
        offsets.append(base + len(raw))
        raw += np.array(values).tobytes()
    around = draw(st.integers(0, 2))
    nonsense = [10**9] * around
    runs = Scattered(
        np.frombuffer(raw, np.uint8),
        lambda: np.array([x for _, values in stretches for x in values]),
        kernels.loops(),
        Places(
            np.array([*nonsense, *offsets, *nonsense], np.int64),
            np.array([*nonsense, *(begin for begin, _ in stretches), *nonsense], np.int64),
            np.array([*nonsense, *(len(values) for _, values in stretches), *nonsense], np.int64),
            around,
            around + len(stretches),
            base,
            step,
        ),
    )
    return runs, stretches


def planes(arithmetic):
    blocks = Blocks(1, LENGTH, {})
    blocks.insert(np.array([0]))
    arithmetic.begin(blocks, "T")
    return blocks


@given(scattered(any_float), st.lists(any_float, min_size=LENGTH, max_size=LENGTH), st.booleans())
def test_each_value_is_added_where_it_belongs(case, before, subtract):
    runs, stretches = case
    blocks = planes(Plain())
    blocks.planes["T"][0] = before
    expected = np.array(before)
    with np.errstate(invalid="ignore", over="ignore"):
        Plain().add_runs(blocks, "T", runs, subtract=subtract, where="here")
        for begin, values in stretches:
            for number, value in enumerate(values):
                position = begin + runs.places.step * number
                expected[position] = (np.subtract if subtract else np.add)(
                    expected[position], np.float64(value)
                )
    np.testing.assert_array_equal(blocks.planes["T"][0], expected)
    zero = expected == 0
    assert (np.signbit(blocks.planes["T"][0]) == np.signbit(expected))[zero].all()


@given(
    st.lists(st.tuples(scattered(st.floats(-1e9, 1e9)), st.booleans()), min_size=1, max_size=4),
    st.sampled_from([{}, {"T": 1e9}]),
)
def test_exact_sums_are_those_of_rational_numbers(cases, bounds):
    arithmetic = Exact(Exactness(bounds), {})
    blocks = planes(arithmetic)
    expected = [Fraction(0)] * LENGTH
    for (runs, stretches), subtract in cases:
        arithmetic.add_runs(blocks, "T", runs, subtract=subtract, where="here")
        for begin, values in stretches:
            for number, value in enumerate(values):
                sign = -1 if subtract else 1
                expected[begin + runs.places.step * number] += sign * Fraction(value)
    found = arithmetic.to_numbers(blocks.planes, "T")[0]
    # A value of 1e-300 beside one of 1e9 is less than half a unit of what three limbs hold.
    assert all(
        abs(Fraction(x) - y) <= max(Fraction(math.ulp(x)), Fraction(2) ** -52)
        for x, y in zip(found.tolist(), expected, strict=True)
    )


@given(scattered(any_float), st.booleans())
def test_exact_sums_of_values_that_are_not_finite_are_those_of_floats(case, subtract):
    runs, stretches = case
    arithmetic = Exact(Exactness(), {})
    blocks = planes(arithmetic)
    arithmetic.add_runs(blocks, "T", runs, subtract=subtract, where="here")
    found = arithmetic.to_numbers(blocks.planes, "T")[0]
    for begin, values in stretches:
        for number, value in enumerate(values):
            if not math.isfinite(value):
                expected = -value if subtract else value
                np.testing.assert_equal(found[begin + runs.places.step * number], expected)
