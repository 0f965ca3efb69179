"""Observations that are named otherwise, and metadata that last over files."""

import numpy as np
import pytest
import scans
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, MismatchError, UsageError, cli, coadd_files, stitch_files
from g3reduce.mpi.communicators import OneProcess


def written(path, *frames):
    with core.G3Writer(str(path)) as writer:
        for frame in frames:
            writer(frame)
    return str(path)


def unnamed(lengths=(5, 6, 4, 7), **options):
    """Scans that do not say to which observation they belong."""
    frames = scans.an_observation(np.random.default_rng(1), lengths, **options)
    for frame in frames:
        del frame["SourceName"], frame["ObservationID"]
    return frames


def observation(**keys):
    frame = core.G3Frame(core.G3FrameType.Observation)
    for key, value in keys.items():
        frame[key] = value
    return frame


def types_of(path):
    return [str(frame.type) for frame in core.G3File(str(path))]


def scans_of(path):
    return [frame for frame in core.G3File(str(path)) if frame.type == core.G3FrameType.Scan]


def sessions(folder):
    """Two observations of two files each, of which only the first ones have metadata."""
    first, second, third, fourth = unnamed()
    calibration, later = scans.calibration_frame("abc"), scans.calibration_frame("abcd")
    return [
        written(folder / "a.g3", scans.observation_frame(1), calibration, first),
        written(folder / "b.g3", second),
        written(folder / "c.g3", later, scans.observation_frame(2), third),
        written(folder / "d.g3", fourth),
    ]


def test_metadata_of_a_file_last_over_those_after_it_if_so_wished(tmp_path):
    files = sessions(tmp_path)
    out = tmp_path / "out.g3"
    with pytest.raises(InputError, match=r"b\.g3, frame 0 has no SourceName.*metadata_lasts=True"):
        stitch_files(files, out)
    told = stitch_files(files, out, metadata_lasts=True)
    assert [(each.name, each.n_samples) for each in told] == [("field-1", 11), ("field-2", 11)]
    assert types_of(out) == [
        *("Observation", "Calibration", "Scan"),
        *("Observation", "Calibration", "Scan"),  # the first one was written already
    ]
    for frame, number in zip(scans_of(out), (1, 2), strict=True):
        assert (frame["SourceName"], frame["ObservationID"]) == ("field", number)
    first, second = scans_of(out)
    assert list(first["ScanInputFiles"]) == files[:2]
    assert list(second["ScanInputFiles"]) == files[2:]
    # The order of the names counts, not that of the scans.
    told = stitch_files([files[2], files[1], files[0], files[3]], out, metadata_lasts=True)
    assert [(each.name, each.n_scans) for each in told] == [("field-2", 2), ("field-1", 2)]
    with pytest.raises(InputError, match=r"b\.g3, frame 0 has no SourceName"):
        stitch_files(files[1:], out, metadata_lasts=True)


def test_metadata_do_not_last_where_a_file_has_some_of_its_own_that_lack_a_key(tmp_path):
    first, second, *_ = unnamed()
    files = [
        written(tmp_path / "a.g3", scans.observation_frame(1), first),
        written(tmp_path / "b.g3", observation(SourceName="field"), second),
    ]
    with pytest.raises(InputError, match=r"b\.g3, frame 1 has no ObservationID"):
        stitch_files(files, tmp_path / "out.g3", metadata_lasts=True)


def test_scans_in_front_of_the_metadata_of_their_file_belong_to_those_before(tmp_path):
    first, second, third, _ = unnamed()
    files = [
        written(tmp_path / "a.g3", scans.observation_frame(1), first),
        written(tmp_path / "b.g3", second, scans.observation_frame(2), third),
    ]
    told = stitch_files(files, tmp_path / "out.g3", metadata_lasts=True)
    assert [(each.name, each.n_scans) for each in told] == [("field-1", 2), ("field-2", 1)]


@pytest.mark.parametrize("lasts", [False, True])
def test_values_that_name_nothing_are_refused(tmp_path, lasts):
    first, second, *_ = unnamed()
    several = core.G3VectorDouble([1, 2])
    head = observation(SourceName="field", ObservationID=several)
    text = r"the ObservationID is a G3VectorDouble; expected a string or a number"
    files = [written(tmp_path / "a.g3", head, first), written(tmp_path / "b.g3", second)]
    with pytest.raises(InputError, match=text):
        stitch_files(files, tmp_path / "out.g3", metadata_lasts=lasts)
    first["SourceName"], first["ObservationID"] = "field", several
    with pytest.raises(InputError, match=rf"frame 0: {text}"):
        stitch_files(written(tmp_path / "c.g3", first), tmp_path / "out.g3", metadata_lasts=lasts)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("Session", "night"),
        (["Session", "Run"], "night-3"),
        (("Run", "SourceName"), "3-field"),
    ],
)
def test_other_keys_name_observations_and_are_written(tmp_path, keys, name):
    frames = scans.an_observation(np.random.default_rng(1), (5, 6))
    for frame in frames:
        frame["Run"] = 3  # of Scan frames
        del frame["ObservationID"]
    file = written(tmp_path / "a.g3", observation(Session="night"), *frames)
    out = tmp_path / "out.g3"
    (told,) = stitch_files(file, out, observation_keys=keys)
    assert told.name == name
    (frame,) = scans_of(out)
    values = {"Session": "night", "Run": 3, "SourceName": "field"}
    for key in [keys] if isinstance(keys, str) else keys:
        assert frame[key] == values[key]
    assert "ObservationID" not in frame
    extract = g3reduce.ScanExtractor(observation_keys=keys)
    extract(observation(Session="night"))
    assert extract(frames[0])[0] == name


def test_scans_without_an_observation_frame_get_one_with_their_keys(tmp_path):
    frames = unnamed()
    for frame in frames:
        frame["Run"] = 5
    out = tmp_path / "out.g3"
    stitch_files(written(tmp_path / "a.g3", *frames), out, observation_keys="Run")
    (head,) = [f for f in core.G3File(str(out)) if f.type == core.G3FrameType.Observation]
    assert head["Run"] == 5


def test_other_values_that_make_the_same_name_are_refused(tmp_path):
    frames = unnamed()
    for frame, (one, other) in zip(frames, (("a-b", "c"), ("a", "b-c")), strict=False):
        frame["One"], frame["Other"] = one, other
    file = written(tmp_path / "a.g3", *frames[:2])
    with pytest.raises(MismatchError, match="would both be 'a-b-c'"):
        stitch_files(file, tmp_path / "out.g3", observation_keys=["One", "Other"])


@pytest.mark.parametrize("keys", [[], "", 3, ["a", None]])
def test_keys_that_cannot_be_used_are_refused(tmp_path, keys):
    file = written(tmp_path / "a.g3", *unnamed())
    with pytest.raises(UsageError, match=r"observation_keys is .* expected a key"):
        stitch_files(file, tmp_path / "out.g3", observation_keys=keys)


def exported_by_toast(path):
    """Frames as TOAST's own exporter makes them of an observation of two intervals."""
    head = observation(
        observation_name="field_0001",
        observation_uid=17,
        telescope_name="SAT",
        telescope_class="toast.instrument.Telescope",
        site_name="Atacama",
        session_name="field",
    )
    calibration = core.G3Frame(core.G3FrameType.Calibration)
    calibration["focalplane"] = core.G3VectorUnsignedChar([1, 2, 3])
    frames = []
    for scan in unnamed((6, 8), gaps=[0, 3], detectors=("D0A", "D0B")):
        frame = core.G3Frame(core.G3FrameType.Scan)
        samples = scan[scans.KEY]
        moments = scans.times_of(samples.start.time, samples.stop.time, samples.n_samples)
        frame["times"] = core.G3VectorTime(moments)
        frame["boresight_radec"] = core.G3VectorQuat(np.asarray(scan[scans.BORESIGHT]))
        frame["flags"] = core.G3VectorUnsignedChar([0, 1] * (samples.n_samples // 2))
        frame["signal"], frame["signal_dtype"] = samples, "d"
        frames.append(frame)
    return written(path, head, calibration, *frames), frames


def test_files_of_toasts_own_export_are_stitched(tmp_path, capsys):
    file, frames = exported_by_toast(tmp_path / "frames-0000.g3")
    out = str(tmp_path / "out.g3")
    command = ["stitch", file, "-o", out, "-t", "signal", "-b", "boresight_radec"]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    for part in (
        "has no SourceName",
        "TOAST's own export has 'observation_name'",
        "--observation-k",
    ):
        assert part in said
    keys = ["--observation-keys", "observation_name", "--times", "times", "--flags", "flags"]
    assert cli.main([*command, *keys]) == 0
    assert "field_0001: 2 detectors, 14 samples from 2 scans" in capsys.readouterr().out
    assert types_of(out) == ["Observation", "Calibration", "Scan"]
    (frame,) = scans_of(out)
    assert frame["observation_name"] == "field_0001"
    for key in ("D0A", "D0B"):
        expected = np.concatenate([np.asarray(f["signal"][key]) for f in frames])
        np.testing.assert_array_equal(scans.bits(frame["signal"][key]), scans.bits(expected))
    moments = np.concatenate([np.asarray(f["times"]) for f in frames])
    np.testing.assert_array_equal(frame["SampleTimes"], moments)


@pytest.mark.ranks(1, 2, 3)
def test_the_same_bytes_whichever_rank_reads_which_file(comm, shared_folder):
    if comm.rank == 0:
        sessions(shared_folder)
    comm.Barrier()
    pattern = str(shared_folder / "?.g3")
    one, many = shared_folder / "one.g3", shared_folder / "many.g3"
    told = stitch_files(pattern, many, mpicomm=comm, metadata_lasts=True)
    assert [each.name for each in told] == ["field-1", "field-2"]
    if comm.rank == 0:
        assert stitch_files(pattern, one, mpicomm=OneProcess(), metadata_lasts=True) == told
        assert one.read_bytes() == many.read_bytes()
    comm.Barrier()
    with pytest.raises((InputError, g3reduce.RemoteError), match="has no SourceName"):
        stitch_files(str(shared_folder / "[bd].g3"), many, mpicomm=comm, metadata_lasts=True)


@pytest.mark.ranks(2, 3)
def test_what_is_kept_of_calibration_frames_has_an_entry_for_each_rank(comm, shared_folder):
    files = [str(shared_folder / f"{number}.g3") for number in range(3)]
    if comm.rank == 0:
        written(files[0], scans.calibration_frame("ab"))
        for number, frame in enumerate(unnamed((4, 5)), 1):
            written(files[number], frame)
    comm.Barrier()

    def extract(frame):
        if frame.type != core.G3FrameType.PipelineInfo and len(frame.keys()):
            return str(frame.type), len(frame.keys()), comm.rank

    def accumulated(first, others):
        accumulator = g3reduce.MPIAccumulator(comm, extract)
        pipe = core.G3Pipeline()
        pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[first, others])
        pipe.Add(accumulator)
        pipe.Run()
        return accumulator.fullobs

    found = accumulated(files[0], files[1:])
    each = [(1, rank, rank if rank == comm.rank else None) for rank in range(comm.size)]
    assert found["Calibration"] == each
    assert len(found["Scan"]) == 2
    # Data that reach all ranks are still those that would count several times.
    with pytest.raises(
        g3reduce.DuplicateError, match="frame 0 was counted on rank 0 and on rank 1"
    ):
        accumulated(files[1], files[2:])


def map_frame(value=1.0):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = "90GHz"
    frame["T"] = maps.FlatSkyMap(np.full((4, 4), value), 1.0, weighted=False)
    return frame


@pytest.mark.ranks(1, 2, 3)
def test_coadds_list_an_observation_under_one_name_if_metadata_last(comm, shared_folder):
    if comm.rank == 0:
        written(shared_folder / "a.g3", scans.observation_frame(7), map_frame())
        written(shared_folder / "b.g3", map_frame(2.0))
        written(shared_folder / "c.g3", scans.observation_frame(8))
        written(shared_folder / "d.g3", map_frame(3.0))
    comm.Barrier()
    pattern = str(shared_folder / "?.g3")
    options = {"record_obs_id": True, "mpicomm": comm, "result": "all"}
    listed = list(coadd_files(pattern, **options).frame["InputMapIds"])
    assert listed == ["field/7/90GHz", "90GHz"]
    coadd = coadd_files(pattern, metadata_lasts=True, **options).frame
    files = sorted(str(path) for path in shared_folder.glob("?.g3"))
    expected = maps.coadd_map_files(files, record_obs_id=True)
    assert list(coadd["InputMapIds"]) == list(expected["InputMapIds"])
    assert list(coadd["InputMapIds"]) == ["field/7/90GHz", "field/8/90GHz"]
