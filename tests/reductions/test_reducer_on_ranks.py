"""MPIReducer on any number of ranks is what one rank has, and its errors are errors on all."""

import dataclasses
import importlib.util
import itertools
import pickle
from typing import NamedTuple

import numpy as np
import pytest
from reducing import scan
from shards import assert_parts
from spt3g import core
from states import same
from ways import WAYS

import g3reduce
from g3reduce import Reduction, reductions
from g3reduce.mpi import waiting
from g3reduce.mpi.communicators import OneProcess
from g3reduce.reductions import elements, wholes

N_FRAMES = 11

WHOLE = list(itertools.product(("auto", *wholes.WAYS), ("root", "all")))


class Failed(Exception):
    """The user's own error."""


@dataclasses.dataclass(frozen=True)
class Both:
    sums: np.ndarray
    count: int


class Pair(NamedTuple):
    first: np.ndarray
    second: dict


def values(i, n=50):
    return np.random.default_rng(i).integers(-1000, 1000, n).astype(float)


def reduce(comm, reduction, frames, *, feed=None, **options):
    """What the ranks have together: each takes every so many of the frames."""
    reducer = g3reduce.MPIReducer(reduction, comm, **options)
    for i in frames if feed is None else feed:
        reducer.add(scan(i))
    reducer.finish()
    return reducer


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
@pytest.mark.parametrize("how", ["private", "shared", "two per node"])
def test_all_kinds_of_states_by_every_strategy(limits, ways_of_memory, how):
    limits(smallest_alone=300)  # some alone, some together
    comm = ways_of_memory(how)
    root = comm.size - 1
    everything = itertools.product(WAYS, ("array", "mixed"))
    kinds = itertools.product([("auto", "all")], STATES if how == "private" else ("int",))
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


def concatenation(**more):
    """A reduction that shows the order in which states came."""
    return Reduction("order", lambda a, b: {k: a[k] + b[k] for k in a}, extract=listed, **more)


def listed(frame):
    return {"numbers": [frame["Number"]], "text": (frame["Wafer"],)}


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


@pytest.fixture
def files(comm, shared_folder):
    """Four files, each with an Observation and three scans."""

    def write():
        names = []
        for number in range(4):
            names.append(str(shared_folder / f"obs{number}.g3"))
            with core.G3Writer(names[-1]) as writer:
                frame = core.G3Frame(core.G3FrameType.Observation)
                frame["ObservationID"] = 900 - number
                writer(frame)
                for i in range(3):
                    writer(scan(3 * number + i))
        return names

    return comm.bcast(write() if comm.rank == 0 else None)


def run(comm, files, reduction, *, module=None, guarded=False, **options):
    reducer = g3reduce.MPIReducer(reduction, comm, **options)
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule="static")
    if module:
        pipe.Add(module, pipe=pipe)
    pipe.Add(reducer)
    seen = []
    pipe.Add(lambda frame: seen.append(frame.type))
    if guarded:
        with g3reduce.guard(comm):
            pipe.Run()
    else:
        pipe.Run()
    return reducer


@pytest.mark.ranks(1, 2, 3, 5)
def test_in_a_pipeline_groups_come_in_the_order_of_the_input(comm, files):
    reducer = run(comm, files, reductions.total("Number"), by="ObservationID", result="all")
    assert reducer.result == {900: 3, 899: 12, 898: 21, 897: 30}
    assert list(reducer.result) == [900, 899, 898, 897]
    assert not reducer.unfinished


@pytest.mark.ranks(2, 3)
def test_files_that_every_rank_reads_are_refused(comm, files):
    reducer = g3reduce.MPIReducer(reductions.count("Number"), comm)
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=files)
    pipe.Add(reducer)
    with pytest.raises(g3reduce.DuplicateError, match="on rank 0 and on rank 1"):
        pipe.Run()


def all_raise(comm, work, failing, kind, text, cause=Failed):
    """Every rank raises: the failing one its own error, the others say which and how."""
    with pytest.raises(g3reduce.G3ReduceError) as caught:
        work()
    error = caught.value
    stories = comm.allgather((type(error).__name__, str(error)))
    assert text in str(error), stories
    if comm.rank == failing:
        assert isinstance(error, kind), stories
        assert cause is None or isinstance(error.__cause__, cause), stories
    else:
        assert isinstance(error, g3reduce.RemoteError), stories
        assert f"rank {failing}: " in str(error), stories
    assert not waiting.open_guards()


def fail(*arguments):
    raise Failed("so it is")


def broken(which, failing, rank):
    """A reduction of which one function fails on one rank, and `by`."""
    bad = rank == failing
    functions = {
        "extract": lambda frame: frame.get("Number", None),
        "combine": lambda a, b: a + b,
        "finalize": lambda state: state,
        "by": lambda frame: "all",
    }
    if bad:
        functions[which] = fail
    by = functions.pop("by")
    return Reduction("mine", **functions), by


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("which", ["extract", "combine", "finalize", "by"])
def test_an_error_in_a_users_function_reaches_all(comm, files, which, failing):
    reduction, by = broken(which, failing, comm.rank)
    place = {
        "finalize": "at the end, group 'all'",
        "combine": f"obs{failing}.g3, frame 2",
    }.get(which, f"obs{failing}.g3, frame ")
    text = f"{which} of the reduction 'mine' failed: Failed: so it is (at "
    if which == "extract":
        place = f"obs{failing}.g3, frame 0"  # the Observation frame
    for part in (text, place, f"on rank {failing})"):
        all_raise(
            comm,
            lambda: run(comm, files, reduction, by=by, guarded=True, result="all"),
            failing,
            g3reduce.ReductionError,
            part,
        )
    found = run(comm, files, reductions.total("Number"), result="all", guarded=True)
    assert found.result == 66


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("strategy", wholes.WAYS)
@pytest.mark.parametrize("how", ["raises", "returns None", "cannot be sent", "cannot be made"])
def test_an_error_at_the_end_outside_of_guards_reaches_all(comm, strategy, how):
    """One frame on each rank: combine is only called where ranks join."""
    failing = 0 if how in ("raises", "returns None", "cannot be made") else comm.size - 1
    joins = comm.rank == 0

    def combine(a, b):
        if how == "raises" and joins:
            raise Failed("so it is")
        return None if how == "returns None" and joins else a

    state = {
        "cannot be sent": lambda: (lambda: 1) if comm.rank == failing else 1,
        "cannot be made": lambda: Unmakable() if comm.rank == comm.size - 1 else 1,
    }.get(how, lambda: 1)
    reduction = Reduction("mine", combine, extract=lambda frame: state())
    text = {
        "raises": "combine of the reduction 'mine' failed: Failed: so it is (at the joining of",
        "returns None": "combine of the reduction 'mine' returned None",
        "cannot be sent": "ickle",
        "cannot be made": "not here",
    }[how]
    unsendable = (AttributeError, pickle.PicklingError)  # as pickle has it, by version of Python
    with pytest.raises((g3reduce.G3ReduceError, Failed, *unsendable)) as caught:
        reduce(comm, reduction, [1], strategy=strategy, result="all")
    stories = comm.allgather(f"{type(caught.value).__name__}: {caught.value}")
    assert all(text in story for story in stories), stories
    assert sum(not story.startswith("RemoteError") for story in stories) >= 1
    assert reduce(comm, reductions.count("Number"), [1], result="all").result == comm.size


class Unmakable:
    """What can be pickled, but not unpickled."""

    def __reduce__(self):
        return fail_to_make, ()


def fail_to_make():
    raise Failed("not here")


@pytest.mark.ranks(2, 3)
def test_finalize_fails_outside_of_guards(comm):
    reduction, _ = broken("finalize", 0, comm.rank)
    all_raise(
        comm,
        lambda: reduce(comm, reduction, [1]),
        0,
        g3reduce.ReductionError,
        "so it is (at the end",
    )


@pytest.mark.ranks(2, 3)
def test_states_that_do_not_agree_between_ranks_are_refused_on_all(comm):
    shape = 4 if comm.rank == comm.size - 1 else 3
    reduction = Reduction("mine", operation="SUM", extract=lambda frame: np.ones(shape))
    with pytest.raises(g3reduce.MismatchError) as caught:
        reduce(comm, reduction, [1])
    text = str(caught.value)
    assert "float64[3] (from a Scan frame made in the pipeline on rank 0)" in text
    assert f"float64[4] (from a Scan frame made in the pipeline on rank {comm.size - 1})" in text


@pytest.mark.ranks(2, 3)
def test_keys_that_cannot_be_sent_are_told(comm):
    by = (lambda frame: fail) if comm.rank else (lambda frame: lambda: 1)
    all_raise(
        comm,
        lambda: reduce(comm, reductions.count("Number"), [1], by=by),
        0,
        g3reduce.ReductionError,
        "keys of the groups of the reduction 'count of Number'",
        cause=Exception,
    )


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("guarded", [False, True])
def test_a_halted_pipeline_is_an_error_on_all(comm, files, guarded):
    def halt(frame, pipe):
        if frame.type == core.G3FrameType.Scan and comm.rank < comm.size - 1:
            pipe.halt_processing()

    with pytest.raises(g3reduce.G3ReduceError, match="was halted before all files were read"):
        run(comm, files, reductions.count("Number"), module=halt, guarded=guarded)
    pipe = core.G3Pipeline()  # spt3g ends the next pipeline before it has begun
    pipe.Add(lambda frame: [])
    pipe.Run()


@pytest.mark.ranks(2, 3)
def test_arguments_that_differ_or_cannot_be_used_are_refused_on_all(comm):
    count = reductions.count("Number")
    for arguments, text in (
        ({"root": comm.rank}, "The arguments of MPIReducer must be the same on all ranks"),
        ({"reduction": reductions.count(f"{comm.rank}")}, "must be the same on all ranks"),
        ({"strategy": "ring"}, "strategy is 'ring'; expected one of auto, gather"),
        ({"strategy": "tree", "result": "all"}, "these can: auto, allreduce"),
        ({"reduction": "count" if comm.rank else count}, "expected a g3reduce.Reduction"),
        ({"by": 3}, "by is 3"),
        ({"on_duplicate": "x"}, "on_duplicate is 'x'"),
        ({"reduction": concatenation(), "strategy": "owner"}, "these can: auto, tree, gather"),
        ({"reduction": concatenation(), "result": "sharded"}, "these can: root, all"),
    ):
        with pytest.raises(g3reduce.G3ReduceError, match=text):
            g3reduce.MPIReducer(**({"reduction": count, "mpicomm": comm} | arguments))


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


@pytest.mark.ranks(2, 3)
def test_ready_ones_are_the_same_on_any_number_of_ranks(comm):
    def take(frame):
        return values(frame["Number"])

    ready = [
        reductions.mean_and_variance(take),
        reductions.histogram(take, [-500, 0, 500]),
        reductions.covariance(lambda frame: [take(frame), take(frame) ** 2]),
        reductions.chi_square(take, lambda frame: np.ones(50)),
        reductions.mean_psd(timestreams),
    ]
    if importlib.util.find_spec("datasketches"):
        ready.append(reductions.quantiles(take, [0, 0.25, 1]))
    for reduction in ready:
        found = reduce(comm, reduction, mine(comm), result="all").result
        _, arrays = elements.take_apart(found, elementwise=True)
        serial = reduce(OneProcess(), reduction, range(N_FRAMES)).result
        _, expected = elements.take_apart(serial, elementwise=True)
        assert len(arrays) == len(expected)
        for one, other in zip(arrays, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9)
