"""The module that shows how far a pipeline is."""

import gc
import os
import sys
import time
import types

import pytest
import skies
from patience import HANGS_S
from spt3g import core

import g3reduce
from g3reduce.progress import unended

N_FILES = 5


@pytest.fixture
def files(comm, shared_folder):
    if comm.rank == 0:
        skies.write_files(shared_folder, N_FILES, "flat sparse", "hits")
    comm.Barrier()
    return sorted(str(file) for file in shared_folder.glob("*.g3"))


@pytest.mark.ranks(1, 3)
@pytest.mark.parametrize("source", ["reader", "distributor", "spt3g"])
def test_all_frames_and_files_of_all_ranks_are_counted(comm, files, source):
    events, seen = [], []
    pipe, given = core.G3Pipeline(), [files]
    if source == "reader":
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=given)
    elif source == "distributor":
        data = [core.G3FrameType.Map, core.G3FrameType.Observation]
        pipe.Add(g3reduce.MPIIODistributor, mpicomm=comm, files=given, dataframetype=data)
    else:
        mine = files[comm.rank :: comm.size]
        pipe.Add(core.G3Reader, filename=mine, track_filename=True)
    pipe.Add(g3reduce.ProgressModule, mpicomm=comm, files=given, progress=events.append)
    pipe.Add(lambda frame: seen.append(frame.type))
    pipe.Run()
    kinds = (core.G3FrameType.Map, core.G3FrameType.Observation)
    n_frames = sum(comm.allgather(sum(kind in kinds for kind in seen)))
    assert bool(events) == (comm.rank == 0)
    if comm.rank == 0:
        totals = events[-1].totals
        assert [one.kind for one in events[:2]] == ["begun", "stage"]
        assert events[-1].outcome == "done"
        assert (totals.files, totals.n_files) == (N_FILES, N_FILES)
        assert totals.frames >= n_frames == 3 * N_FILES
        assert sorted(one.file for one in events if one.kind == "file done") == files
        if source != "spt3g":
            assert 0 < totals.bytes <= sum(map(os.path.getsize, files))


@pytest.mark.parametrize("by", ["with", "dropped", "traceback", "cell"])
def test_a_pipeline_that_fails_ends_what_is_shown(files, monkeypatch, by):
    events, outcomes = [], []
    monkeypatch.setattr(
        sys, "excepthook", lambda *error: outcomes.append(events[-1].kind == "ended")
    )

    def fail(frame):
        raise ValueError("this frame is bad")

    def run(module):
        pipe = core.G3Pipeline()
        pipe.Add(core.G3Reader, filename=files)
        pipe.Add(module)
        pipe.Add(fail)
        pipe.Run()

    module = g3reduce.ProgressModule(None, files, events.append)
    try:
        if by == "with":
            with module:
                run(module)
        else:
            run(module)
    except ValueError:
        if by == "traceback":
            sys.excepthook(*sys.exc_info())
            assert outcomes == [True]
    else:
        pytest.fail("it did not fail")
    if by == "cell":
        unended._cell_ended(types.SimpleNamespace(error_in_exec=ValueError("this frame is bad")))
    del module
    gc.collect()
    assert [one.kind for one in events].count("ended") == 1
    assert (events[-1].kind, events[-1].outcome) == ("ended", "failed")
    known = "the work did not come to its end" if by == "dropped" else "ValueError: this frame is"
    assert events[-1].reason.startswith(known)


@pytest.mark.ranks(3)
def test_a_rank_that_fails_ends_what_the_first_one_shows(comm, files):
    events, frame = [], core.G3Frame(core.G3FrameType.Map)
    module = g3reduce.ProgressModule(comm, files, events.append)
    module(frame)
    comm.Barrier()
    if comm.rank == 2:
        module.__exit__(ValueError, ValueError("this frame is bad"), None)
    end = time.monotonic() + HANGS_S
    while comm.rank == 0 and events[-1].kind != "ended" and time.monotonic() < end:
        time.sleep(0.05)
    comm.Barrier()
    if comm.rank == 0:
        assert (events[-1].outcome, events[-1].reason) == ("failed", "rank 2 failed")
    module.__exit__(None, None, None)
    assert [one.kind for one in events].count("ended") == (comm.rank == 0)
