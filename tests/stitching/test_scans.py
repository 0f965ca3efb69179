"""What restitching relies on: how spt3g times samples, joins scans and brings them to numpy.

These also hold the helpers of ``scans`` to spt3g itself.
"""

import numpy as np
import pytest
import scans
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import core


def through_files(folder, frames, **options):
    found = []
    for file in scans.write_files(folder, frames, **options):
        found += [frame for frame in core.G3File(file) if frame.type == core.G3FrameType.Scan]
    return found


@given(st.integers(2, 300), st.integers(0, 2**60), st.integers(-(2**40), 2**50))
def test_times_of_samples_are_those_of_spt3g(n_samples, start, span):
    timestream = core.G3Timestream(np.zeros(n_samples))
    timestream.start, timestream.stop = core.G3Time(start), core.G3Time(start + span)
    expected = [time.time for time in timestream.times]
    np.testing.assert_array_equal(scans.times_of(start, start + span, n_samples), expected)


@given(scans.observations(gaps=scans.NO_GAPS, missing=False), st.randoms())
def test_scans_without_gaps_are_joined_as_spt3g_joins_them(frames, random):
    mine = scans.concatenated(random.sample(frames, len(frames)))
    theirs = core.G3TimestreamMap.concatenate([frame[scans.KEY] for frame in frames])
    assert mine.detectors == tuple(theirs.keys())
    for row, timestream in zip(mine.signal, theirs.values(), strict=True):
        np.testing.assert_array_equal(scans.bits(row), scans.bits(np.asarray(timestream)))
    assert mine.present.all()
    np.testing.assert_array_equal(mine.grid, np.arange(sum(mine.lengths)))
    elapsed = (mine.times - mine.times[0]) * scans.RATE
    np.testing.assert_allclose(elapsed, mine.grid, rtol=0, atol=1e-3)


@settings(max_examples=30)
@given(scans.observations())
def test_files_bring_back_the_same_scans(tmp_path_factory, frames):
    back = through_files(tmp_path_factory.mktemp("scans"), frames)
    mine, theirs = scans.concatenated(back), scans.concatenated(frames)
    for name, expected in vars(theirs).items():
        found = getattr(mine, name)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(scans.bits(found), scans.bits(expected))
        else:
            assert found == expected


@pytest.mark.parametrize("dtype", scans.DTYPES)
@pytest.mark.parametrize("level", [0, 5])
def test_timestreams_from_a_file_are_one_array_that_outlives_the_frame(tmp_path, dtype, level):
    frames = scans.an_observation(
        np.random.default_rng(1), dtype=dtype, units=scans.UNITS.Counts, compression_level=level
    )
    expected = [np.array(frame[scans.KEY]) for frame in frames]
    back = through_files(tmp_path, frames)
    arrays = [np.asarray(frame[scans.KEY]) for frame in back]
    assert np.shares_memory(arrays[0], np.asarray(back[0][scans.KEY]))
    del frames, back
    for array, values in zip(arrays, expected, strict=True):
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, values)


def test_looking_at_single_timestreams_does_not_move_them(tmp_path):
    frame, *_ = through_files(tmp_path, scans.an_observation(np.random.default_rng(1)))
    first, again = (
        [np.asarray(timestream) for timestream in frame[scans.KEY].values()] for _ in range(2)
    )
    assert all(map(np.shares_memory, first, again))


@pytest.mark.parametrize("how", scans.MISALIGNED)
def test_what_is_not_aligned_has_to_be_found_before_numpy_sees_it(how):
    timestreams = scans.misaligned(how)
    types = {np.asarray(timestream).dtype for timestream in timestreams.values()}
    assert len(types) == (2 if how == "type" else 1)
    assert timestreams.CheckAlignment() == (how == "type")
    assert np.asarray(timestreams).shape != (2, 9)  # nor an error
