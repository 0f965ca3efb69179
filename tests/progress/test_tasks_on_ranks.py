"""What is told of a look, a plan, a stitching and a conversion: the same of any number of ranks."""

import os

import numpy as np
import pytest
import scans
import skies

from g3reduce import check_files, cli, coadd_files, splits, stitch_files
from g3reduce.mpi import OneProcess
from g3reduce.progress import ReadAgain, StageBegun, read_log

N_FILES = 5


@pytest.fixture
def files(comm, shared_folder):
    if comm.rank == 0:
        skies.write_files(shared_folder, N_FILES, "flat sparse", "polarized")
    comm.Barrier()
    return sorted(str(file) for file in shared_folder.glob("*.g3"))


def stages(events):
    return [(one.stage, one.number, one.n_passes) for one in events if isinstance(one, StageBegun)]


def done(events, stage):
    """The files that were done in a stage."""
    now, found = None, []
    for one in events:
        now = one.stage if isinstance(one, StageBegun) else now
        found += [one.file] if one.kind == "file done" and now == stage else []
    return sorted(found)


@pytest.mark.ranks(1, 3)
def test_of_a_check(comm, files):
    if comm.rank == 0:
        os.truncate(files[1], os.path.getsize(files[1]) - 100)
    comm.Barrier()
    events = []
    checked = check_files(files, mpicomm=comm, collate=True, progress=events.append)
    assert bool(events) == (comm.rank == 0)
    if comm.rank == 0:
        assert (events[0].task, events[-1].outcome) == ("check", "done")
        assert stages(events) == [("looking", 1, 1)]
        assert done(events, "looking") == files
        bad = [one.file for one in events if one.kind == "file done" and not one.sound]
        assert bad == [checked.seen.files[at].name for at in checked.seen.bad] == [files[1]]
        totals = events[-1].totals
        assert (totals.files, totals.n_files, totals.set_aside) == (N_FILES, N_FILES, 1)


@pytest.mark.ranks(1, 3)
def test_of_a_look_a_plan_and_several_passes(comm, files):
    if comm.rank == 0:
        os.truncate(files[1], os.path.getsize(files[1]) - 100)
    comm.Barrier()
    events = []
    options = {"on_error": "skip", "assign": splits.bundles(2), "passes": 2}
    coadds = coadd_files(files, mpicomm=comm, progress=events.append, **options)
    if comm.rank == 0:
        assert len(coadds.left_out) == 1
        told = stages(events)
        assert told[:3] == [("looking", 1, 1), ("planning", 1, 1), ("reading", 1, 2)]
        assert told.count(("reading", 2, 2)) == 1
        assert not any(isinstance(one, ReadAgain) for one in events)
        assert done(events, "looking") == files
        good = files[:1] + files[2:]
        assert done(events, "planning") == good
        assert done(events, "reading") == sorted(2 * good)
        assert events[-1].totals.set_aside == 1


@pytest.mark.ranks(1, 3)
def test_of_a_stitching(comm, shared_folder):
    if comm.rank == 0:
        made = scans.an_observation(np.random.default_rng(1), gaps=[0, 1, 0])
        scans.write_files(shared_folder, made, 3)
    comm.Barrier()
    files = sorted(str(file) for file in shared_folder.glob("*.g3"))
    events, output = [], str(shared_folder / "whole.g3")
    stitch_files(files, output, mpicomm=comm, progress=events.append)
    if comm.rank == 0:
        assert len(files) == 3
        assert done(events, "reading") == files
        (written,) = (one for one in events if one.kind == "written")
        assert (written.file, written.n_bytes) == (output, os.path.getsize(output))
        assert stages(events) == [("reading", 1, 1), ("writing", 1, 1)]
        assert events[-1].totals.bytes == sum(map(os.path.getsize, files))


@pytest.mark.ranks(1)
def test_logs_of_commands(comm, files, shared_folder, monkeypatch, capsys):
    monkeypatch.chdir(shared_folder)
    log = shared_folder / "log"
    for words in (
        ["convert", *files, "-o", "out.fits"],
        ["check", *files, "--collate"],
        ["stitch", *files, "-o", "whole.g3"],
    ):
        cli.main([*words, "--log-json", str(log)])
        events = read_log(log)
        assert events[0].task == words[0]
        assert events[-1].outcome == ("failed" if words[0] == "stitch" else "done")
        assert sum(one.kind == "file done" for one in events) == N_FILES
        if words[0] == "convert":
            written = [one for one in events if one.kind == "written"]
            assert len(written) == len(list(shared_folder.glob("out*.fits"))) > 1
            assert stages(events) == [("reading", 1, 1)]
    assert isinstance(comm, OneProcess) or comm.size == 1
