"""Checkpoints of several ranks: all stop together, and others go on."""

import os
import signal

import pytest
import skies
from spt3g import core, maps

from g3reduce import InputError, RemoteError, Stopped, UsageError, coadd_files, unit_of
from g3reduce.jobs import checkpointcommit, checkpoints, resuming
from g3reduce.jobs.checkpointfolder import CheckpointFolder


@pytest.fixture
def place(survey, shared_folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "_COST", 0)
    monkeypatch.setattr(checkpointcommit, "_LOOK_S", 0)
    files = survey(8, "flat sparse", "polarized")
    return shared_folder, files


def assert_right(output, files):
    expected = maps.coadd_map_files(files, collate=True, output_map_id="")
    for frame in core.G3File(str(output)):
        theirs = skies.maps_by_plane(expected[frame["Id"]])
        for name, skymap in skies.maps_by_plane(frame).items():
            skies.assert_same_map(skymap, theirs[name], name)
        assert list(frame["InputFiles"]) == files


@pytest.mark.ranks(2, 3)
def test_a_signal_to_one_rank_stops_all(comm, place):
    folder, files = place
    output, kept = folder / "coadd.g3", folder / "kept"
    asked = []

    def assign(frame):
        if unit_of(frame).position >= 4 and not asked:
            asked.append(True)
            if comm.rank == comm.size - 1:
                os.kill(os.getpid(), signal.SIGTERM)
        return {frame["Id"]: 1}

    options = {"checkpoint": kept, "checkpoint_every": 1e-9, "schedule": "static"}
    with pytest.raises(Stopped, match=r"stopped at \d of 8 files; go on with resume=True"):
        coadd_files(files, output, mpicomm=comm, assign=assign, **options)
    assert not output.exists()
    # Fewer ranks go on.
    part = comm.Split(0 if comm.rank < comm.size - 1 else 1)
    if comm.rank < comm.size - 1:
        coadd_files(files, output, mpicomm=part, assign=assign, resume=True, checkpoint=kept)
        if comm.rank == 0:
            assert_right(output, files)
            assert sorted(os.listdir(kept)) == ["complete.json", "lock"]
    part.Free()


@pytest.mark.ranks(2)
def test_a_folder_that_only_one_host_sees(comm, place, monkeypatch):
    folder, files = place
    path = CheckpointFolder.file
    if comm.rank == 1:
        monkeypatch.setattr(CheckpointFolder, "file", lambda self, name: path(self, f"no-{name}"))
    with pytest.raises(Exception, match="not the same folder on all hosts") as raised:
        coadd_files(files, folder / "coadd.g3", mpicomm=comm, checkpoint=folder / "kept")
    assert isinstance(raised.value, UsageError) == (comm.rank == 1)


@pytest.mark.ranks(2)
def test_what_was_done_but_cannot_be_read_is_told_on_all_ranks(comm, place):
    """Only one rank reads it; the others do not go on without that."""
    folder, files = place
    output, kept = folder / "coadd.g3", folder / "kept"
    coadd_files(files, output, mpicomm=comm, collate=True, checkpoint=kept)
    if comm.rank == 0:
        status = os.stat(output)
        output.write_bytes(b"\0" * status.st_size)
        os.utime(output, ns=(status.st_atime_ns, status.st_mtime_ns))
    comm.Barrier()
    with pytest.raises(Exception, match=r"coadd\.g3") as raised:
        coadd_files(files, output, mpicomm=comm, collate=True, checkpoint=kept, resume=True)
    assert isinstance(raised.value, InputError if comm.rank == 0 else RemoteError)


@pytest.mark.ranks(2)
@pytest.mark.parametrize(
    ("where", "what"),
    [(CheckpointFolder, "tidy"), (CheckpointFolder, "clear"), (resuming, "read_member")],
)
def test_one_rank_that_cannot_go_on_from_a_checkpoint_ends_all(
    comm, place, monkeypatch, where, what
):
    """Fewer ranks than there were may not have the memory for all sums, for example."""
    folder, files = place
    options = {"mpicomm": comm, "collate": True, "checkpoint": folder / "kept"}
    with pytest.raises(Stopped):
        coadd_files(files, folder / "coadd.g3", **options, stop_after=1e-6)

    def fail(*args):
        raise MemoryError("no memory for it")

    failing = 1 if where is resuming else 0
    if comm.rank == failing:
        monkeypatch.setattr(where, what, fail)
    with pytest.raises(MemoryError if comm.rank == failing else RemoteError, match="no memory"):
        coadd_files(files, folder / "coadd.g3", **options, resume=True)


@pytest.mark.ranks(2)
def test_work_goes_on_without_a_set_that_cannot_be_committed(comm, place, monkeypatch):
    folder, files = place
    tried = []

    def fail(self, manifest):
        tried.append(manifest)
        raise MemoryError

    monkeypatch.setattr(CheckpointFolder, "commit", fail)
    output, kept = folder / "coadd.g3", folder / "kept"
    options = {"checkpoint": kept, "checkpoint_every": 1e-9, "schedule": "static"}
    coadd_files(files, output, mpicomm=comm, collate=True, output_map_id="", **options)
    if comm.rank == 0:
        assert tried
        assert_right(output, files)
