"""Files, folders and disks that fail while a coadd runs: a clear error on all ranks.

The old output stays as it is, and nothing else is left behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import time

import pytest
import skies
from choices import some_of
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, OutputError, RemoteError, coadd_files

N_RANKS = some_of([1, 3], fewer=[3])
OLD = b"something old"


@pytest.fixture
def season(comm, shared_folder, on_first, limits):
    """Files that are read piece by piece, in a folder beside that of the output, an old one."""
    limits(small_frame=0)

    def write():
        for name in ("in", "out"):
            (shared_folder / name).mkdir()
        (shared_folder / "out" / "coadd.g3").write_bytes(OLD)
        return skies.write_files(shared_folder / "in", 6, "flat dense", "polarized")

    return on_first(write)


def coadd_while(comm, files, happens, at=None, **arguments):
    """Coadd files, while something happens at the first map of some (the fourth, by default).

    Returns
    -------
    list of (type, str)
        The errors of all ranks.
    """

    def assign(frame):
        file = g3reduce.unit_of(frame).file
        if file in (at or files[3:4]) and frame["Id"] == "90GHz":
            happens(file)
        return {frame["Id"]: 1}

    output = os.path.join(os.path.dirname(os.path.dirname(files[0])), "out", "coadd.g3")
    error = None
    try:
        coadd_files(files, output, mpicomm=comm, assign=assign, **arguments)
    except g3reduce.G3ReduceError as caught:
        error = caught
    return comm.allgather((type(error), str(error)))


def assert_told(errors, kind, *texts):
    """One rank raises this, the others say which and why."""
    (told,) = {text for found, text in errors if found is kind}
    assert all(text in told for text in texts), told
    assert all(found in (kind, RemoteError) for found, _ in errors), errors
    assert all(text in message for _, message in errors for text in texts), errors


def assert_untouched(folder):
    assert os.listdir(folder / "out") == ["coadd.g3"]
    assert (folder / "out" / "coadd.g3").read_bytes() == OLD


def cut(file):
    os.truncate(file, os.path.getsize(file) // 2)


def emptied(file):
    os.truncate(file, 0)


def changed(file):
    with open(file, "r+b") as stream:
        stream.seek(-1000, os.SEEK_END)
        stream.write(b"x")


def written_anew(file):
    """By whoever makes the maps, in place, with other pixels."""
    other = file.replace("003", "004")
    shutil.copyfile(other, file)


def replaced(file):
    """By one whose frames are as long and right."""
    copy = f"{file}.new"
    shutil.copyfile(file.replace("003", "004"), copy)
    os.replace(copy, file)


MEANWHILE = {
    cut: "obs_003.g3",
    emptied: "obs_003.g3",
    changed: "obs_003.g3",
    written_anew: "obs_003.g3",
}


@pytest.mark.ranks(*N_RANKS)
@pytest.mark.parametrize("happens", MEANWHILE, ids=lambda happens: happens.__name__)
def test_a_file_that_changes_while_it_is_read(comm, season, shared_folder, happens):
    errors = coadd_while(comm, season, happens)
    assert_told(errors, InputError, MEANWHILE[happens])
    comm.Barrier()
    assert_untouched(shared_folder)


@pytest.mark.ranks(*N_RANKS)
@pytest.mark.parametrize("happens", [replaced, os.unlink], ids=["replaced", "deleted"])
def test_a_file_that_gets_another_name_is_read_to_its_end(comm, season, shared_folder, happens):
    """Or it is an error; but it is never a part of one and a part of the other."""
    by_spt3g = maps.coadd_map_files(season, collate=True, output_map_id="")
    comm.Barrier()
    errors = coadd_while(comm, season, happens)
    if errors[0][0] is not type(None):
        assert_told(errors, InputError, "obs_003.g3")
        assert_untouched(shared_folder)
        return
    for frame in core.G3File(str(shared_folder / "out" / "coadd.g3")):
        skies.assert_same_coadd(frame, by_spt3g[frame["Id"]])


@pytest.mark.ranks(*N_RANKS)
def test_a_folder_of_input_that_vanishes(comm, season, shared_folder):
    def vanish(file):
        """On the first rank; the others wait for it, each in its first file."""
        if file == season[0]:
            os.rename(shared_folder / "in", shared_folder / "gone")
        while (shared_folder / "in").exists():
            time.sleep(0.01)

    errors = coadd_while(comm, season, vanish, season[: comm.size], schedule="static")
    told = {text for kind, text in errors if kind is InputError}
    assert told
    assert all(".g3: No such file or directory." in text.split("\n")[0] for text in told), errors
    assert all("All 6 files cannot be used:" in text for text in told), errors
    assert all(kind in (InputError, RemoteError) for kind, _ in errors), errors
    comm.Barrier()
    assert_untouched(shared_folder)


@pytest.mark.ranks(*N_RANKS)
def test_a_folder_of_output_that_vanishes(comm, season, shared_folder):
    errors = coadd_while(comm, season, lambda file: shutil.rmtree(shared_folder / "out"))
    assert_told(errors, OutputError, "coadd.g3: ", "No such file or directory")
    comm.Barrier()
    assert os.listdir(shared_folder) == ["in"]


@pytest.fixture
def as_nobody():
    """Root may write everywhere, so that root becomes another user meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.ranks(*N_RANKS)
def test_a_folder_of_output_that_may_not_be_written_any_more(
    comm, season, shared_folder, on_first, request
):
    on_first(lambda: subprocess.run(["chmod", "-R", "a+rwX", shared_folder], check=True))
    request.getfixturevalue("as_nobody")
    errors = coadd_while(comm, season, lambda file: _forbid(shared_folder / "out"))
    assert_told(errors, OutputError, "coadd.g3: ", "Permission denied")
    comm.Barrier()
    assert_untouched(shared_folder)


def _forbid(folder):
    """As its owner."""
    user = os.geteuid()
    os.seteuid(os.getuid())
    os.chmod(folder, 0o555)
    os.seteuid(user)


# Disks


@pytest.fixture
def small_disk(comm, season, shared_folder, on_first):
    """A file system of 256 KiB, on which the old output is."""
    folder = shared_folder / "out"

    def mount():
        command = ["mount", "-t", "tmpfs", "-o", "size=256k", "g3reduce-test", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            return "there is no mount here"
        if done.returncode:
            return f"a small file system cannot be mounted here: {done.stderr.strip()}"
        (folder / "coadd.g3").write_bytes(OLD)
        return None

    if reason := on_first(mount):
        pytest.skip(reason)
    yield folder
    comm.Barrier()
    if comm.rank == 0:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    """Other jobs write, too."""
    with contextlib.suppress(OSError), open(folder / "other.dat", "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.ranks(*N_RANKS)
def test_a_disk_that_others_fill(comm, season, small_disk, shared_folder):
    errors = coadd_while(comm, season, lambda file: fill(small_disk))
    assert_told(errors, OutputError, "coadd.g3: ", os.strerror(errno.ENOSPC))
    comm.Barrier()
    if comm.rank == 0:
        (small_disk / "other.dat").unlink()
        assert_untouched(shared_folder)


@pytest.mark.ranks(*N_RANKS)
def test_a_disk_that_may_only_be_read_any_more(comm, season, small_disk, shared_folder):
    """As the system makes it after errors of the disk."""

    def protect(file):
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    errors = coadd_while(comm, season, protect)
    assert_told(errors, OutputError, "coadd.g3: ", os.strerror(errno.EROFS))
    comm.Barrier()
    assert_untouched(shared_folder)
