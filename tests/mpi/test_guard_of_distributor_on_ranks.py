"""Inside a guard an error of a reader or of a worker reaches all, and work can go on."""

import os
import time
from pathlib import Path

import pytest
import skies
from guarded import FILES_PER_RANK, Failed, all_fail_together
from spt3g import core

import g3reduce


@pytest.fixture
def files(comm, shared_folder, on_first):
    """Two files for each rank, each with an Observation and two Map frames."""

    def write():
        return skies.write_files(
            shared_folder, FILES_PER_RANK * comm.size, "flat sparse", "polarized"
        )

    return on_first(write)


def distribute(comm, files, module=None, n_io=1, nested=True):
    """Readers and workers in a guard."""
    seen = []
    with g3reduce.guard(comm):
        coadder = g3reduce.MPIMapCoadder(comm, collate=True)
        pipe = core.G3Pipeline()
        pipe.Add(
            g3reduce.MPIIODistributor,
            mpicomm=comm,
            n_io=n_io,
            files=[files] if nested else files,
            dataframetype=[core.G3FrameType.Map, core.G3FrameType.Observation],
        )
        pipe.Add(lambda frame: seen.append(frame.type))
        if module:
            pipe.Add(module)
        pipe.Add(coadder)
        pipe.Run()
    return coadder, seen


def distribution_is_well(comm, files, n_io):
    coadder, _ = distribute(comm, files, n_io=n_io)
    found = comm.bcast({k: len(v["InputFiles"]) for k, v in coadder.coadd_frames.items()})
    assert found == {"90GHz": len(files), "150GHz": len(files)}


@pytest.mark.ranks(2, 3, 4)
@pytest.mark.parametrize("which", ["first", "later", "EndProcessing"])
def test_an_exception_on_a_worker_reaches_readers_and_workers(comm, files, which):
    failing, seen = comm.size - 1, []

    def module(frame):
        if comm.rank == failing and frame.type != core.G3FrameType.PipelineInfo:
            seen.append(frame)
            ends = frame.type == core.G3FrameType.EndProcessing
            if {"first": True, "later": len(seen) == 3, "EndProcessing": ends}[which]:
                raise Failed(which)
        time.sleep(0.01)

    n_io = 2 if comm.size == 4 else 1
    work = lambda: distribute(comm, files, module, n_io)  # noqa: E731
    all_fail_together(comm, work, failing, Failed, f"Failed: {which}", "obs_")
    distribution_is_well(comm, files, n_io)


@pytest.mark.ranks(2, 3, 4)
@pytest.mark.parametrize("nested", [True, False])
def test_a_broken_file_of_a_reader_reaches_workers(comm, files, nested):
    path = Path(files[-1])
    whole = path.read_bytes()
    comm.Barrier()
    if comm.rank == 0:
        os.truncate(path, len(whole) - 1000)
    comm.Barrier()
    n_io = 2 if comm.size == 4 else 1
    with pytest.raises(
        g3reduce.G3ReduceError, match=r"frame 2, byte \d+: this frame cannot be read"
    ) as caught:
        distribute(comm, files, None, n_io, nested)
    kinds = comm.allgather(type(caught.value))
    assert g3reduce.InputError in kinds[:n_io]
    assert set(kinds[n_io:]) == {g3reduce.RemoteError}
    if comm.rank == 0:
        path.write_bytes(whole)
    comm.Barrier()
    distribution_is_well(comm, files, n_io)
