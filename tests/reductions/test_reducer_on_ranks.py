"""MPIReducer on any number of ranks is what one rank has, and its errors are errors on all."""

import dataclasses
import itertools
import pickle
from typing import NamedTuple

import numpy as np
import pytest
from merging import periodogram
from ranksreducing import concatenation, reduce
from shards import assert_parts
from spt3g import core
from states import same
from ways import WAYS

from g3reduce import Reduction, reductions
from g3reduce.mpi.communicators import OneProcess
from g3reduce.reductions import wholes

N_FRAMES = 11

WHOLE = list(itertools.product(("auto", *wholes.WAYS), ("root", "all")))


@dataclasses.dataclass(frozen=True)
class Both:
    sums: np.ndarray
    count: int


class Pair(NamedTuple):
    first: np.ndarray
    second: dict


def values(i, n=50):
    return np.random.default_rng(i).integers(-1000, 1000, n).astype(float)


def mine(comm, n=N_FRAMES):
    """Frames in a row for each rank, so that the order of ranks is that of the frames."""
    return np.array_split(np.arange(n), comm.size)[comm.rank].tolist()


STATES = {
    "int": lambda i: i - 4,
    "float": lambda i: i / 4,
    "array": values,
    "matrix": lambda i: values(i, 48).reshape(2, 4, 6),
    "empty": lambda i: np.empty((0, 3)),
    "mixed": lambda i: {"b": values(i), "a": (values(i, 3).astype("i4"), i), "c": [1.5 * i]},
    "dataclass": lambda i: Both(values(i, 7), i),
    "namedtuple": lambda i: Pair(values(i, 7), {"n": values(i, 1).astype("c16")}),
    "swapped": lambda i: values(i).astype(">f8"),
    "columns": lambda i: np.asfortranarray(values(i, 48).reshape(6, 8)),
}


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("how", ["messages", "direct", "two per node"])
def test_all_kinds_of_states_by_every_strategy(limits, ways_of_memory, how):
    limits(smallest_alone=300)  # some alone, some together
    comm = ways_of_memory(how)
    root = comm.size - 1
    everything = itertools.product(WAYS, ("array", "mixed"))
    kinds = itertools.product([("auto", "all")], STATES if how == "messages" else ("int",))
    for (strategy, result), kind in (*everything, *kinds):
        make = STATES[kind]
        reduction = Reduction(
            kind, operation="SUM", extract=lambda frame, make=make: make(frame["Number"])
        )
        reducer = reduce(comm, reduction, mine(comm), strategy=strategy, result=result, root=root)
        expected = reduce(OneProcess(), reduction, range(N_FRAMES)).result
        assert reducer.statistics.ranks == comm.size
        if result == "sharded":
            assert_parts(comm, reducer.result, expected)
        elif result == "all" or comm.rank == root:
            assert type(reducer.result) is type(expected)
            assert same(reducer.result, expected)
        else:
            assert reducer.result is None


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("operation", ["MIN", "MAX", "PROD", "BOR", "LAND"])
def test_other_operations_with_ranks_that_have_nothing(comm, operation):
    dtype = {"BOR": "u2", "LAND": "?", "PROD": "i8"}.get(operation, "f4")
    reduction = Reduction(
        operation,
        operation=operation,
        extract=lambda f: (values(f["Number"]) % 7 + 1).astype(dtype),
    )
    expected = reduce(OneProcess(), reduction, range(3)).result
    ways = [way for way in WAYS if way[1] != "sharded"]
    for feeding in (0, comm.size - 1):
        feed = range(3) if comm.rank == feeding else ()
        for strategy, result in ways[feeding % 2 :: 2]:
            found = reduce(comm, reduction, feed, strategy=strategy, result=result).result
            if result == "all" or comm.rank == 0:
                assert same(found, expected)


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize(("strategy", "result"), WHOLE)
def test_what_is_combined_whole_keeps_the_order_of_ranks(comm, strategy, result):
    for root in {0, comm.size - 1}:
        found = reduce(
            comm, concatenation(), mine(comm), strategy=strategy, result=result, root=root
        ).result
        if result == "all" or comm.rank == root:
            assert found["numbers"] == list(range(N_FRAMES))
            assert found["text"] == tuple(f"w{i % 3}" for i in range(N_FRAMES))
        else:
            assert found is None
    found = reduce(comm, concatenation(commutes=True), mine(comm), strategy=strategy).result
    if comm.rank == 0:
        assert sorted(found["numbers"]) == list(range(N_FRAMES))


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize(("strategy", "result"), WHOLE)
def test_states_of_any_kind_are_combined_whole(comm, strategy, result):
    for kind, make in STATES.items():
        reduction = Reduction(
            kind, lambda a, b: b, extract=lambda frame, make=make: make(frame["Number"])
        )
        found = reduce(comm, reduction, mine(comm), strategy=strategy, result=result).result
        if result == "all" or comm.rank == 0:
            assert same(found, make(N_FRAMES - 1))
    sets = Reduction("sets", lambda a, b: a | b, frozenset(), lambda f: frozenset([f["Wafer"]]))
    found = reduce(comm, sets, mine(comm), strategy=strategy, result=result).result
    assert found in ((None,) if result == "root" and comm.rank else ({"w0", "w1", "w2"},))


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("result", ["root", "all", "sharded"])
def test_groups(comm, result):
    by = lambda frame: (frame["Wafer"], 1)  # noqa: E731
    total = Reduction("sum", operation="SUM", extract=lambda frame: values(frame["Number"]))
    expected = {
        (f"w{w}", 1): sum(values(i) for i in range(N_FRAMES) if i % 3 == w) for w in range(3)
    }
    # Backwards: without units the order is that of the keys.
    feed = mine(comm)[::-1]
    found = reduce(comm, total, feed, by=by, result=result).result
    if result == "root" and comm.rank:
        assert found is None
    else:
        assert list(found) == list(expected)
        for key, value in expected.items():
            if result == "sharded":
                assert_parts(comm, found[key], value)
            else:
                np.testing.assert_array_equal(found[key], value)
    if result != "sharded":
        found = reduce(comm, concatenation(), mine(comm), by="Wafer", result=result).result
        if result == "all" or comm.rank == 0:
            assert list(found) == ["w0", "w1", "w2"]
            assert found["w1"]["numbers"] == [1, 4, 7, 10]


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("result", ["root", "all"])
def test_no_frames_at_all(comm, result, caplog):
    for reduction, expected in (
        (reductions.count("T"), 0),
        (reductions.mean("T"), None),
        (Reduction("sets", lambda a, b: a | b, frozenset("x")), {"x"}),
    ):
        found = reduce(comm, reduction, (), result=result).result
        assert found == (expected if result == "all" or comm.rank == 0 else None)
        found = reduce(comm, reduction, (), result=result, by="Wafer").result
        assert found == ({} if result == "all" or comm.rank == 0 else None)
    assert ("no frame on any rank" in caplog.text) == (comm.rank == 0)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("whole", [False, True])
def test_arrays_are_never_pickled(comm, monkeypatch, whole):
    from mpi4py import MPI

    pickled, real = [], pickle.dumps

    def dumps(value, protocol=None, *arguments):
        data = real(value, pickle.HIGHEST_PROTOCOL)
        pickled.append(len(data))
        return data

    comm = comm.Dup()
    big = np.arange(2**17, dtype=float)
    how = {"combine": add_both} if whole else {"operation": "SUM"}
    reduction = Reduction("big", extract=lambda frame: Both(big, frame["Number"]), **how)
    monkeypatch.setattr(pickle, "dumps", dumps)
    MPI.pickle.__init__(dumps, pickle.loads)
    try:
        # Not "auto", which would measure how fast pickled messages are.
        strategy = "auto" if whole else "allreduce"
        reducer = reduce(comm, reduction, mine(comm), result="all", strategy=strategy)
        found = reducer.result
    finally:
        MPI.pickle.__init__()
        comm.Free()
    np.testing.assert_array_equal(found.sums, N_FRAMES * big)
    assert found.count == sum(range(N_FRAMES))
    assert pickled
    assert sum(pickled) < big.nbytes / 10  # numbers of rows among them


def add_both(a, b):
    return Both(a.sums + b.sums, a.count + b.count)


def timestreams(frame):
    found = core.G3TimestreamMap()
    for name in "ab":
        found[name] = core.G3Timestream(values(frame["Number"], 16))
        found[name].stop = core.G3Time(int(core.G3Units.s))
    return found


def means_and_variances(x):
    return np.full(50, N_FRAMES), x.mean(axis=0), x.var(axis=0)


def counts(x):
    edges = [-500, 0, 500]
    return edges, np.histogram(x, edges)[0], np.sum(x < -500), np.sum(x > 500), 0


def covariances(x):
    both = np.array([x.reshape(-1), x.reshape(-1) ** 2])
    return x.size, both.mean(axis=1), np.cov(both) * (x.size - 1), np.cov(both)


def chi_squares(x):
    pixels, mean = x.var(axis=0) * N_FRAMES, x.mean(axis=0)
    return pixels.sum(), 50 * (N_FRAMES - 1), pixels, np.full(50, N_FRAMES - 1), mean


def spectra(x):
    psd = np.mean(
        [periodogram(row, 15) for row in (values(i, 16) for i in range(N_FRAMES))], axis=0
    )
    return np.fft.rfftfreq(16, 1 / 15), {"a": psd, "b": psd}, {"a": N_FRAMES, "b": N_FRAMES}


def numbers_of(frame):
    return values(frame["Number"])


READY = [
    (reductions.mean_and_variance(numbers_of), means_and_variances),
    (reductions.histogram(numbers_of, [-500, 0, 500]), counts),
    (reductions.covariance(lambda frame: [numbers_of(frame), numbers_of(frame) ** 2]), covariances),
    (reductions.chi_square(numbers_of, lambda frame: np.ones(50)), chi_squares),
    (reductions.mean_psd(timestreams), spectra),
]


@pytest.mark.ranks(2, 3)
def test_ready_ones_are_what_numpy_has_of_all_values(comm):
    x = np.array([values(i) for i in range(N_FRAMES)])
    for reduction, by_numpy in READY:
        found = reduce(comm, reduction, mine(comm), result="all").result
        for part, expected in zip(found, by_numpy(x), strict=True):
            if isinstance(expected, dict):
                assert part.keys() == expected.keys()
                part, expected = list(part.values()), list(expected.values())
            np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.ranks(2, 3)
def test_quantiles_on_ranks_have_the_ranks_that_are_asked_for(comm):
    pytest.importorskip("datasketches")
    x = np.sort([values(i) for i in range(N_FRAMES)], axis=None)
    quantiles = reductions.quantiles(numbers_of, [0, 0.25, 1])
    least, quarter, most = reduce(comm, quantiles, mine(comm), result="all").result
    assert (least, most) == (x[0], x[-1])
    assert np.searchsorted(x, quarter) - 1 <= 0.25 * len(x) <= np.searchsorted(x, quarter, "right")
