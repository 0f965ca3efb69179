"""MPIReducer in pipelines on ranks, and its errors, which are errors on all."""

import pickle

import numpy as np
import pytest
from ranksreducing import concatenation, reduce
from reducing import scan
from spt3g import core

import g3reduce
from g3reduce import Reduction, reductions
from g3reduce.mpi import waiting
from g3reduce.reductions import wholes


class Failed(Exception):
    """The user's own error."""


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
        "cannot be sent": "local object",
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
