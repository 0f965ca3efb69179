"""An interrupt ends the work of one rank, which catches it: the others do not wait for ever."""

import numpy as np
import pytest
import scans

from g3reduce import MPIMapCoadder, UsageError, coadd_files
from g3reduce.mpi import communicators
from g3reduce.mpi.agreement import agree
from g3reduce.progress.watching import Watch
from g3reduce.stitching.scanfiles import read_files


def assert_all_hear(comm, work, place):
    """The last rank leaves the work by an interrupt and goes on; all hear that they are apart."""
    private, last = communicators.private(comm), comm.size - 1
    if comm.rank == last:
        with pytest.raises(KeyboardInterrupt):
            work()
    apart = f"Rank 0 is at {place}, but rank {last} is at something else"
    with pytest.raises(UsageError, match=apart):
        work() if comm.rank != last else agree(private, what="something else")
    agree(private)


@pytest.mark.ranks(2, 3)
def test_while_files_of_scans_are_read(comm, shared_folder):
    if comm.rank == 0:
        made = scans.an_observation(np.random.default_rng(1), gaps=[0, 1, 0])
        scans.write_files(shared_folder, made, comm.size)
    comm.Barrier()
    names = sorted(map(str, shared_folder.glob("*.g3")))

    def take(frame):
        if comm.rank == comm.size - 1:
            raise KeyboardInterrupt

    private = communicators.private(comm)

    def read():
        with Watch(private, "stitch", None) as watch:
            watch.expect_files(names)
            read_files(private, names, "static", take, watch)

    assert_all_hear(comm, read, "the end of the files")


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("on_error", ["error", "skip"])
def test_while_maps_are_added(comm, survey, monkeypatch, on_error):
    files = survey(2 * comm.size, "flat sparse", "polarized")

    def interrupted(coadder, pending):
        raise KeyboardInterrupt

    if comm.rank == comm.size - 1:
        monkeypatch.setattr(MPIMapCoadder, "add_taken", interrupted)

    def add():
        coadd_files(files, mpicomm=comm, collate=True, schedule="static", on_error=on_error)

    place = "the end of adding" if on_error == "skip" else "the end of processing"
    assert_all_hear(comm, add, place)
