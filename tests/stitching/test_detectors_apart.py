"""Detectors of one observation in frames and files of their own are joined."""

import lostscans
import numpy as np
import pytest
import scans
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st
from lostscans import TIMES
from spt3g import core
from stitching_oracle import accumulate, assert_share, keys_of, whole

import g3reduce
from g3reduce import stitch, stitch_files, unstitch
from g3reduce.mpi.communicators import OneProcess

COMM = OneProcess()
fewer = settings(max_examples=300 if ALL else 20)


@st.composite
def observations_in_parts(draw):
    """Scans, and the same with their detectors in frames of their own; some of these are lost."""
    names = [f"w{number}" for number in range(draw(st.integers(2, 5)))]
    wafers = [draw(st.integers(0, 2)) for _ in names]
    parts = [[n for n, w in zip(names, wafers, strict=True) if w == number] for number in range(3)]
    parts = [part for part in parts if part]
    lengths = draw(st.lists(st.integers(2, 9), min_size=1, max_size=4))
    seed = draw(st.integers(0, 2**32 - 1))
    gaps = [draw(st.integers(0, 2)) for _ in lengths]
    # In each scan some parts came, and at least one of them.
    came = [draw(st.lists(st.sampled_from(parts), min_size=1, unique_by=tuple)) for _ in lengths]
    frames = scans.an_observation(
        np.random.default_rng(seed),
        lengths,
        gaps=gaps,
        detectors=[[name for part in some for name in sorted(part)] for some in came],
        flags=draw(st.sampled_from([None, "int"])),
        dtype=np.int32,
    )
    apart = [
        lostscans.of_detectors(frame, part)
        for frame, some in zip(frames, came, strict=True)
        for part in some
    ]
    return frames, apart


def by_name(observation):
    """Samples and flags of each detector of what this rank holds."""
    return {
        name: (observation.signal[row], observation.detector_flags[row])
        for row, name in enumerate(observation.detectors)
    }


@fewer
@given(observations_in_parts(), st.randoms(), st.sampled_from(["keep", "fill"]), st.booleans())
def test_detectors_in_frames_of_their_own_are_those_of_one_frame(made, random, gaps, extracted):
    frames, apart = made
    keys = keys_of(frames)
    accumulators = [
        accumulate(COMM, some, [0] * len(some), keys=keys if extracted else None)
        for some in (frames, random.sample(apart, len(apart)))
    ]
    options = {} if extracted else keys
    one, other = (next(iter(stitch(a, gaps=gaps, **options).values())) for a in accumulators)
    assert set(other.detectors) == set(one.detectors)
    expected = by_name(one)
    for name, (signal, flags) in by_name(other).items():
        np.testing.assert_array_equal(signal, expected[name][0])
        np.testing.assert_array_equal(flags, expected[name][1])
    for name in ("flags", "boresight", "times"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
    assert [gap[1:] for gap in other.timeline.gaps] == [gap[1:] for gap in one.timeline.gaps]
    back = unstitch(other, other.signal)
    items = accumulators[1].fullobs["field-1000"]
    for index, timestreams in back.items():
        data = items[index][2]
        header = keys_header(data, keys)
        assert tuple(timestreams) == header.detectors
    assert sum(len(timestreams) for timestreams in back.values()) == sum(
        len(frame[scans.KEY]) for frame in apart
    )


def keys_header(data, keys):
    return (
        data.header
        if hasattr(data, "header")
        else g3reduce.stitching.scans.ScanKeys(**keys).read(data, "").header
    )


def in_two(rng, **options):
    """Two scans of four detectors, as frames of two of them each."""
    frames = scans.an_observation(rng, (9, 7), detectors=("a", "b", "c", "d"), **options)
    return frames, [[lostscans.of_detectors(f, pair) for f in frames] for pair in ("ab", "cd")]


def test_files_of_wafers_become_one_observation_in_an_order_of_their_own(tmp_path):
    frames, (one, other) = in_two(np.random.default_rng(1), gaps=[0, 2])
    files = [
        *scans.write_files(tmp_path, one, 2, "wafer1"),
        *scans.write_files(tmp_path, other, 1, "wafer2"),
    ]
    written = []
    for some in (files, files[::-1]):
        (told,) = stitch_files(some, tmp_path / "out.g3", gaps="fill")
        assert (told.n_detectors, told.n_samples, len(told.gaps)) == (4, 18, 1)
        frame = next(f for f in core.G3File(str(tmp_path / "out.g3")) if scans.KEY in f)
        assert list(frame[scans.KEY]) == list("abcd")
        written.append(np.asarray(frame[scans.KEY]))
        assert sorted(frame["ScanInputFiles"]) == sorted([*files, files[2]])
        assert list(frame["ScanFirstSample"]) == [0, 0, 11, 11]
    np.testing.assert_array_equal(scans.bits(written[0]), scans.bits(written[1]))
    np.testing.assert_array_equal(scans.bits(written[0]), scans.bits(whole(frames, "fill").signal))


def test_flags_of_samples_that_differ_are_for_their_own_detectors():
    frames, (one, other) = in_two(np.random.default_rng(1), flags="int", boresight=None)
    theirs = np.arange(9) % 4
    other[0] = lostscans.of_detectors(
        frames[0], "cd", **{scans.FLAGS: core.G3VectorInt(theirs.tolist())}
    )
    made = [*one, *other]
    keys = {"boresight": None, "flags": scans.FLAGS}
    (found,) = stitch(accumulate(COMM, made, [0] * 4), **keys).values()
    mine = np.asarray(frames[0][scans.FLAGS])
    assert not found.flags[:9].any()
    np.testing.assert_array_equal(found.detector_flags[:, :9], [mine, mine, theirs, theirs])
    np.testing.assert_array_equal(found.flags[9:], np.asarray(frames[1][scans.FLAGS]))
    assert not found.detector_flags[:, 9:].any()


def test_samples_that_one_wafer_lost_are_missing_for_its_detectors_alone():
    frames, (one, other) = in_two(np.random.default_rng(1), flags="int", dtype=np.int32)
    kept = [~np.isin(np.arange(9), lost) for lost in ((3, 4), (4, 6))]
    for some, here in zip((one, other), kept, strict=True):
        some[0] = lostscans.with_lost_samples(some[0], here, jitter=1000)
        some[1] = lostscans.with_lost_samples(some[1], np.ones(7, bool))
    keys = {"boresight": scans.BORESIGHT, "flags": scans.FLAGS, "times": TIMES}
    expected = whole(frames)
    for gaps in ("keep", "fill"):
        accumulator = accumulate(COMM, [*one, *other], [0] * 4, keys=keys)
        (found,) = stitch(accumulator, gaps=gaps).values()
        places = np.arange(16) if gaps == "fill" else np.delete(np.arange(16), 4)  # lost by both
        came = np.repeat([[*here, *[True] * 7] for here in kept], 2, axis=0)[:, places]
        np.testing.assert_array_equal(found.signal, np.where(came, expected.signal[:, places], 0))
        anywhere = came.any(axis=0)
        own = np.where(came, expected.flags[places], 1) * anywhere
        common = np.where(anywhere, np.arange(len(places)) * 0, 1)
        common[-7:] = expected.flags[-7:]
        own[:, -7:] = 0
        np.testing.assert_array_equal(found.flags, common)
        np.testing.assert_array_equal(found.detector_flags, own)
        np.testing.assert_array_equal(
            found.boresight[anywhere], expected.boresight[places][anywhere]
        )
        moments = np.concatenate([np.asarray(frame[TIMES]) for frame in [*one, *other]])
        np.testing.assert_array_equal(found.times[anywhere], np.unique(moments))


def test_the_same_detectors_at_the_same_times_are_refused_with_both_files(tmp_path):
    _, (one, other) = in_two(np.random.default_rng(1))
    frames, _ = in_two(np.random.default_rng(2))
    again = [lostscans.of_detectors(frame, "bc") for frame in frames]
    files = [
        scans.write_files(tmp_path, some, 1, name)[0]
        for name, some in (("one", one), ("other", other), ("again", again))
    ]
    text = rf"{files[2]}, frame 2 .* and {files[0]}, frame 2 .* such as 'b' \(1 of 2\)"
    with pytest.raises(g3reduce.DuplicateError, match=text):
        stitch_files([files[0], files[2]], tmp_path / "out.g3")


def test_other_boresights_and_other_times_are_refused_with_both_files(tmp_path):
    frames, (one, _) = in_two(np.random.default_rng(1))
    turned = core.G3VectorQuat(np.asarray(frames[0][scans.BORESIGHT])[::-1].copy())
    other = lostscans.of_detectors(frames[0], "cd", **{scans.BORESIGHT: turned})
    files = [
        scans.write_files(tmp_path, some, 1, name)[0]
        for name, some in (("one", one[:1]), ("other", [other]))
    ]
    text = rf"{files[0]}, frame 2 .* and {files[1]}, frame 2 .* their boresights differ"
    with pytest.raises(g3reduce.MismatchError, match=text):
        stitch_files(files, tmp_path / "out.g3")
    later = scans.make_scan(np.random.default_rng(1), "cd", 9, scans.START + 10**6)
    files[1] = scans.write_files(tmp_path, [later], 1, "other")[0]
    with pytest.raises(g3reduce.InputError, match="have different detectors; expected as many"):
        stitch_files(files, tmp_path / "out.g3")


def test_a_share_of_joined_detectors_is_that_of_one_frame():
    frames, (one, other) = in_two(np.random.default_rng(1))
    (found,) = stitch(accumulate(COMM, [*other, *one], [0] * 4)).values()
    assert_share(found, whole(frames))
