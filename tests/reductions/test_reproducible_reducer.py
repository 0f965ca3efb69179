"""MPIReducer with reproducible=True: sums of states that do not depend on the order.

Here ranks are simulated: what each has told and holds is joined in any order.
"""

import itertools
import logging
import math
from fractions import Fraction

import numpy as np
import pytest
import states as oracle
from choices import ALL
from floats import HUGE, TINY, finite, nearest_float, special
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reducing import numbers, reducer_of, result_of, scan
from skies import bits
from states import same

import g3reduce
from g3reduce import Reduction, reductions
from g3reduce.arrays import SUM
from g3reduce.arrays.exactness import Exactness
from g3reduce.reductions import elements, held
from g3reduce.reductions.states import array_leaves, put_together

singles = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.floats(-1, 1, width=32),
    st.builds(math.ldexp, st.integers(-(2**12), 2**12), st.integers(-90, 60)),
    st.sampled_from([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, 2.0**127, -(2.0**127)]),
)


def joined(rules, states, ranks, rng):
    """What simulated ranks have together, each of which has some of the states, in any tree."""
    there = {}
    for state in rng.sample(states, len(states)):
        rank = rng.randrange(ranks)
        if rank in there:
            there[rank].combine(state, "a frame")
        else:
            there[rank] = elements.Elements(rules, state, "a frame")
    common = elements.join_summaries(rules, [mine.summary for mine in there.values()])
    found = {}
    for dtype in next(iter(there.values())).held:
        sums = [mine.held[dtype] for mine in there.values()]
        for one in sums:
            one.align(common.grids.get(dtype))
        sums = [dict(one.blocks.planes) for one in sums]
        while len(sums) > 1:
            rng.shuffle(sums)
            one, other = sums.pop(), sums.pop()
            assert one.keys() == other.keys()
            sums.append({name: one[name] + other[name] for name in one})
        how = rules.arithmetic(dtype, common.grids.get(dtype))
        found[dtype] = how.to_numbers(sums[0], rules.name).reshape(-1)
    arrays, at = [], dict.fromkeys(found, 0)
    for leaf in array_leaves(common.structure):
        begin, at[leaf.dtype] = at[leaf.dtype], at[leaf.dtype] + math.prod(leaf.shape)
        arrays.append(found[leaf.dtype][begin : at[leaf.dtype]].reshape(leaf.shape))
    return put_together(common.structure, arrays), common.grids


def exactly(absmax=None, reduction=SUM):
    return held.ElementwiseRules(reduction, exactness=Exactness.of(True, absmax, ()))


@st.composite
def states(draw, values=finite | special):
    n, several = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    few = st.lists(values, min_size=several, max_size=several)
    return [
        {
            "array": np.array(draw(few)),
            "number": draw(values),
            "complex": np.array([complex(draw(values), draw(values))]),
            "single": np.array(draw(st.lists(singles, min_size=3, max_size=3)), "f4"),
            "pair": np.array(complex(draw(singles), draw(singles)), "c8"),
            "n": [draw(st.integers(0, 2**62)), np.uint8(draw(st.integers(0, 255)))],
        }
        for _ in range(n)
    ]


@settings(max_examples=100 if ALL else 40)
@given(states(), st.integers(1, 5), st.sampled_from([None, 1.0, 1e300]), st.randoms())
def test_the_order_and_the_partition_and_the_tree_do_not_matter(states, ranks, absmax, rng):
    one, grids = joined(exactly(absmax), states, 1, rng)
    other, again = joined(exactly(absmax), states, ranks, rng)
    assert same(one, other)
    assert grids == again
    assert {grid.addends for grid in grids.values()} == {len(states)}
    assert {grid.limbs for grid in grids.values()} == {3 if absmax is None else 2}


@settings(max_examples=100 if ALL else 40)
@given(states(finite), st.integers(1, 5), st.sampled_from([None, 1e3, HUGE]), st.randoms())
def test_the_value_is_the_true_sum_to_half_a_quantum_for_each_addend(states, ranks, absmax, rng):
    found, grids = joined(exactly(absmax), states, ranks, rng)
    addends = [oracle.numbers(state) for state in states]
    for path, value in oracle.numbers(found).items():
        parts = [addend[path] for addend in addends]
        if value.dtype.kind not in "fc":
            assert value == np.add.reduce(parts, dtype=parts[0].dtype)  # they wrap
            continue
        grid = grids[value.dtype]
        allowed = len(states) * Fraction(2) ** (grid.top - 42 * grid.limbs) / 2
        for result, *terms in zip(*(as_reals(array) for array in (value, *parts)), strict=True):
            true = sum(Fraction(float(term)) for term in terms)
            low, high = nearest(true - allowed, result.dtype), nearest(true + allowed, result.dtype)
            assert low <= result <= high
            assert result != 0 or not np.signbit(result)


def as_reals(array):
    array = np.atleast_1d(array).reshape(-1)
    return array.view(f"f{array.itemsize // 2}") if array.dtype.kind == "c" else array


def nearest(true, dtype):
    """A rational number rounded once to a kind of float."""
    if dtype == np.float64:
        return np.float64(nearest_float(true))
    with np.errstate(over="ignore"):
        near = np.float32(nearest_float(true))
    if not np.isfinite(near):
        return near if abs(true) >= 2**128 - 2**103 else np.copysign(np.finfo("f4").max, near)
    with np.errstate(over="ignore"):
        to = [np.nextafter(near, np.float32(side)) for side in (-math.inf, math.inf)]
    three = [near, *(x for x in to if np.isfinite(x))]
    even = lambda x: int(x.view(np.int32)) & 1  # noqa: E731
    return min(three, key=lambda x: (abs(Fraction(float(x)) - true), even(x))) + np.float32(0)


@settings(max_examples=100 if ALL else 40)
@given(st.lists(singles, min_size=1, max_size=8), st.randoms())
@example([1.0, 2.0**-24, 2.0**-60], None)  # the nearest float64 is between two of float32
@example([1.0, 2.0**-24, -(2.0**-60)], None)
@example([2.0**127, 2.0**127], None)
@example([-(2.0**-149), 2.0**-126], None)
def test_single_precision_is_rounded_once(values, rng):
    values = [float(np.float32(value)) for value in values]
    frames = [
        np.array([value], "f4") for value in (rng.sample(values, len(values)) if rng else values)
    ]
    rules, parts = exactly(), list(frames)
    found = elements.Elements(rules, parts.pop(), "a frame")
    for part in parts:
        found.combine(part, "a frame")
    grid = found.summary.grids[np.dtype("f4")]
    how = rules.arithmetic(np.dtype("f4"), grid)
    planes = dict(found.held[np.dtype("f4")].blocks.planes)
    value = how.to_numbers(planes, rules.name).reshape(-1)[0]
    quantum = Fraction(2) ** (grid.top - 126)
    kept = sum(round(Fraction(x) / quantum) for x in values) * quantum
    if all((Fraction(x) / quantum).denominator == 1 for x in values):
        assert kept == sum(map(Fraction, values))
        assert bits(np.float64(value)) == bits(np.float64(nearest(kept, np.dtype("f4"))))
    assert value.dtype == np.float32


def test_plain_sums_of_these_depend_on_the_order_and_exact_ones_do_not():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 50)) * 10.0 ** rng.integers(-9, 9, (7, 50))
    total = Reduction("total", operation="SUM", extract=lambda frame: values[frame["Number"]])
    frames = [scan(i) for i in range(7)]
    for options, alike in (({}, False), ({"reproducible": True}, True)):
        one, other = (result_of(total, order, **options) for order in (frames, frames[::-1]))
        assert (one.tobytes() == other.tobytes()) == alike
    expected = [math.fsum(column) for column in values.T]
    np.testing.assert_array_equal(bits(one), bits(np.array(expected)))


@pytest.mark.parametrize("result", ["root", "all", "sharded"])
def test_all_layouts_of_arrays_are_summed_as_they_are(result):
    array = np.arange(1.0, 49).reshape(6, 8)
    layouts = [array, np.asfortranarray(array), array.astype(">f8"), np.repeat(array, 2, 1)[:, ::2]]
    reduction = Reduction("x", operation="SUM", extract=lambda frame: layouts[frame["Number"]])
    found = result_of(reduction, numbers(4), reproducible=True, result=result)
    if result == "sharded":
        np.testing.assert_array_equal(found.indices, np.arange(48))
        found = found.values.reshape(found.shape)
    np.testing.assert_array_equal(found, 4 * array)
    empty = Reduction("x", operation="SUM", extract=lambda frame: np.empty((0, 2)))
    assert result_of(empty, numbers(2), reproducible=True).shape == (0, 2)


def test_many_small_arrays_are_each_in_their_place(limits):
    limits(exact_floats=7)
    state = {i: np.arange(float(i)) + 1j * i for i in range(9)}
    reduction = Reduction("x", operation="SUM", extract=lambda frame: state)
    found = result_of(reduction, numbers(3), reproducible=True)
    for i, array in state.items():
        np.testing.assert_array_equal(found[i], 3 * array)


def test_numbers_that_are_not_finite_are_what_their_sum_is():
    nan, inf = math.nan, math.inf
    values = [[nan, inf, -inf, inf, 1.0, nan], [1.0, HUGE, 1.0, -inf, -inf, inf]]
    for dtype in ("f8", "f4"):
        finite = np.array(values, dtype if dtype == "f8" else "f8").clip(-1e38, 1e38)
        arrays = np.where(np.isfinite(values), finite, values).astype(dtype)
        state = Reduction("x", operation="SUM", extract=lambda f, a=arrays: a[f["Number"]])
        for order in ([0, 1], [1, 0]):
            reducer = reducer_of(state, map(scan, order), reproducible=True)
            found = reducer.finish()
            np.testing.assert_array_equal(found, [nan, inf, -inf, nan, -inf, nan])
            assert found.dtype == dtype
            assert reducer.grids[str(found.dtype)].special


def test_zeros_are_positive_and_subnormals_are_kept():
    values = [[-0.0, 2.0**-1045, 1e-291, TINY], [-0.0, 2.0**-1044, -1e-291, TINY]]
    reduction = Reduction("x", operation="SUM", extract=lambda f: np.array(values[f["Number"]]))
    found = result_of(reduction, numbers(2), reproducible=True)
    # The last is below half a quantum of the lowest grid.
    np.testing.assert_array_equal(bits(found), bits(np.array([0, 3 * 2.0**-1045, 0, 0])))
    found = result_of(reduction, numbers(2), reproducible=True, absmax=1.0)  # and here all are
    np.testing.assert_array_equal(bits(found), 0)


def test_groups_have_grids_of_their_own():
    values = {0: 1.0, 1: 1e200, 2: 3.0, 3: -1e200}
    reduction = Reduction(
        "x", operation="SUM", extract=lambda f: {"x": values[f["Number"]], "n": 1}
    )
    by = lambda frame: ("small", "large")[frame["Number"] % 2]  # noqa: E731
    reducer = reducer_of(reduction, numbers(), by=by, reproducible=True)
    with pytest.raises(g3reduce.UsageError, match="before the end of processing"):
        reducer.grids  # noqa: B018
    assert reducer.finish() == {"large": {"x": 0.0, "n": 2}, "small": {"x": 4.0, "n": 2}}
    assert list(reducer.grids) == ["large", "small"]
    small, large = reducer.grids["small"]["float64"], reducer.grids["large"]["float64"]
    assert (small.limbs, small.addends, small.special) == (3, 2, False)
    assert large.top > 600 > small.top
    assert reducer_of(reductions.count("Number"), numbers(), reproducible=True).finish() == 4


def test_grids_are_empty_where_nothing_is_summed_exactly():
    for reduction, options in (
        (reductions.total("Number"), {"reproducible": True}),
        (reductions.total(lambda frame: 1.5), {}),
        (reductions.total("Nothing"), {"reproducible": True}),
    ):
        reducer = reducer_of(reduction, numbers(), **options)
        reducer.finish()
        assert reducer.grids == {}


def test_a_value_above_the_bound_is_warned_of_once_and_does_no_harm(caplog):
    reduction = reductions.total(lambda frame: float(frame["Number"]) / 3)
    sums = []
    for order in (numbers(7), numbers(7)[::-1]):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sums.append(
                result_of(
                    reduction, order, reproducible=True, absmax=1.0, by=lambda f: f["Number"] % 2
                )
            )
        (message,) = (record.getMessage() for record in caplog.records)
        assert "a Scan frame made in the pipeline: the reduction 'sum of <lambda>' has" in message
        assert "absmax gives (1)" in message
    assert same(sums[0], dict(reversed(sums[1].items())))


def test_one_addend_too_many_is_refused_and_not_counted(monkeypatch):
    monkeypatch.setattr("g3reduce.arrays.exact.MOST_ADDENDS", 2)
    reducer = reducer_of(reductions.total(lambda f: 0.5), numbers(2), reproducible=True)
    with pytest.raises(g3reduce.InputError, match=r"3 states are too many .* can take 2"):
        reducer.add(scan(3))
    assert reducer.finish() == 1.0
    assert result_of(reductions.total("Number"), numbers(), reproducible=True) == 6  # integers


@pytest.mark.parametrize("operation", ["MIN", "MAX"])
def test_extremes_have_one_zero_and_no_nan(operation):
    values = [np.array([0.0, -0.0, 1.0], "f4"), np.array([-0.0, 0.0, -1.0], "f4")]
    reduction = Reduction("x", operation=operation, extract=lambda frame: values[frame["Number"]])
    for order in ([0, 1], [1, 0]):
        found = result_of(reduction, map(scan, order), reproducible=True)
        assert not np.signbit(found[:2]).any()
        assert found[2] == (-1 if operation == "MIN" else 1)
        assert found.dtype == np.float32
    values[1][0] = np.nan
    with pytest.raises(
        g3reduce.InputError, match=rf"Scan frame .* has a NaN. What the {operation}"
    ):
        result_of(reduction, map(scan, (0, 1)), reproducible=True)
    np.testing.assert_equal(result_of(reduction, map(scan, (0, 1)))[0], np.nan)


@pytest.mark.parametrize(
    ("operation", "value", "expected"),
    [("PROD", 3, 27), ("BOR", 6, 6), ("LAND", True, True), ("MIN", 2, 2), ("MAX", np.uint8(7), 7)],
)
def test_what_no_order_changes_is_as_it_is(operation, value, expected):
    reduction = Reduction("x", operation=operation, extract=lambda frame: value)
    assert result_of(reduction, numbers(3), reproducible=True) == expected


@pytest.mark.parametrize(
    ("reduction", "options", "text"),
    [
        (reductions.mean("Number"), {}, "'mean of Number' combines whole states.*operation='SUM'"),
        (reductions.covariance("ab"), {}, "combines whole states"),
        (SUM, {"absmax": 0.0}, "positive, finite"),
        (SUM, {"absmax": math.nan}, "positive, finite"),
        (SUM, {"absmax": "3"}, "expected a number"),
        (SUM, {"absmax": {"T": 1.0}}, r"absmax is {'T': 1.0}; expected one number"),
        (SUM, {"absmax": 1.0, "reproducible": False}, "reproducible=True"),
    ],
)
def test_what_cannot_be_reproducible_is_refused(reduction, options, text):
    with pytest.raises(g3reduce.UsageError, match=text):
        reducer_of(reduction, **({"reproducible": True} | options))


@pytest.mark.parametrize(
    ("operation", "value", "text"),
    [
        ("PROD", 0.5, "multiplies float64 numbers .from a Scan frame .* sum the logarithms"),
        ("PROD", np.ones(2, "c8"), "multiplies complex64"),
        ("SUM", np.longdouble(1), r"sums \w+ numbers .from a Scan .*astype\(np.float64\)"),
        ("SUM", {"x": np.ones(2, "G")}, "takes float32, float64, complex64"),
    ],
)
def test_numbers_that_cannot_be_are_refused(operation, value, text):
    reduction = Reduction("x", operation=operation, extract=lambda frame: value)
    with pytest.raises(g3reduce.UsageError, match=text):
        reducer_of(reduction, numbers(1), reproducible=True)
    reducer_of(reduction, numbers(1))


def test_ready_ones_that_are_elementwise_can_be_reproducible():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(6, 20)) * 1e3
    take = lambda frame: values[frame["Number"]]  # noqa: E731
    for reduction in (
        reductions.count("Number"),
        reductions.total(take),
        reductions.minimum(take),
        reductions.maximum(take),
        reductions.histogram(take, [-1e3, 0, 1e3]),
    ):
        frames = numbers(6)
        expected = result_of(reduction, frames, reproducible=True)
        for order in itertools.islice(itertools.permutations(frames), 0, None, 100):
            assert same(result_of(reduction, order, reproducible=True), expected)
