"""What users do by mistake on several ranks: an error that says so, or it just works."""

import os

import numpy as np
import pytest
import skies
from spt3g import core, maps

import g3reduce


@pytest.fixture
def files(comm, survey):
    return survey(5, "flat sparse", "polarized")


@pytest.mark.ranks(2, 3)
def test_lists_of_files_that_differ_between_ranks_are_refused(comm, files):
    """Dealing files out by hand is the usual idiom, and would lose all but rank 0's."""
    with pytest.raises(g3reduce.UsageError, match="must be the same on all ranks: files is"):
        g3reduce.coadd_files(files[comm.rank :: comm.size], mpicomm=comm)


@pytest.mark.ranks(2, 3)
def test_the_output_may_be_named_on_the_root_only(comm, files, shared_folder):
    output = shared_folder / "coadd.g3"
    root = comm.size - 1
    g3reduce.coadd_files(files, output if comm.rank == root else None, mpicomm=comm, root=root)
    comm.Barrier()
    (frame,) = core.G3File(str(output))
    skies.assert_same_coadd(frame, maps.coadd_map_files(files))


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("tracked", [True, False])
def test_spt3gs_reader_left_on_every_rank_is_noticed(comm, files, tracked):
    """The mistake of porting: a new coadder behind the old reader sums everything P times."""
    coadder = g3reduce.MPIMapCoadder(comm)
    pipe = core.G3Pipeline()
    pipe.Add(core.G3Reader, filename=files, track_filename=tracked)
    pipe.Add(coadder)
    text = "was counted on rank" if tracked else "to the very same maps.*MPIFileReader"
    with pytest.raises(g3reduce.DuplicateError, match=text):
        pipe.Run()
    again = g3reduce.MPIMapCoadder(comm, on_duplicate="sum", result="all")
    pipe = core.G3Pipeline()
    pipe.Add(core.G3Reader, filename=files, track_filename=tracked)
    pipe.Add(again)
    pipe.Run()
    serial = maps.coadd_map_files(files)
    np.testing.assert_array_equal(again.coadd_frame["T"], comm.size * np.asarray(serial["T"]))


@pytest.mark.ranks(2, 3)
def test_frames_without_names_that_differ_between_ranks_are_summed(comm, files):
    """As a map-maker makes them."""
    coadder = g3reduce.MPIMapCoadder(comm, result="all")
    frames = [skies.map_frame("flat sparse", "polarized", seed=seed) for seed in range(4)]
    for frame in frames[comm.rank :: comm.size]:
        coadder.add(frame)
    coadder.finish()
    serial = maps.CoaddMaps(keep_outputs=True)
    for frame in frames:
        serial(frame)
    np.testing.assert_array_equal(coadder.coadd_frame["T"], serial.coadd_frame["T"])


@pytest.mark.ranks(3)
def test_errors_on_a_part_of_the_world_name_the_rank_and_are_told(comm):
    part = comm.Split(min(comm.rank, 1), comm.rank)
    try:
        with pytest.raises(g3reduce.G3ReduceError) as caught:
            g3reduce.coadd_files([f"none{comm.rank > 0}.g3"], mpicomm=part)
        assert "No such file or directory" in str(caught.value)
        # The rank that tells is one of the part, by its rank in the world.
        assert caught.value.reporter in ([0] if comm.rank == 0 else [1, None])
    finally:
        part.Free()


@pytest.mark.ranks(2)
def test_errors_may_be_caught_thousands_of_times(comm, files):
    """MPICH has 2048 communicators."""
    for _ in range(1100):
        with pytest.raises(g3reduce.G3ReduceError):
            g3reduce.coadd_files("none.g3", mpicomm=comm)
        with pytest.raises(g3reduce.UsageError):
            g3reduce.MPIMapCoadder(comm, strategy="ring")
    coadd = g3reduce.coadd_files(files, mpicomm=comm, result="all").frame
    skies.assert_same_coadd(coadd, maps.coadd_map_files(files))


@pytest.mark.ranks(2, 3)
def test_readers_and_coadders_on_short_lived_communicators(comm, files):
    for _ in range(30):
        part = comm.Dup()
        coadd = g3reduce.coadd_files(files, mpicomm=part, result="all").frame
        part.Free()
    skies.assert_same_coadd(coadd, maps.coadd_map_files(files))


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("schedule", ["dynamic", "static"])
def test_a_pipeline_that_is_halted_on_one_rank_is_an_error_on_all(comm, files, schedule):
    def halt(frame):
        # What Ctrl-C does. The files go to any rank: all halt but the last.
        if frame.type == core.G3FrameType.Map and comm.rank < comm.size - 1:
            pipe.halt_processing()

    coadder = g3reduce.MPIMapCoadder(comm)
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule=schedule)
    pipe.Add(halt)
    pipe.Add(coadder)
    with pytest.raises(g3reduce.G3ReduceError, match="was halted before all files were read"):
        pipe.Run()
    assert coadder.coadd_frames == {}

    # spt3g forgets that it was halted at the end of a pipeline, but not when that is an error: it
    # would end the next one before it has begun.
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule=schedule)
    again = g3reduce.MPIMapCoadder(comm)
    pipe.Add(again)
    pipe.Run()
    added = comm.bcast(again.result.ledger if comm.rank == 0 else None)
    assert {unit.file for unit in added.units()} == set(files)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("schedule", ["dynamic", "static"])
def test_what_rank_0_writes_does_not_depend_on_the_schedule(comm, files, shared_folder, schedule):
    """Frames that go into no coadd would come to its writer if it has happened to read them."""
    output = str(shared_folder / "coadd.g3")
    unused = g3reduce.MPIMapCoadder(comm)  # of an earlier pipeline, to which no frame came
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule=schedule)
    pipe.Run()
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule=schedule)
    pipe.Add(g3reduce.MPIMapCoadder(comm, map_ids=["90GHz"], drop_input_frames=True))
    pipe.Add(lambda frame: frame.type == core.G3FrameType.Map)
    came = []
    pipe.Add(lambda frame: came.append(frame) if frame.type == core.G3FrameType.Map else None)
    if comm.rank == 0:
        pipe.Add(core.G3Writer, filename=output)
    pipe.Run()
    comm.Barrier()
    (written,) = core.G3File(output)
    skies.assert_same_coadd(written, maps.coadd_map_files(files, map_ids=["90GHz"]))
    assert len(came) == (comm.rank == 0)
    assert not unused.unfinished


@pytest.mark.ranks(1, 2, 3)
def test_what_a_distributor_gave_to_a_worker_does_not_go_on_either(comm, files):
    came = []
    coadder = g3reduce.MPIMapCoadder(comm, map_ids="150GHz", drop_input_frames=True)
    types = [core.G3FrameType.Map]
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIIODistributor, mpicomm=comm, n_io=1, files=files, dataframetype=types)
    pipe.Add(coadder)
    pipe.Add(lambda frame: came.append(frame) if frame.type in types else None)
    pipe.Run()
    assert [frame["Id"] for frame in came] == ["Coadd"] * (comm.rank == 0)
    if comm.rank == 0:
        skies.assert_same_coadd(coadder.coadd_frame, maps.coadd_map_files(files, map_ids="150GHz"))


@pytest.mark.ranks(2, 3)
def test_maps_of_several_ids_in_one_coadd_are_warned_of_once(comm, shared_folder, on_first, caplog):
    """Though each rank has met but one of them."""

    def write():
        map_ids = ("90GHz", "150GHz", "90GHz")
        return [
            skies.write_files(shared_folder, 1, "flat sparse", "hits", start=i, map_ids=(map_id,))[
                0
            ]
            for i, map_id in enumerate(map_ids)
        ]

    files = on_first(write)
    g3reduce.coadd_files(files, mpicomm=comm, schedule="static")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (comm.rank == 0)
    assert all("Maps of 2 Ids ('150GHz', '90GHz') went into one coadd" in text for text in told)


@pytest.mark.ranks(2)
def test_a_root_that_is_no_rank_is_refused(comm, files):
    for root in (-1, 2, 1.0, "0", None):
        with pytest.raises(g3reduce.UsageError, match="expected a rank, 0 to 1"):
            g3reduce.coadd_files(files, mpicomm=comm, root=root)
    coadd = g3reduce.coadd_files(files, mpicomm=comm, root=np.int64(1), map_ids={"90GHz"}).frame
    assert (coadd is None) == (comm.rank == 0)


@pytest.mark.ranks(2, 3)
def test_buffered_maps_keep_their_observation(comm, files):
    """A module that holds frames back until the end loses their units, but not their files."""
    held = []

    def hold(frame):
        if frame.type == core.G3FrameType.Map:
            held.append(frame)
            return []
        if frame.type == core.G3FrameType.EndProcessing:
            return [*held, frame]
        return None

    coadder = g3reduce.MPIMapCoadder(comm, map_ids="90GHz", record_obs_id=True, result="all")
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files])
    pipe.Add(hold)
    pipe.Add(coadder)
    pipe.Run()
    expected = maps.coadd_map_files(files, map_ids=["90GHz"], record_obs_id=True)
    assert sorted(coadder.coadd_frame["InputMapIds"]) == sorted(expected["InputMapIds"])
    assert sorted(coadder.coadd_frame["InputFiles"]) == sorted(files)


@pytest.mark.ranks(2)
def test_an_error_stops_the_other_ranks_from_reading_on(comm, shared_folder, on_first, monkeypatch):
    def write():
        files = skies.write_files(shared_folder, 40, "flat sparse", "polarized")
        with open(files[0], "r+b") as stream:
            stream.truncate(os.path.getsize(files[0]) // 2)
        return files

    files = on_first(write)
    seen, n_read = [], []

    def slowly(frame):
        import time

        seen.append(frame)
        time.sleep(0.02)
        return {"sum": 1}

    text = r"frame 1, byte .*: this frame cannot be read"
    monkeypatch.setattr(g3reduce.MPIMapCoadder, "discard", lambda self: n_read.append(len(seen)))
    with pytest.raises(g3reduce.G3ReduceError, match=text):
        g3reduce.coadd_files(files, mpicomm=comm, schedule="static", assign=slowly)
    # Afterwards all files are looked at, to name all that are broken.
    assert n_read[0] < 30, "of the 40 maps that fall to this rank"
