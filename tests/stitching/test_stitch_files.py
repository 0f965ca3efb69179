"""From files of scans to a file of whole observations: what is in it, and what is refused."""

import os

import numpy as np
import pytest
import scans
from hypothesis import given, settings
from spt3g import core

from g3reduce import DuplicateError, InputError, MismatchError, UsageError, stitch_files
from g3reduce.g3files import timestreams
from g3reduce.g3files.archive import head_of

OTHER = "OtherTimestreams"
KEYS = {"flags": scans.FLAGS, "detector_flags": scans.DETECTOR_FLAGS}


def rng(seed=1):
    return np.random.default_rng(seed)


def frames_of(path, kind=core.G3FrameType.Scan):
    return [frame for frame in core.G3File(str(path)) if frame.type == kind]


def types_of(path):
    return [str(frame.type) for frame in core.G3File(str(path))]


def assert_whole(frame, frames, *, fill=False):
    """A stitched frame holds what its scans hold, in the order of time."""
    expected = scans.concatenated(frames)
    grid = expected.grid - expected.grid[0]
    places = grid if fill else np.arange(len(grid))
    n_samples = places[-1] + 1
    there = np.isin(np.arange(n_samples), places)
    signal, flags = frame[scans.KEY], frame[f"{scans.KEY}Flags"]
    assert tuple(signal) == expected.detectors
    assert signal.n_samples == n_samples
    assert signal.units == frames[0][scans.KEY].units
    times = np.asarray(frame["SampleTimes"])
    assert (signal.start.time, signal.stop.time) == (times[0], times[-1])
    np.testing.assert_array_equal(times[places], expected.times)
    assert (np.diff(times) > 0).all()
    for row, name in enumerate(expected.detectors):
        present = expected.present[row]
        mine = np.asarray(signal[name])
        assert mine.dtype == expected.signal.dtype
        wanted = np.where(present, expected.signal[row], 0)
        np.testing.assert_array_equal(scans.bits(mine[places]), scans.bits(wanted))
        assert not mine[~there].any()
        given_flags = 0 if expected.detector_flags is None else expected.detector_flags[row]
        wanted = np.where(present, given_flags, 1)
        mine = np.asarray(flags[name]) if name in flags else np.zeros(n_samples)
        np.testing.assert_array_equal(mine[places], wanted)
        assert (name in flags) == wanted.any()
    key = scans.FLAGS if scans.FLAGS in frames[0] else "SampleFlags"
    wanted = 0 if expected.flags is None else expected.flags
    np.testing.assert_array_equal(np.asarray(frame[key])[places], wanted)
    assert (np.asarray(frame[key])[~there] == 1).all()
    if expected.boresight is not None:
        boresight = np.asarray(frame[scans.BORESIGHT])
        np.testing.assert_array_equal(boresight[places], expected.boresight)
    ends = np.cumsum(expected.lengths)
    firsts = np.asarray(frame["ScanFirstSample"])
    np.testing.assert_array_equal(firsts, places[ends - expected.lengths])
    np.testing.assert_array_equal(frame["ScanStopSample"] - firsts, expected.lengths)
    apart = grid[ends[:-1]] - grid[ends[:-1] - 1] - 1
    np.testing.assert_array_equal(frame["GapAfterScan"], np.flatnonzero(apart))
    np.testing.assert_array_equal(frame["GapSamples"], apart[apart > 0])
    if max(expected.lengths) > 1:
        assert frame["SampleRate"] == pytest.approx(scans.RATE, rel=1e-2)


@settings(max_examples=40)
@given(scans.observations())
def test_what_comes_out_is_what_went_in(tmp_path_factory, frames):
    folder = tmp_path_factory.mktemp("scans")
    files = scans.write_files(folder, frames, n_files=min(3, len(frames)))
    keys = {name: key for name, key in KEYS.items() if key in frames[0]}
    boresight = scans.BORESIGHT if scans.BORESIGHT in frames[0] else None
    for gaps in ("keep", "fill"):
        path = folder / f"{gaps}.g3"
        (told,) = stitch_files(files[::-1], path, boresight=boresight, gaps=gaps, **keys)
        (frame,) = frames_of(path)
        assert_whole(frame, frames, fill=gaps == "fill")
        assert told.name == f"{frame['SourceName']}-{frame['ObservationID']}" == "field-1000"
        assert (told.n_detectors, told.n_scans) == (len(frame[scans.KEY]), len(frames))
        assert told.n_samples == frame[scans.KEY].n_samples
        assert len(told.gaps) == len(frame["GapSamples"])


@pytest.fixture
def frames():
    return scans.an_observation(
        rng(),
        (7, 5, 9, 4),
        gaps=[0, 0, 2, 0],
        detectors=[("a", "b", "c"), ("b", "a"), ("c", "a", "b"), ("a", "b", "c")],
        flags="int",
        detector_flags="int",
    )


@pytest.fixture
def files(frames, tmp_path):
    return scans.write_files(tmp_path, frames, 3)


def test_frames_of_some_detectors_are_each_whole(files, frames, tmp_path):
    stitch_files(files, tmp_path / "all.g3", **KEYS)
    stitch_files(files, tmp_path / "two.g3", detectors_per_frame=2, **KEYS)
    (whole,) = frames_of(tmp_path / "all.g3")
    some = frames_of(tmp_path / "two.g3")
    assert [list(frame[scans.KEY]) for frame in some] == [["a", "b"], ["c"]]
    for frame in some:
        assert set(frame.keys()) == set(whole.keys())
        for name, timestream in frame[scans.KEY].items():
            np.testing.assert_array_equal(timestream, whole[scans.KEY][name])
        np.testing.assert_array_equal(frame["SampleTimes"], whole["SampleTimes"])


def test_stitching_a_stitched_file_changes_nothing(files, tmp_path):
    stitch_files(files, tmp_path / "once.g3", gaps="fill", **KEYS)
    keys = {**KEYS, "detector_flags": f"{scans.KEY}Flags"}
    stitch_files(tmp_path / "once.g3", tmp_path / "twice.g3", **keys)
    once, twice = (frames_of(tmp_path / f"{name}.g3")[0] for name in ("once", "twice"))
    for name, timestream in once[scans.KEY].items():
        np.testing.assert_array_equal(scans.bits(timestream), scans.bits(twice[scans.KEY][name]))
    for key in (scans.FLAGS, scans.BORESIGHT):
        np.testing.assert_array_equal(once[key], twice[key])


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_compressed_files_have_the_same_content(files, tmp_path, ending):
    paths = [tmp_path / name for name in ("out.g3", f"out.g3.{ending}", f"again.g3.{ending}")]
    for path in paths:
        stitch_files(files, path, **KEYS)
    plain, packed = ([f.__getstate__()[1] for f in core.G3File(str(path))] for path in paths[:2])
    assert plain == packed
    assert paths[1].read_bytes() == paths[2].read_bytes() != paths[0].read_bytes()


def test_spt3g_writes_what_is_not_known_here(files, tmp_path, monkeypatch):
    stitch_files(files, tmp_path / "known.g3", **KEYS)
    monkeypatch.setattr(timestreams, "_HEAD", head_of("G3TimestreamMap", 4))  # as of a newer one
    stitch_files(files, tmp_path / "other.g3", **KEYS)
    assert (tmp_path / "other.g3").read_bytes() == (tmp_path / "known.g3").read_bytes()


def test_several_bands_come_into_one_frame(frames, tmp_path):
    for frame in frames:
        band = frame[scans.KEY]
        frame[OTHER] = core.G3TimestreamMap(
            ["x", "y"],
            rng(2).normal(size=(2, band.n_samples)).astype(np.float32),
            start=band.start,
            stop=band.stop,
        )
    files = scans.write_files(tmp_path, frames)
    both = [scans.KEY, OTHER]
    (told,) = stitch_files(files, tmp_path / "out.g3", timestreams=both, **KEYS)
    assert told.n_detectors == 5
    (frame,) = frames_of(tmp_path / "out.g3")
    assert_whole(frame, frames)
    expected = np.concatenate([np.array(each[OTHER]) for each in frames], axis=1)
    np.testing.assert_array_equal(np.asarray(frame[OTHER]), expected)
    stitch_files(files, tmp_path / "3.g3", timestreams=both, detectors_per_frame=2, **KEYS)
    shown = [[key for key in both if key in frame] for frame in frames_of(tmp_path / "3.g3")]
    assert shown == [[scans.KEY], [scans.KEY], [OTHER]]


def with_lead(path, *frames):
    with core.G3Writer(str(path)) as writer:
        for frame in frames:
            writer(frame)
    return str(path)


def test_metadata_come_along_once(tmp_path):
    one = scans.an_observation(rng(), obs=1)
    two = scans.an_observation(rng(2), obs=2)
    calibration, other = scans.calibration_frame("abc"), scans.calibration_frame("abcd")
    info = core.G3Frame(core.G3FrameType.PipelineInfo)
    info["by whom"] = "me"
    map_frame = core.G3Frame(core.G3FrameType.Map)
    files = [
        with_lead(tmp_path / "calibration.g3", other, scans.observation_frame(7)),
        with_lead(tmp_path / "a.g3", info, scans.observation_frame(1), calibration, *one[:2]),
        with_lead(tmp_path / "b.g3", info, scans.observation_frame(1), calibration, *one[2:]),
        with_lead(tmp_path / "c.g3", map_frame, calibration, *two),  # no Observation frame
    ]
    output = tmp_path / "out.g3"
    stitch_files(files, output)
    assert types_of(output) == [
        *("PipelineInfo", "Observation", "Calibration", "Calibration", "Scan"),
        *("Observation", "Scan"),
    ]
    kept = frames_of(output, core.G3FrameType.Calibration)
    assert [len(frame["BolometerProperties"]) for frame in kept] == [4, 3]
    observations = frames_of(output, core.G3FrameType.Observation)
    assert [frame["ObservationID"] for frame in observations] == [1, 2]
    first, second = frames_of(output)
    assert list(first["ScanInputFiles"]) == [files[1], files[1], files[2]]
    assert list(first["ScanInputFrames"]) == [3, 4, 3]
    assert list(second["ScanInputFrames"]) == [2, 3, 4]


def test_an_observation_frame_counts_for_its_own_file_only(tmp_path):
    first, second = scans.an_observation(rng(), (5, 5))
    for frame in (first, second):
        del frame["ObservationID"]
    files = [
        with_lead(tmp_path / "a.g3", scans.observation_frame(1), first),
        with_lead(tmp_path / "b.g3", second),
    ]
    with pytest.raises(InputError, match=r"b\.g3, frame 0 has no ObservationID"):
        stitch_files(files, tmp_path / "out.g3")


def left_in(folder):
    return sorted(name for name in os.listdir(folder) if "out" in name)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"timestreams": "Other"}, InputError, "has no 'Other'; it has "),
        ({"boresight": "Other"}, InputError, "has no 'Other'; it has "),
        ({"timestreams": [scans.KEY, scans.KEY]}, UsageError, "two entries of the name"),
        ({"timestreams": scans.KEY, "flags": "SampleRate"}, UsageError, "of the name 'SampleRate'"),
        ({"timestreams": []}, UsageError, "timestreams is empty"),
        ({"gaps": "refuse"}, InputError, "has a gap of"),
        ({"gaps": "mend"}, UsageError, "expected one of keep, fill, refuse"),
        ({"missing": "refuse"}, MismatchError, "lacks 1 of 3 detectors, such as 'c'"),
        ({"detectors_per_frame": 0}, UsageError, "detectors_per_frame is 0; expected 1 or more"),
    ],
)
def test_what_cannot_be_stitched_leaves_what_was_there(files, tmp_path, options, error, text):
    (tmp_path / "out.g3").write_text("an earlier result")
    with pytest.raises(error, match=text):
        stitch_files(files, tmp_path / "out.g3", **options)
    assert (tmp_path / "out.g3").read_text() == "an earlier result"
    assert left_in(tmp_path) == ["out.g3"]


def test_files_that_overlap_or_come_twice_are_refused(files, frames, tmp_path):
    again = scans.write_files(tmp_path, frames, 1, "again")
    with pytest.raises(DuplicateError, match="have the same samples"):
        stitch_files([*files, *again], tmp_path / "out.g3")
    with pytest.raises(DuplicateError, match="named twice, also as"):
        stitch_files([files[0], os.path.relpath(files[0])], tmp_path / "out.g3")
    with pytest.raises(DuplicateError, match=r"named twice\. Name"):
        stitch_files([files[0]] * 2, tmp_path / "out.g3")
    late = scans.an_observation(rng(), (7,), start=scans.START + 10**5, detectors="abc")
    late = scans.write_files(tmp_path, late, 1, "late")
    with pytest.raises(InputError, match="must not overlap"):
        stitch_files([*files, *late], tmp_path / "out.g3")
    assert left_in(tmp_path) == []


def test_bands_with_other_times_do_not_go_into_one_frame(frames, tmp_path):
    for frame in frames:
        band = frame[scans.KEY]
        start, stop = (core.G3Time(time.time + 1000) for time in (band.start, band.stop))
        samples = np.zeros((1, band.n_samples))
        frame[OTHER] = core.G3TimestreamMap(["x"], samples, start=start, stop=stop)
    files = scans.write_files(tmp_path, frames)
    with pytest.raises(MismatchError, match=f"{OTHER!r}.* differ in samples or times"):
        stitch_files(files, tmp_path / "out.g3", timestreams=[scans.KEY, OTHER])


def test_files_without_scans_are_refused(tmp_path):
    file = with_lead(tmp_path / "a.g3", scans.observation_frame(1))
    with pytest.raises(InputError, match="no Scan frame with samples in the input file"):
        stitch_files(file, tmp_path / "out.g3")
