"""Stitching in one process is the serial concatenation, whatever the scans are like."""

import pickle

import numpy as np
import pytest
import scans
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import core
from stitching_oracle import accumulate, assert_share, keys_of, whole

import g3reduce
from g3reduce import ScanExtractor, stitch, unstitch
from g3reduce.mpi.communicators import OneProcess

fewer = settings(max_examples=40)
LENGTHS = st.integers(0, 12)
COMM = OneProcess()


def with_a_rate(frames):
    return any(frame[scans.KEY].n_samples > 1 for frame in frames)


some_scans = scans.observations(lengths=LENGTHS).filter(with_a_rate)


def stitched(frames, *, extracted=False, **options):
    keys = keys_of(frames)
    accumulator = accumulate(COMM, frames, [0] * len(frames), keys=keys if extracted else None)
    (found,) = stitch(accumulator, **options, **keys).values()
    return found


@fewer
@given(
    some_scans,
    st.randoms(),
    st.sampled_from(["keep", "fill"]),
    st.sampled_from(["detector", "time", "root"]),
    st.booleans(),
)
def test_an_observation_is_whole_whatever_its_scans_are_like(
    frames, random, gaps, distribution, extracted
):
    shuffled = random.sample(frames, len(frames))
    options = {"distribution": distribution, "gaps": gaps, "extracted": extracted}
    assert_share(stitched(shuffled, **options), whole(frames, gaps), gaps)


@fewer
@given(some_scans, st.randoms(), st.sampled_from(["keep", "fill"]))
def test_the_way_back_gives_each_scan_its_samples_to_the_bit(frames, random, gaps):
    frames = random.sample(frames, len(frames))
    found = stitched(frames, gaps=gaps)
    back = unstitch(found, found.signal)
    assert set(back) == {i for i, frame in enumerate(frames) if frame[scans.KEY].n_samples}
    for index, timestreams in back.items():
        expected = frames[index][scans.KEY]
        assert list(timestreams.keys()) == list(expected.keys())
        assert (timestreams.start, timestreams.stop) == (expected.start, expected.stop)
        assert timestreams.units == expected.units
        for one, other in zip(timestreams.values(), expected.values(), strict=True):
            np.testing.assert_array_equal(
                scans.bits(np.asarray(one).astype(np.asarray(other).dtype)), scans.bits(other)
            )


def test_it_says_what_it_is_in_a_line():
    frames = scans.an_observation(np.random.default_rng(1))
    found, expected = stitched(frames), whole(frames)
    detectors, samples = expected.signal.shape
    line = f"{detectors} of {detectors} detectors, {samples} of {samples} samples>"
    assert repr(found) == f"<StitchedObservation {found.group!r}: {line}"
    assert repr(found.timeline).startswith(
        f"<Timeline of {found.group!r}: {detectors} detectors, {samples} samples from "
        f"{len(frames)} scans, "
    )


def test_only_an_accumulator_can_be_stitched():
    with pytest.raises(g3reduce.UsageError, match="accumulator is 3; expected an MPIAccumulator"):
        stitch(3)


def test_what_comes_back_can_be_written_and_outlives_what_it_came_from(tmp_path):
    frames = scans.an_observation(np.random.default_rng(1))
    found = stitched(frames)
    back = unstitch(found, (found.signal * 2).astype(np.float32))
    expected = whole(frames).signal.astype(np.float32) * 2
    del found
    with core.G3Writer(str(tmp_path / "back.g3")) as writer:
        for index in sorted(back):
            frame = core.G3Frame(core.G3FrameType.Scan)
            frame["Back"] = back.pop(index)
            writer(frame)
    read = [np.asarray(frame["Back"]) for frame in core.G3File(str(tmp_path / "back.g3"))]
    np.testing.assert_array_equal(np.concatenate(read, axis=1), expected)


@pytest.mark.parametrize("dtype", ["f4", "i4", "i8"])
def test_samples_go_back_in_any_type_of_timestreams(dtype):
    found = stitched(scans.an_observation(np.random.default_rng(1)))
    values = np.arange(found.signal.size).reshape(found.signal.shape).astype(dtype)
    for array in (values, np.asfortranarray(values), np.repeat(values, 2, axis=1)[:, ::2]):
        back = unstitch(found, array)
        joined = np.concatenate([np.asarray(back[i]) for i in range(3)], axis=1)
        assert joined.dtype == dtype
        np.testing.assert_array_equal(joined, values)


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        (np.zeros((3, 20)), r"shape \(3, 20\); expected \(3, 21\)"),
        (np.zeros(63), r"shape \(63,\); expected"),
        (None, r"shape \(\); expected"),
        (np.zeros((3, 21), bool), "samples are bool; expected float64, float32, int64"),
        (np.zeros((3, 21), complex), "samples are complex128"),
        (np.zeros((3, 21), ">f8"), "samples are >f8"),
        (np.zeros((3, 21), "u8"), "samples are uint64"),
        (np.zeros((3, 21), "f2"), "samples are float16"),
    ],
)
def test_samples_that_cannot_go_back_are_refused(samples, text):
    found = stitched(scans.an_observation(np.random.default_rng(1)))
    with pytest.raises(g3reduce.UsageError, match=text):
        unstitch(found, samples)


def test_nan_payloads_survive_both_ways():
    frame = scans.make_scan(np.random.default_rng(1), n_samples=4)
    payloads = np.array([0x7FF8000000000123, 0x7FF0000000000001, -1, -(2**63)])
    timestreams = core.G3TimestreamMap(
        ["a"], payloads.view(float)[None], frame[scans.KEY].start, frame[scans.KEY].stop
    )
    del frame[scans.KEY]
    frame[scans.KEY] = timestreams
    for extracted in (False, True):
        found = stitched([frame], extracted=extracted)
        np.testing.assert_array_equal(scans.bits(found.signal[0]), payloads)
        back = unstitch(found, found.signal)[0]["a"]
        np.testing.assert_array_equal(scans.bits(back), payloads)


def test_scans_of_several_types_become_one_that_holds_all():
    rng = np.random.default_rng(1)
    one = scans.make_scan(rng, dtype=np.int32)
    other = scans.make_scan(rng, start=scans.START + round(10 / scans.RATE), dtype=np.float32)
    found = stitched([one, other])
    assert found.signal.dtype == np.float64
    np.testing.assert_array_equal(found.signal[:, :10], np.asarray(one[scans.KEY]))
    np.testing.assert_array_equal(found.signal[:, 10:], np.asarray(other[scans.KEY]))


def test_observations_keep_their_order_and_those_without_samples_are_left_out():
    rng = np.random.default_rng(1)
    frames = [
        *scans.an_observation(rng, obs=3),
        *scans.an_observation(rng, (0, 0), obs=4),
        *scans.an_observation(rng, (2, 5), obs=1),
    ]
    found = stitch(accumulate(COMM, frames, [0] * len(frames)))
    assert list(found) == ["field-3", "field-1"]
    assert [observation.group for observation in found.values()] == ["field-3", "field-1"]
    assert_share(found["field-1"], whole(frames[-2:]))
    assert stitch(accumulate(COMM, [], [])) == {}


def test_the_boresight_moves_evenly_over_a_gap_on_the_nearer_side():
    rng = np.random.default_rng(1)
    before, after = scans.an_observation(rng, (4, 4), gaps=[0, 3])
    angles = {"before": 0.1, "after": 0.1 + 0.02 * 4}

    def put(frame, angle, sign):
        del frame[scans.BORESIGHT]
        quats = sign * np.array([[np.cos(angle), 0, 0, np.sin(angle)]] * 4)
        frame[scans.BORESIGHT] = core.G3VectorQuat(quats)

    put(before, angles["before"], 1)
    put(after, angles["after"], -1)  # the same rotation as with the other sign
    found = stitched([after, before], gaps="fill")
    assert found.boresight.shape == (11, 4)
    inside = found.boresight[4:7]
    np.testing.assert_allclose(np.linalg.norm(inside, axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(
        np.arctan2(inside[:, 3], inside[:, 0]), [0.12, 0.14, 0.16], rtol=0, atol=1e-4
    )
    np.testing.assert_array_equal(found.flags, [0] * 4 + [1] * 3 + [0] * 4)


def test_dropping_the_input_keeps_what_was_stitched_and_a_second_time_says_so():
    frames = scans.an_observation(np.random.default_rng(1))
    for keys in (None, {}):
        accumulator = accumulate(COMM, frames, [0] * 3, keys=keys)
        (found,) = stitch(accumulator, drop_input=True).values()
        assert_share(found, whole(frames))
        assert [data for _, _, data in accumulator.fullobs["field-1000"]] == [None] * 3
        with pytest.raises(g3reduce.InputError, match=r"'field-1000' .* dropped"):
            stitch(accumulator)


def test_stitching_twice_gives_the_same_and_leaves_the_frames_as_they_were():
    frames = scans.an_observation(np.random.default_rng(1))
    expected = whole(frames)
    accumulator = accumulate(COMM, frames, [0] * 3)
    for distribution in ("detector", "time"):
        (found,) = stitch(accumulator, distribution).values()
        found.signal[:] = 0  # memory of its own
        found.boresight[:] = 0
    (found,) = stitch(accumulator).values()
    assert_share(found, expected)


def test_frames_of_files_are_the_same_after_stitching_as_before(tmp_path):
    rng = np.random.default_rng(1)
    kinds = {"flags": "bool", "detector_flags": "bool"}
    frames = scans.an_observation(rng, dtype=np.float32, **kinds)
    (file,) = scans.write_files(tmp_path, frames, n_files=1)
    back = [frame for frame in core.G3File(file) if frame.type == core.G3FrameType.Scan]
    before = [pickle.dumps(frame) for frame in back]
    found = stitched(back)
    assert [pickle.dumps(frame) for frame in back] == before
    expected = whole(frames)
    assert_share(found, expected)
    del back
    assert_share(found, expected)


def test_scans_without_detectors_are_passed_by():
    rng = np.random.default_rng(1)
    frames = scans.an_observation(rng)
    bare = core.G3Frame(core.G3FrameType.Scan)
    bare["SourceName"], bare["ObservationID"] = "field", 1000
    bare[scans.KEY] = core.G3TimestreamMap()
    for keys in (None, {}):
        accumulator = accumulate(COMM, [bare, *frames], [0] * 4, keys=keys)
        (found,) = stitch(accumulator, missing="refuse").values()
        assert_share(found, whole(frames))
        assert set(unstitch(found, found.signal)) == {1, 2, 3}


def test_data_that_are_no_scans_are_refused():
    accumulator = g3reduce.MPIAccumulator(COMM, lambda frame: ("g", 0, [1, 2]))
    accumulator.add(scans.make_scan(np.random.default_rng(1)))
    accumulator.finish()
    with pytest.raises(g3reduce.InputError, match="data of group 'g' are of the type list; to be"):
        stitch(accumulator)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"distribution": "rows"}, "distribution is 'rows'; expected one of detector, time, root"),
        ({"gaps": "x"}, "gaps is 'x'"),
        ({"missing": "x"}, "missing is 'x'"),
        ({"root": 1}, "root is 1; expected a rank, 0 to 0"),
        ({"root": "a"}, "root is 'a'"),
        ({"timestreams": None}, "timestreams is None"),
        ({"flags": 3}, "flags is 3"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, text):
    accumulator = accumulate(COMM, scans.an_observation(np.random.default_rng(1)), [0] * 3)
    with pytest.raises(g3reduce.UsageError, match=text):
        stitch(accumulator, **arguments)


def test_before_the_end_of_the_pipeline_there_is_nothing_to_stitch():
    with pytest.raises(g3reduce.UsageError, match="There is no result before the end"):
        stitch(g3reduce.MPIAccumulator(COMM, ScanExtractor()))
