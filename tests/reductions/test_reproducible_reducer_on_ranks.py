"""MPIReducer with reproducible=True is the same to the bit on any number of ranks.

Each case is compared with what one process makes of the same frames in their order.
"""

import itertools
import random

import anynumbers
import numpy as np
import pytest
from reducing import scan
from shards import assert_parts
from states import same
from ways import WAYS

import g3reduce
from g3reduce import Reduction, reductions
from g3reduce.choices import Result, choices_of
from g3reduce.mpi.communicators import OneProcess

N_FRAMES = 12


def of_any_size(i, n):
    return anynumbers.of_any_size(np.random.default_rng(i), n)


def of_moderate_size(i, n):
    """Of another size for each wafer, so that groups, and ranks, are on other grids."""
    return anynumbers.of_moderate_size(np.random.default_rng(i), n) * 10.0 ** (40 * (i % 3))


def singles(i, n):
    return np.random.default_rng(i).normal(size=n).astype("f4") * np.float32(4.0 ** (i % 20))


STATES = {
    "array": lambda i: of_moderate_size(i, 500),
    "any size": lambda i: of_any_size(i, 60),
    "mixed": lambda i: {
        "a": of_any_size(i, 70).reshape(7, 10),
        "b": singles(i, 33),
        "c": (singles(i, 8).view("c8"), i, 0.1 * i),
    },
}


def reduce(comm, make, frames, **options):
    reduction = Reduction("x", operation="SUM", extract=lambda frame: make(frame["Number"]))
    reducer = g3reduce.MPIReducer(reduction, comm, reproducible=True, **options)
    with np.errstate(over="ignore"):
        for i in frames:
            reducer.add(scan(i))
    reducer.finish()
    return reducer


def dealt(comm, n, seed):
    """This rank's share of frames that are shuffled and dealt out; some ranks have more or none."""
    rng = random.Random(seed)
    return [i for i in rng.sample(range(n), n) if rng.randrange(comm.size) == comm.rank]


def check(comm, found, expected, result, root=0):
    """`found` on all ranks is, together, `expected` to the bit."""
    if result == "sharded":
        assert_parts(comm, found, expected)
    elif result == "all" or comm.rank == root:
        assert same(found, expected)
    else:
        assert found is None


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize(
    ("how", "absmax"), [("messages", None), ("direct", 2.0**30), ("two per node", 1.0)]
)
def test_sums_are_the_same_to_the_bit(limits, ways_of_memory, how, absmax):
    limits(smallest_alone=300)  # some alone, some together
    comm = ways_of_memory(how)
    root = comm.size - 1
    one = {
        kind: reduce(OneProcess(), make, range(N_FRAMES), absmax=absmax)
        for kind, make in STATES.items()
    }
    for seed, (strategy, result) in enumerate(WAYS):
        if how == "direct" and strategy != "auto":
            continue  # one node has no work for a strategy
        for kind in STATES if result == "all" and strategy == "auto" else ["mixed"]:
            frames = dealt(comm, N_FRAMES, seed)
            options = {"strategy": strategy, "result": result, "root": root, "absmax": absmax}
            found = reduce(comm, STATES[kind], frames, **options)
            check(comm, found.result, one[kind].result, result, root)
            assert found.grids == one[kind].grids


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("result", choices_of(Result))
@pytest.mark.parametrize("kind", ["array", "mixed"])
def test_groups_are_the_same_to_the_bit_also_where_ranks_lack_some(comm, limits, kind, result):
    limits(smallest_alone=300)
    expected = reduce(OneProcess(), STATES[kind], range(N_FRAMES), by="Wafer")
    by_wafer = [i for i in range(N_FRAMES) if i % 3 % comm.size == comm.rank]
    for frames in (by_wafer, dealt(comm, N_FRAMES, 5)):
        found = reduce(comm, STATES[kind], frames, by="Wafer", result=result)
        assert found.grids == expected.grids
        assert len({grid["float64"].top for grid in found.grids.values()}) > 1 or kind == "mixed"
        if found.result is None:
            assert result == "root"
            assert comm.rank
            continue
        assert list(found.result) == list(expected.result) == ["w0", "w1", "w2"]
        for wafer, value in expected.result.items():
            check(comm, found.result[wafer], value, result)


@pytest.mark.ranks(2, 3)
def test_a_value_that_is_not_finite_is_told_to_ranks_without_any(comm):
    make = lambda i: np.array([np.inf, 1.0] if i == 3 else [1.0, 0.5])  # noqa: E731
    found = reduce(comm, make, [3] if comm.rank == comm.size - 1 else [0], result="all")
    np.testing.assert_array_equal(found.result, [np.inf, 1 + 0.5 * (comm.size - 1)])
    assert found.grids["float64"].special
    assert found.grids["float64"].addends == comm.size


@pytest.mark.ranks(2, 3)
def test_too_many_addends_are_refused_on_all_ranks_before_they_overflow(comm, monkeypatch):
    monkeypatch.setattr("g3reduce.arrays.exact.MOST_ADDENDS", 2 * comm.size - 1)
    with pytest.raises(g3reduce.InputError, match=rf"All ranks together: {2 * comm.size} states"):
        reduce(comm, STATES["array"], [0, 1])


@pytest.mark.ranks(2)
def test_ranks_must_ask_for_the_same(comm):
    total = reductions.total("Number")
    with pytest.raises(g3reduce.UsageError, match="reproducible"):
        g3reduce.MPIReducer(total, comm, reproducible=comm.rank == 0)
    with pytest.raises(g3reduce.UsageError, match="absmax"):
        g3reduce.MPIReducer(total, comm, reproducible=True, absmax=1.0 + comm.rank)
    with pytest.raises(g3reduce.UsageError, match="combines whole states"):
        g3reduce.MPIReducer(reductions.mean("Number"), comm, reproducible=True)


@pytest.mark.ranks(1, 2, 3, 5)
def test_ready_ones_and_extremes_are_the_same_to_the_bit(comm):
    def take(frame):
        zeros = np.copysign(0.0, frame["Number"] % 2 - 0.5)
        return np.where(np.arange(40) % 4, of_moderate_size(frame["Number"], 40), zeros)

    for reduction, result in itertools.product(
        (
            reductions.count("Number"),
            reductions.total(take),
            reductions.minimum(take),
            reductions.maximum(take),
            reductions.histogram(take, [-500, 0, 500]),
        ),
        ("root", "all"),
    ):
        found = []
        for where, frames in ((comm, dealt(comm, N_FRAMES, 1)), (OneProcess(), range(N_FRAMES))):
            reducer = g3reduce.MPIReducer(reduction, where, reproducible=True, result=result)
            for i in frames:
                reducer.add(scan(i))
            found.append(reducer.finish())
        if found[0] is not None:
            assert same(*found)
