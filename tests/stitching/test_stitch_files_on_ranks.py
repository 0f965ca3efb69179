"""From files of scans to a file of whole observations, on several ranks."""

import contextlib
import os

import numpy as np
import pytest
import scans
from filesizes import no_file_longer_than
from spt3g import core

from g3reduce import OutputError, RemoteError, stitch_files
from g3reduce.mpi.communicators import OneProcess
from g3reduce.stitching import prefaces


def rng(seed=1):
    return np.random.default_rng(seed)


@pytest.mark.ranks(2, 3)
def test_any_number_of_ranks_writes_the_same_bytes(comm, shared_folder):
    if comm.rank == 0:
        for obs in (1000, 1001):
            made = scans.an_observation(
                rng(obs), gaps=[0, 1, 0], obs=obs, detectors="abcde", detector_flags="bool"
            )
            scans.write_files(shared_folder, made, 2, f"obs_{obs}")
    comm.Barrier()
    pattern = str(shared_folder / "obs_*.g3")
    options = {"detector_flags": scans.DETECTOR_FLAGS, "gaps": "fill"}
    for number in (None, 2):
        many, one = (shared_folder / f"{name}{number}.g3" for name in ("many", "one"))
        planned = stitch_files(pattern, many, mpicomm=comm, dry_run=True, **options)
        assert not many.exists()
        told = stitch_files(pattern, many, mpicomm=comm, detectors_per_frame=number, **options)
        assert len(told) == 2
        assert planned == told
        assert comm.allgather(told) == [told] * comm.size
        if comm.rank == 0:
            again = stitch_files(
                pattern, one, mpicomm=OneProcess(), detectors_per_frame=number, **options
            )
            assert again == told
            assert many.read_bytes() == one.read_bytes()


@pytest.mark.ranks(1, 3)
@pytest.mark.parametrize("name", ["out.g3", "out.g3.gz"])
def test_output_that_finds_no_room_is_told_on_all_ranks(comm, shared_folder, name):
    if comm.rank == 0:
        scans.write_files(shared_folder, scans.an_observation(rng(), detectors="abcdef"), 2)
        (shared_folder / name).write_bytes(b"something old")
    comm.Barrier()
    error = OutputError if comm.rank == 0 else RemoteError
    limited = no_file_longer_than(1000) if comm.rank == 0 else contextlib.nullcontext()
    with limited, pytest.raises(error, match=rf"{name}: writing failed \(File too large\)"):
        stitch_files(str(shared_folder / "obs_*.g3"), shared_folder / name, mpicomm=comm)
    comm.Barrier()
    assert [each for each in os.listdir(shared_folder) if "out" in each] == [name]
    assert (shared_folder / name).read_bytes() == b"something old"


@pytest.mark.ranks(2)
def test_pipeline_infos_that_cannot_be_joined_are_told_on_all_ranks(
    comm, shared_folder, monkeypatch
):
    """They may hold an object of a class that is not known here. Rank 0 alone joins them."""
    if comm.rank == 0:
        scans.write_files(shared_folder, scans.an_observation(rng()), 2)
        for number, file in enumerate(sorted(shared_folder.glob("obs_*.g3"))):
            info = core.G3Frame(core.G3FrameType.PipelineInfo)
            info["number"] = number
            frames = list(core.G3File(str(file)))
            with core.G3Writer(str(file)) as writer:
                for frame in [info, *frames]:
                    writer(frame)
    comm.Barrier()

    def fail(frame, content):
        raise RuntimeError("a class that nobody knows")

    if comm.rank == 0:
        monkeypatch.setattr(prefaces, "add_keys", fail)
    error = RuntimeError if comm.rank == 0 else RemoteError
    with pytest.raises(error, match="a class that nobody knows"):
        stitch_files(str(shared_folder / "obs_*.g3"), shared_folder / "out.g3", mpicomm=comm)
