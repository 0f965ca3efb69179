"""States of reductions, merged in any order, and what they should come to."""

import copy
import functools

import numpy as np
from hypothesis import strategies as st

SHAPE = (3,)
# Far from 0 beside their spread: the textbook variance would have no digit right.
VALUES = st.floats(-1, 1).map(lambda x: 1e7 + x) | st.floats(-100, 100) | st.just(np.nan)


def arrays(elements):
    return st.lists(elements, min_size=SHAPE[0], max_size=SHAPE[0]).map(np.array)


def frames(elements):
    one = st.fixed_dictionaries({"x": arrays(elements), "y": arrays(elements)})
    return st.lists(one | st.just({}), min_size=1, max_size=12)


def states_of(reduction, found):
    extracted = map(reduction.extract, found)
    return [copy.deepcopy(state) for state in extracted if state is not None]


def merged(reduction, found, order):
    """The result of merging neighbours in any order; None if there is nothing."""
    states = states_of(reduction, found)
    for where in order:
        if len(states) > 1:
            i = int(where * (len(states) - 1))
            states[i : i + 2] = [reduction.combine(states[i], states[i + 1])]
    return reduction.finalize(states[0]) if states else None


def serial(reduction, found):
    states = states_of(reduction, found)
    return reduction.finalize(functools.reduce(reduction.combine, states)) if states else None


def leaves(result):
    if result is None:
        return []
    if isinstance(result, dict):
        return [leaf for key in result for leaf in leaves(result[key])]
    if isinstance(result, tuple):
        return [leaf for item in result for leaf in leaves(item)]
    return [np.asarray(result)]


def same(a, b, **close):
    assert len(leaves(a)) == len(leaves(b))
    for one, other in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(one, other, **(close or {"rtol": 0}))


def whole(found, key="x"):
    """All values, or nothing."""
    values = [frame[key] for frame in found if key in frame]
    return np.array(values) if values else None


def periodogram(segment, hertz):
    """By the definition of the transform, without any FFT."""
    n = len(segment)
    window = np.sin(np.pi * np.arange(n) / n) ** 2
    x = (segment - segment.mean()) * window
    k = np.arange(n // 2 + 1)
    transform = np.exp(-2j * np.pi * np.outer(k, np.arange(n)) / n) @ x
    one_sided = np.where((k == 0) | (2 * k == n), 1, 2)
    return one_sided * np.abs(transform) ** 2 / (hertz * np.sum(window**2))
