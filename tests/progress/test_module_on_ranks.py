"""The module that shows how far a pipeline is."""

import os

import pytest
import skies
from spt3g import core

import g3reduce

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
