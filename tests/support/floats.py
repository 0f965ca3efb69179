"""Floats that are hard to add, and the one that is nearest to a rational number."""

import math

import numpy as np
from hypothesis import strategies as st

TINY, HUGE = 5e-324, np.finfo(float).max

finite = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(1e-300, 1e300),
    st.floats(-1e3, 1e3),
    st.integers(-(2**53), 2**53).map(float),
    st.sampled_from([0.0, -0.0, TINY, -TINY, 2.3e-308, 1e308, -1e308, HUGE, -HUGE, 2.0**41]),
    # Halves of quanta, and so ties, on the grids of numbers around 1.
    st.builds(lambda m, e: math.ldexp(m, e), st.integers(-(2**12), 2**12), st.integers(-140, 60)),
)
special = st.sampled_from([math.nan, math.inf, -math.inf])


def nearest_float(value):
    try:
        return float(value) + 0.0
    except OverflowError:
        return math.inf if value > 0 else -math.inf
