"""What goes wrong on one rank is an error on all, with the file, and leaves nothing behind."""

import os

import pytest
import skies
from spt3g import core, maps

import g3reduce
from g3reduce.mpi.agreement import agree


def coadd_and_fail(comm, files, output, kind, text, **options):
    """Coadd files of which one is wrong; every rank must raise, some rank this."""
    with pytest.raises(g3reduce.G3ReduceError) as caught:
        g3reduce.coadd_files(files, output, mpicomm=comm, **options)
    errors = comm.allgather((type(caught.value), str(caught.value)))
    mine = [message for error, message in errors if error is kind]
    assert mine, errors
    assert all(text in message for message in mine), errors
    # The others say which rank failed, and how.
    assert all(error in (kind, g3reduce.RemoteError) for error, _ in errors), errors
    assert all(
        "rank" in message and text in message for error, message in errors if error is not kind
    )
    comm.Barrier()
    assert [name for name in os.listdir(output.parent) if "coadd" in name] == []


@pytest.mark.ranks(2, 3)
def test_a_truncated_file_is_named_on_all_ranks(comm, shared_folder, on_first):
    def write():
        files = skies.write_files(shared_folder, 6, "flat sparse", "polarized")
        with open(files[3], "r+b") as stream:
            stream.truncate(os.path.getsize(files[3]) - 1000)
        return files

    files = on_first(write)
    text = "obs_003.g3, frame 2, byte "
    coadd_and_fail(comm, files, shared_folder / "coadd.g3", g3reduce.InputError, text)


@pytest.mark.ranks(2, 3)
def test_all_unusable_files_are_listed(comm, shared_folder, on_first):
    def write():
        files = skies.write_files(shared_folder, 3, "flat sparse", "polarized")
        open(files[1], "w").close()
        with open(files[2], "w") as stream:
            stream.write("this is no .g3 file")
        return files

    files = on_first(write)
    with pytest.raises(g3reduce.G3ReduceError) as caught:
        g3reduce.coadd_files([*files, str(shared_folder / "none.g3")], mpicomm=comm)
    everything = "\n".join(comm.allgather(str(caught.value)))
    for text in ("obs_001.g3: empty", "obs_002.g3: no .g3 file", "none.g3: missing"):
        assert text in everything


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("strategy", ["gather", "tree", "allreduce"])
@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        ("units", core.G3TimestreamUnits.Power, "T differs in units, Tcmb and Power"),
        ("coord_ref", maps.MapCoordReference.Galactic, "coord_ref, Equatorial and Galactic"),
        ("pol_conv", maps.MapPolConv.COSMO, "pol_conv, IAU and COSMO"),
        ("flat_pol", True, "Q differs in flat_pol, False and True"),
        ("weighted", False, "T differs in weighted, True and False"),
        ("delta_center", 0.2, "delta_center"),
    ],
)
def test_maps_that_disagree_between_ranks_are_not_joined(
    comm, shared_folder, on_first, strategy, attribute, value, text
):
    """Each rank reads one file, so that it can only be noticed when they meet."""

    def write():
        files = []
        for rank in range(comm.size):
            frame = skies.map_frame("flat sparse", "no weights", seed=rank)
            if rank == comm.size - 1:
                for key in ("T", "Q", "U"):
                    skymap = frame.pop(key)
                    setattr(skymap, attribute, value)
                    frame[key] = skymap
            files.append(str(shared_folder / f"obs_{rank:04d}.g3"))
            with core.G3Writer(files[-1]) as writer:
                writer(frame)
        return files

    files = on_first(write)
    # Both orders are fine: what matters is that file, attribute and both values are there.
    with pytest.raises(g3reduce.MismatchError) as caught:
        g3reduce.coadd_files(
            files,
            shared_folder / "coadd.g3",
            mpicomm=comm,
            schedule="static",
            strategy=strategy,
            ignore_missing_weights=True,
        )
    message = str(caught.value)
    assert f"obs_{comm.size - 1:04d}.g3, frame 0 (Id '150GHz') on rank {comm.size - 1}" in message
    assert "obs_0000.g3, frame 0 (Id '150GHz') on rank 0" in message
    values = text.split(", ")[-1].split(" and ")
    assert all(part in message for part in [attribute, *values])
    assert not (shared_folder / "coadd.g3").exists()


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("reader", ["MPIFileReader", "G3Reader"])
def test_a_file_that_every_rank_reads_is_not_summed_p_times(comm, survey, reader):
    files = survey(2, "flat sparse", "polarized")
    coadder = g3reduce.MPIMapCoadder(comm)
    pipe = core.G3Pipeline()
    if reader == "MPIFileReader":
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=files)  # not a nested list
    else:
        pipe.Add(core.G3Reader, filename=files, track_filename=True)
    pipe.Add(coadder)
    with pytest.raises(
        g3reduce.DuplicateError,
        match=r"obs_000\.g3, (frame 1|map 0) was counted on rank 0 and on rank 1.*nested list",
    ):
        pipe.Run()
    assert coadder.coadd_frames == {}


@pytest.mark.ranks(2, 3)
def test_arguments_that_differ_between_ranks_are_refused(comm):
    with pytest.raises(g3reduce.UsageError, match="must be the same on all ranks"):
        g3reduce.MPIMapCoadder(comm, root=comm.rank)
    with pytest.raises(g3reduce.UsageError, match="must be the same on all ranks: files is"):
        g3reduce.MPIFileReader(comm, [[__file__ + ".g3"] * comm.rank])


@pytest.mark.ranks(2)
def test_a_strategy_that_cannot_put_the_result_there_is_refused(comm):
    with pytest.raises(g3reduce.UsageError, match=r"'tree' cannot.*these can: auto, allreduce"):
        g3reduce.MPIMapCoadder(comm, strategy="tree", result="all")
    with pytest.raises(g3reduce.UsageError, match="expected one of auto, gather, tree, allreduce"):
        g3reduce.MPIMapCoadder(comm, strategy="ring")


@pytest.mark.ranks(2, 3)
def test_an_error_on_one_rank_is_raised_on_all_and_the_communicator_still_works(comm):
    error = ValueError("this rank is wrong") if comm.rank == 1 else None
    with pytest.raises(ValueError if comm.rank == 1 else g3reduce.RemoteError) as caught:
        agree(comm, error)
    if comm.rank != 1:
        assert str(caught.value) == "another rank failed (rank 1: ValueError: this rank is wrong)"
    assert comm.allreduce(1) == comm.size


@pytest.mark.ranks(2, 3)
def test_output_that_cannot_be_written_is_an_error_on_all_ranks(comm, shared_folder, survey):
    files = survey(2, "flat sparse", "polarized")
    output = shared_folder / "missing" / "coadd.g3"
    with pytest.raises(g3reduce.G3ReduceError, match="there is no folder"):
        g3reduce.coadd_files(files, output, mpicomm=comm)
