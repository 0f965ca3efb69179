"""Checkpoints that cannot be written any more: the coadd goes on, says so, and is right.

And if it was to stop, it tells that what it did last is lost.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import time

import pytest
import skies
from choices import some_of
from spt3g import core, maps

import g3reduce
from g3reduce import coadd_files
from g3reduce.jobs import checkpoints
from g3reduce.jobs.checkpointfolder import CheckpointFolder

N_RANKS = some_of([1, 3], fewer=[3])
SOON = 1e-9  # seconds: a checkpoint wherever there can be one


def vanish(disk):
    """The folder is moved elsewhere; a file system can only be hidden."""
    os.rename(disk / "checkpoints", disk / "gone")


def fill(disk):
    """Until it stays full: what other ranks begin to write meanwhile is given up, and filled."""
    end = time.monotonic() + 0.5
    with open(disk / "other.dat", "wb", buffering=0) as file:
        while time.monotonic() < end:
            try:
                file.write(bytes(4096))
            except OSError:
                time.sleep(0.01)


FAULTS = {vanish: errno.ENOENT, fill: errno.ENOSPC}


@pytest.fixture
def disk(comm, shared_folder, on_first):
    """A small file system."""
    folder = shared_folder / "disk"

    def mount():
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "g3reduce-test", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            return "there is no mount here"
        return done.stderr.strip() and f"it cannot be mounted here: {done.stderr.strip()}"

    if reason := on_first(mount):
        pytest.skip(reason)
    yield folder
    comm.Barrier()
    if comm.rank == 0:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(autouse=True)
def at_all_borders(monkeypatch):
    """Checkpoints, whatever they cost; and a full disk stays full while old ones are removed."""
    monkeypatch.setattr(checkpoints, "_COST", 0)
    monkeypatch.setattr(CheckpointFolder, "remove", lambda folder, name: None)


@pytest.fixture
def files(shared_folder, on_first):
    return on_first(lambda: skies.write_files(shared_folder, 9, "flat sparse", "polarized"))


def at_the_fifth_file(files, happens):
    """By Id; and something happens on one rank, once."""
    done = []

    def assign(frame):
        if g3reduce.unit_of(frame).file == files[4] and not done:
            done.append(happens())
        return {frame["Id"]: 1}

    return assign


def assert_right(output, files):
    expected = maps.coadd_map_files(files, collate=True, output_map_id="")
    for frame in core.G3File(str(output)):
        skies.assert_same_coadd(frame, expected[frame["Id"]])


@pytest.mark.ranks(*N_RANKS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_coadd_goes_on_without_its_checkpoints(comm, files, disk, caplog, fault):
    output = disk.parent / "coadd.g3"
    with caplog.at_level(logging.WARNING, "g3reduce"):
        coadd_files(
            *(files, output),
            mpicomm=comm,
            assign=at_the_fifth_file(files, lambda: fault(disk)),
            checkpoint=disk / "checkpoints",
            checkpoint_every=SOON,
        )
    told = "\n".join(comm.allgather(caplog.text))
    assert os.strerror(FAULTS[fault]) in told
    assert "the work goes on" in told
    assert_right(output, files)


@pytest.mark.ranks(*N_RANKS)
def test_a_disk_that_is_full_when_the_work_is_to_stop(comm, files, disk):
    """What was committed before is there, and from there the work goes on."""
    output = disk.parent / "coadd.g3"

    def fill_and_stop():
        fill(disk)
        os.kill(os.getpid(), signal.SIGTERM)

    kept = {"mpicomm": comm, "checkpoint": disk / "checkpoints", "checkpoint_every": SOON}
    with pytest.raises(g3reduce.G3ReduceError) as caught:
        coadd_files(files, output, assign=at_the_fifth_file(files, fill_and_stop), **kept)
    errors = comm.allgather((type(caught.value), str(caught.value)))
    assert any("the last checkpoint could not be written" in text for _, text in errors), errors
    assert all(kind is not g3reduce.Stopped for kind, _ in errors), errors
    assert not output.exists()
    comm.Barrier()
    if comm.rank == 0:
        (disk / "other.dat").unlink()
    comm.Barrier()
    coadd_files(files, output, assign=at_the_fifth_file(files, int), **kept, resume=True)
    assert_right(output, files)
