"""The same observation twice, on different ranks."""

import functools
import os
import random
import re

import pytest
from families import BANDS, Family, value_of, write
from spt3g import core, maps

import g3reduce
from g3reduce import DuplicateError, RemoteError
from g3reduce.mpi.communicators import OneProcess


def outcome_of(comm, files, *, pipeline, schedule="dynamic", **options):
    """The value of a coadd, or what was said of why there is none; the same on all ranks."""
    try:
        if not pipeline:
            coadd = g3reduce.coadd_files(
                files, mpicomm=comm, result="all", schedule=schedule, **options
            )
            return value_of(coadd.frame)
        coadder = g3reduce.MPIMapCoadder(comm, result="all", **options)
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule=schedule)
        pipe.Add(coadder)
        with g3reduce.guard(comm):
            pipe.Run()
        return value_of(coadder.coadd_frame)
    except (DuplicateError, RemoteError) as error:
        return str(error)


@pytest.mark.ranks(1, 2, 3)
@pytest.mark.parametrize(("pipeline", "seed"), [(False, 1), (True, 3)])
def test_families_are_summed_right_or_refused(comm, shared_folder, on_first, pipeline, seed):
    def make():
        by = functools.partial(g3reduce.coadd_files, mpicomm=OneProcess())
        return Family(str(shared_folder), random.Random(seed), relative=False, by=by)

    family = on_first(make)
    rng = random.Random(seed)
    outcomes = set()
    for schedule in ("static", "dynamic") * 2:
        files = rng.sample(sorted(family.within), rng.randint(2, 3))
        inside = sum((family.within[name] for name in files), type(family.within[files[0]])())
        way = {"pipeline": pipeline, "schedule": schedule}
        outcome = outcome_of(comm, files, **way)
        outcomes.add(type(outcome))
        if isinstance(outcome, str):
            assert family.overlap(files), outcome
            assert sum(f"{name}, frame " in outcome for name in files) == 2, outcome
            assert "both contain" in outcome
            outcome = outcome_of(comm, files, on_duplicate="sum", **way)
        else:
            assert not family.overlap(files)
        assert outcome == family.sum_of(inside)
    assert outcomes == {str, float}


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("pipeline", [False, True], ids=["coadd_files", "pipeline"])
def test_other_names_of_a_file_are_noticed_on_another_rank(comm, shared_folder, on_first, pipeline):
    def make():
        file = write(str(shared_folder / "a.g3"), dict.fromkeys(BANDS, 1.0))
        os.link(file, shared_folder / "link.g3")
        return [file, str(shared_folder / "link.g3")]

    files = on_first(make)
    outcome = outcome_of(comm, files, pipeline=pipeline, schedule="static")
    assert re.search(r"link.g3, frame 0 (came twice|was counted on rank 0 and on rank 1)", outcome)
    both = outcome_of(comm, files, pipeline=pipeline, on_duplicate="sum")
    assert both == 4


@pytest.mark.ranks(2)
def test_what_cannot_be_known_is_said_once(comm, shared_folder, on_first, monkeypatch, caplog):
    def make():
        for night in range(2):
            os.mkdir(shared_folder / f"night{night}")
            monkeypatch.chdir(shared_folder / f"night{night}")
            write("maps.g3", {"90GHz": 10.0**night})
            with core.G3Writer("coadd.g3") as writer:
                writer(maps.coadd_map_files(["maps.g3"]))
            os.unlink("maps.g3")

    on_first(make)
    monkeypatch.chdir(shared_folder)
    files = [f"night{night}/coadd.g3" for night in range(2)]
    assert outcome_of(comm, files, pipeline=False, schedule="static") == 11
    messages = [record.getMessage() for record in caplog.records]
    said = [text for text in messages if "is not known whether both mean" in text]
    assert len(said) == (1 if comm.rank == 0 else 0)
    assert all(f"{files[0]}, frame 0 and {files[1]}, frame 0" in text for text in said)
    monkeypatch.chdir("/")
