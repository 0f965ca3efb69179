"""MPIReducer in one process: its manners in a pipeline, its groups and its errors."""

import dataclasses
import os
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import HANGS_S
from pipelines import run
from reducing import numbers, reducer_of, result_of, scan
from spt3g import core

import g3reduce
from g3reduce import Reduction, reductions
from g3reduce.mpi.communicators import OneProcess
from g3reduce.mpi.launch import mpirun_command, mpirun_environment
from g3reduce.reductions import held
from g3reduce.reductions.states import put_together, take_apart


def test_frames_go_on_as_they_came():
    total, count = reducer_of(reductions.total("Number")), reducer_of(reductions.count("Number"))
    out = run(numbers(), total, count)
    kinds = [frame.type for frame in out if frame.type != core.G3FrameType.PipelineInfo]
    assert kinds == [core.G3FrameType.Scan] * 4 + [core.G3FrameType.EndProcessing]
    assert (total.result, count.result) == (6, 4)
    assert not total.unfinished


def test_what_a_coadder_upstream_puts_out_is_not_reduced_again():
    import skies

    frames = [skies.map_frame("flat sparse", "polarized", seed=i) for i in range(3)]
    count = reducer_of(reductions.count("T"))
    run(frames, g3reduce.MPIMapCoadder(OneProcess()), count)
    assert count.result == 3


def test_before_and_after_the_end():
    reducer = reducer_of(reductions.count("Number"), numbers())
    assert reducer.unfinished
    for attribute in ("result", "statistics"):
        with pytest.raises(g3reduce.UsageError, match="before the end of processing"):
            getattr(reducer, attribute)
    assert reducer.finish() == reducer.result == 4
    with pytest.raises(g3reduce.UsageError, match="has ended its work already"):
        reducer.finish()
    with pytest.raises(g3reduce.UsageError, match="make a new one"):
        reducer.add(scan(0))
    with pytest.raises(g3reduce.UsageError, match="first module of this pipeline"):
        reducer(None)


def test_a_frame_that_comes_twice():
    frames = [scan(1, ("a.g3", 0, 0)), scan(2, ("a.g3", 0, 0))]
    with pytest.raises(g3reduce.DuplicateError, match=r"a\.g3, frame 0 came twice"):
        reducer_of(reductions.count("Number"), frames)
    assert result_of(reductions.count("Number"), frames, on_duplicate="sum") == 2


def test_groups_by_a_function_a_key_and_the_latest_key():
    frames = [scan(i, ("x.g3", 9 - i, 0)) for i in range(4)]
    by = lambda frame: frame["Number"] % 2 if frame["Number"] else None  # noqa: E731
    assert result_of(reductions.total("Number"), frames, by=by) == {1: 4, 0: 2}
    found = result_of(reductions.total("Number"), frames, by="Number")
    assert list(found) == [3, 2, 1, 0]  # in the order of the file
    observation = core.G3Frame(core.G3FrameType.Observation)
    observation["ObservationID"] = 7
    frames = [observation, *numbers()]
    assert result_of(reductions.total("Number"), frames, by="ObservationID") == {7: 6}
    with pytest.raises(g3reduce.ReductionError, match="'ObservationID', which no frame had so far"):
        reducer_of(reductions.total("Number"), numbers(), by="ObservationID")
    with pytest.raises(g3reduce.ReductionError, match=r"gives \[\] \(list\); expected .* hashable"):
        reducer_of(reductions.total("Number"), numbers(), by=lambda frame: [])


def test_states_are_not_those_of_the_frames():
    array = np.ones(3)
    reduction = Reduction("mine", operation="SUM", extract=lambda frame: array)
    np.testing.assert_array_equal(result_of(reduction, numbers()), [4, 4, 4])
    np.testing.assert_array_equal(array, 1)


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ([1, 2.0], "a int64 number .* and a float64 number"),
        ([np.ones(2), np.ones(3)], r"float64\[2\] .* and float64\[3\]"),
        ([np.ones(2), np.ones(2, "f4")], r"float64\[2\] .* and float32\[2\]"),
        ([{"a": 1}, {"b": 1}], r"dict\(a: .* and dict\(b: "),
        (["x"], "returned a str .* the operation SUM takes numbers"),
        ([np.array(["x"])], "operation SUM takes numbers"),
        ([True], "returned a bool number"),
        ([2**70], "returned a int"),
    ],
)
def test_elementwise_states_that_cannot_be_combined(states, text):
    reduction = Reduction("mine", operation="SUM", extract=lambda f: states[f["Number"]])
    with pytest.raises(g3reduce.MismatchError, match=text):
        reducer_of(reduction, numbers(len(states)))


def test_an_error_in_a_users_function_is_the_cause():
    reduction = Reduction("mine", operation="SUM", extract=lambda frame: frame["Nothing"])
    text = r"extract of the reduction 'mine' failed: KeyError: .*\(at a.g3, frame 3\)"
    with pytest.raises(g3reduce.ReductionError, match=text) as caught:
        reducer_of(reduction, [scan(0, ("a.g3", 3, 0))])
    assert isinstance(caught.value.__cause__, KeyError)
    none = Reduction("mine", lambda a, b: None, extract=lambda frame: 1)
    with pytest.raises(g3reduce.ReductionError, match=r"combine .* returned None; expected"):
        reducer_of(none, numbers())


def test_dictionaries_come_in_any_order():
    states = [{"a": 1, "b": 2.0}, {"b": 5.0, "a": 3}]
    reduction = Reduction("mine", operation="SUM", extract=lambda f: states[f["Number"]])
    assert result_of(reduction, numbers(2)) == {"a": 4, "b": 7}


Point = namedtuple("Point", "x y")


@dataclasses.dataclass(frozen=True)
class Node:
    left: object
    right: object


leaf = (
    st.integers()
    | st.none()
    | st.text()
    | st.integers(0, 5).map(lambda n: np.arange(n * 2.0).reshape(n, 2)[:, ::-1])
    | st.just(np.array(3, ">i2"))
)
trees = st.recursive(
    leaf,
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.lists(inside, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inside, max_size=3)
        | st.builds(Point, inside, inside)
        | st.builds(Node, inside, inside)
    ),
    max_leaves=8,
)


@given(trees)
def test_what_is_taken_apart_is_put_together(state):
    structure, arrays = take_apart(state)
    assert repr(put_together(structure, arrays)) == repr(state)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
def test_rows_are_few_and_waste_little(sizes):
    length = held.row_length(sizes)
    rows = sum(-(-size // length) for size in sizes)
    assert rows * length <= 2 * max(1, sum(sizes)) + len(sizes)
    assert rows <= 2 * 4096 + 2 * len(sizes) or length == 1


def test_register_strategy_refuses_what_is_none():
    class Half:
        name = "half"

    with pytest.raises(g3reduce.UsageError, match="has no results"):
        g3reduce.register_strategy(Half())
    Half.results, Half.cost, Half.reduce = "root", None, None
    with pytest.raises(g3reduce.UsageError, match="expected a tuple of some of root, all, sharded"):
        g3reduce.register_strategy(Half())
    Half.name, Half.results = "tree", ("root",)
    with pytest.raises(g3reduce.UsageError, match="'tree' already"):
        g3reduce.register_strategy(Half())


FAILING = """
from mpi4py import MPI
from spt3g import core
import g3reduce

comm, left = MPI.COMM_WORLD, [core.G3Frame(core.G3FrameType.Scan)]

def extract(frame):
    return 1 if comm.rank == 0 else frame["Nothing"]

pipe = core.G3Pipeline()
pipe.Add(lambda frame: left.pop() if left else [])
pipe.Add(g3reduce.MPIReducer(g3reduce.Reduction("mine", operation="SUM", extract=extract), comm))
pipe.Run()
"""


@pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")
def test_an_error_at_a_frame_outside_of_guards_ends_the_job():
    done = subprocess.run(
        mpirun_command(2, [sys.executable, "-c", FAILING]),
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        env=mpirun_environment(),
    )
    assert done.returncode != 0
    assert "extract of the reduction 'mine' failed: KeyError: " in done.stderr
    assert "on rank 1)" in done.stderr
