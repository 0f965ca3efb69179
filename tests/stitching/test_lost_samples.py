"""Samples that were lost inside scans: found by the rate, placed by their times or by a mask."""

from itertools import pairwise

import lostscans
import numpy as np
import pytest
import scans
from choices import ALL
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lostscans import TIMES, VALID
from spt3g import core
from stitching_oracle import accumulate, whole

import g3reduce
from g3reduce import stitch, stitch_files, unstitch
from g3reduce.mpi.communicators import OneProcess

COMM = OneProcess()
fewer = settings(max_examples=300 if ALL else 20)
STEP = 1 / scans.RATE


def a_scan(first, n_samples, n_steps, detectors=("a",)):
    """A scan from one place to another, of any number of samples between."""
    frame = scans.make_scan(np.random.default_rng(first), detectors, n_samples, boresight=None)
    samples = np.ones((len(detectors), n_samples))
    start = scans.START + round(first * STEP)
    del frame[scans.KEY]
    frame[scans.KEY] = core.G3TimestreamMap(
        list(detectors), samples, core.G3Time(start), core.G3Time(start + round(n_steps * STEP))
    )
    return frame


def stitched(frames, **options):
    extracted = {key: options.pop(key) for key in ("times", "valid", "flags") if key in options}
    boresight = scans.BORESIGHT if scans.BORESIGHT in frames[0] else None
    keys = {"boresight": boresight, **extracted}
    (found,) = stitch(accumulate(COMM, frames, [0] * len(frames), keys=keys), **options).values()
    return found


@pytest.mark.parametrize(
    ("n_samples", "lost"),
    [(3, -1), (3, 1), *((n, lost) for n in (100, 2000, 50_000) for lost in (-1, 1, 3))],
)
@pytest.mark.parametrize("where", [0, 1, 2])
def test_lost_samples_are_refused_whatever_the_length_and_place_of_the_scan(n_samples, lost, where):
    frames = [
        a_scan(number * n_samples, n_samples - (lost if number == where else 0), n_samples - 1)
        for number in range(3)
    ]
    with pytest.raises(g3reduce.MismatchError) as caught:
        stitched(frames)
    text = str(caught.value)
    wrong = "too few" if lost > 0 else "too many"
    number = f"{abs(lost)} sample{'s' if abs(lost) > 1 else ''} {wrong}"
    for part in ("'field-1000'", f"{n_samples - lost} samples, {number}", "times=", "valid="):
        assert part in text


@pytest.mark.parametrize("lengths", [(2000, 2000), (3000, 1000), (1000, 3000)])
def test_of_two_scans_the_one_that_lost_a_sample_is_named(lengths, tmp_path):
    for where in (0, 1):
        frames, first = [], 0
        for number, n_samples in enumerate(lengths):
            frames.append(a_scan(first, n_samples - (number == where), n_samples - 1))
            first += n_samples
        files = scans.write_files(tmp_path, frames, 2)
        text = rf"{files[where]}, frame 2 \(rank 0\) has .* 1 sample too few"
        with pytest.raises(g3reduce.MismatchError, match=text):
            stitch_files(files, tmp_path / "out.g3", boresight=None)


@pytest.mark.parametrize("off", [-0.4, 0.4])
@pytest.mark.parametrize("n_samples", [3, 100, 50_000])
def test_less_than_half_a_sample_over_a_scan_is_no_fault(off, n_samples):
    frames = [
        a_scan(0, n_samples, n_samples - 1),
        a_scan(n_samples, n_samples, n_samples - 1 + off),
    ]
    assert stitched(frames).signal.shape == (1, 2 * n_samples)


def test_a_short_scan_does_not_judge_a_long_one():
    frames = [a_scan(0, 2000, 1999), a_scan(2000, 5, 4.01)]  # a hundredth of a sample
    assert stitched(frames).signal.shape == (1, 2005)


@st.composite
def lossy_observations(draw):
    """Scans without gaps, the same with lost samples, and which these are in the whole."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(6, 20), min_size=1, max_size=4))
    gaps = [draw(st.integers(0, 3)) for _ in lengths]
    kinds = {"flags": draw(st.sampled_from([None, "int"])), "dtype": np.int32}
    options = {"gaps": gaps, "detectors": ("b", "a"), **kinds}
    seed = draw(st.integers(0, 1000))
    full = scans.an_observation(np.random.default_rng(seed), lengths, **options)
    lossy = scans.an_observation(np.random.default_rng(seed), lengths, **options)
    kept = [lostscans.kept_of(rng, n_samples) for n_samples in lengths]
    jitter = draw(st.sampled_from([0, 1000, 5000]))
    lossy = [
        lostscans.with_lost_samples(frame, some, jitter)
        for frame, some in zip(lossy, kept, strict=True)
    ]
    return full, lossy, np.concatenate(kept), jitter


def most_are_regular(kept, lengths):
    """Whether more than half of the steps of each scan are from one sample to the next."""
    borders = np.cumsum([0, *lengths])
    return all(np.median(np.diff(np.flatnonzero(kept[a:b]))) == 1 for a, b in pairwise(borders))


@fewer
@given(lossy_observations(), st.sampled_from(["times", "valid"]), st.randoms())
def test_lost_samples_leave_gaps_that_are_kept_out_or_filled_and_flagged(made, how, random):
    full, lossy, kept, jitter = made
    lengths = [frame[scans.KEY].n_samples for frame in full]
    keys = {how: TIMES if how == "times" else VALID}
    if scans.FLAGS in full[0]:
        keys["flags"] = scans.FLAGS
    assume(how == "valid" or most_are_regular(kept, lengths))
    expected = whole(full, "fill")
    recorded = np.zeros(len(expected.times), bool)
    recorded[scans.concatenated(full).grid] = kept
    order = random.sample(range(len(full)), len(full))
    for gaps in ("keep", "fill"):
        found = stitched([lossy[i] for i in order], gaps=gaps, **keys)
        where = recorded if gaps == "keep" else np.ones(len(recorded), bool)
        there = recorded[where]
        assert found.signal.shape == (2, where.sum())
        np.testing.assert_array_equal(found.signal[:, there], expected.signal[:, recorded])
        assert not found.signal[:, ~there].any()
        np.testing.assert_array_equal(found.flags[there], expected.flags[recorded])
        assert (found.flags[~there] == 1).all()
        np.testing.assert_array_equal(found.boresight[there], expected.boresight[recorded])
        lost = np.diff(np.flatnonzero(recorded)) - 1
        assert [gap.n_samples for gap in found.timeline.gaps] == lost[lost > 0].tolist()
        assert (np.diff(found.times) > 0).all()
        if how == "times":
            moments = [np.asarray(frame[TIMES]) for frame in lossy]
            np.testing.assert_array_equal(found.times[there], np.concatenate(moments))
        elif not jitter:
            assert np.abs(found.times[there] - expected.times[recorded]).max() <= 1
        assert found.timeline.n_scans == len(full)
        back = unstitch(found, found.signal)
        for index, number in enumerate(order):
            rows = [np.asarray(row) for row in lossy[number][scans.KEY].values()]
            np.testing.assert_array_equal([np.asarray(row) for row in back[index].values()], rows)


def test_a_gap_inside_a_scan_may_be_refused():
    frame = scans.make_scan(np.random.default_rng(1), n_samples=9, boresight=None)
    frame = lostscans.with_lost_samples(frame, ~np.isin(np.arange(9), (3, 4, 6)))
    with pytest.raises(g3reduce.InputError, match=r"2 samples, inside a Scan frame .* 1 more"):
        stitched([frame], valid=VALID, gaps="refuse")


def test_a_mask_with_a_value_for_each_sample_flags_those_that_did_not_come():
    frame = scans.make_scan(np.random.default_rng(1), n_samples=9, boresight=None, dtype=np.int32)
    came = ~np.isin(np.arange(9), (0, 4, 5))
    frame[VALID] = core.G3VectorBool(came.tolist())
    found = stitched([frame], valid=VALID)
    np.testing.assert_array_equal(found.flags, ~came)
    assert found.signal.shape == (2, 9)
    back = unstitch(found, found.signal)[0]
    np.testing.assert_array_equal(back["_nanmask"], ~came)


def test_files_have_the_gaps_inside_scans_and_the_times_of_samples(tmp_path):
    frames = scans.an_observation(np.random.default_rng(1), (8, 8), detectors=("a", "b"))
    kept = ~np.isin(np.arange(8), (2, 3))
    frames = [lostscans.with_lost_samples(frame, kept) for frame in frames]
    files = scans.write_files(tmp_path, frames, 2)
    for gaps, n_samples in (("keep", 12), ("fill", 16)):
        (told,) = stitch_files(files, tmp_path / "out.g3", times=TIMES, gaps=gaps)
        assert (told.n_samples, told.n_scans, len(told.gaps)) == (n_samples, 2, 2)
        frame = next(f for f in core.G3File(str(tmp_path / "out.g3")) if scans.KEY in f)
        assert list(frame["GapSamples"]) == [2, 2]
        assert list(frame["GapAfterScan"]) == [0, 2]
        assert list(frame["ScanInputFrames"]) == [2, 2, 2, 2]
        moments = np.asarray(frame["SampleTimes"])
        there = np.isin(moments, np.concatenate([np.asarray(f[TIMES]) for f in frames]))
        assert there.sum() == 12
        np.testing.assert_array_equal(frame["SampleFlags"], ~there)


@pytest.mark.parametrize(
    ("options", "changes", "text"),
    [
        ({"times": "Nowhere"}, {}, "has no 'Nowhere'"),
        ({"times": "X"}, {"X": core.G3VectorInt([1] * 6)}, "expected a G3VectorTime"),
        (
            {"times": "X"},
            {"X": core.G3VectorTime(np.array([1, 2]))},
            "has 2 samples; expected 6, as the",
        ),
        (
            {"times": "X"},
            {"X": core.G3VectorTime(np.array([100, 200, 300, 250, 500, 600]))},
            "for sample 2 and .* for the next; expected times that incre",
        ),
        (
            {"times": "X"},
            {"X": core.G3VectorTime(np.array([5] * 6))},
            "expected times that incre",
        ),
        (
            {"valid": "X"},
            {"X": core.G3VectorBool([True] * 7)},
            "by .X. 7 of 7 samples are there, but",
        ),
        (
            {"valid": "X"},
            {"X": core.G3VectorBool([True] * 3)},
            "by .X. 3 of 3 samples are there, but",
        ),
        ({"valid": "X"}, {"X": core.G3String("a")}, "expected a vector of booleans"),
    ],
)
def test_times_and_masks_that_cannot_be_used_are_refused(options, changes, text):
    frame = scans.make_scan(np.random.default_rng(1), n_samples=6, boresight=None)
    for key, value in changes.items():
        frame[key] = value
    with pytest.raises(g3reduce.InputError, match=text):
        stitched([frame], **options)
    with pytest.raises(g3reduce.UsageError, match="expected one of them"):
        stitch(accumulate(COMM, [], []), times="A", valid="B")


@pytest.mark.parametrize("off", [0, 0.05, -0.05])
@pytest.mark.parametrize("gaps", ["keep", "fill"])
def test_a_sample_that_two_scans_share_is_left_out_of_the_later_one(off, gaps):
    rng = np.random.default_rng(1)
    one, other = (
        scans.make_scan(rng, ("a", "b"), n, scans.START + round(first * STEP), flags="int")
        for n, first in ((10, 0), (5, 9 + off))
    )
    with pytest.raises(g3reduce.InputError, match=r"must not overlap.*overlap='drop'"):
        stitched([one, other])
    found = stitched([other, one], overlap="drop", gaps=gaps, flags=scans.FLAGS)
    rows = [np.concatenate([one[scans.KEY][n], other[scans.KEY][n][1:]]) for n in "ab"]
    np.testing.assert_array_equal(scans.bits(found.signal), scans.bits(rows))
    assert found.timeline.gaps == ()
    expected = np.concatenate([one[scans.BORESIGHT], np.asarray(other[scans.BORESIGHT])[1:]])
    np.testing.assert_array_equal(found.boresight, expected)
    back = unstitch(found, np.arange(28.0).reshape(2, 14))
    np.testing.assert_array_equal(np.asarray(back[1]), np.arange(28).reshape(2, 14)[:, :10])
    np.testing.assert_array_equal(np.asarray(back[0]), np.arange(28).reshape(2, 14)[:, 9:])


@pytest.mark.parametrize("first", [8, 8.5, 9.3])
def test_scans_that_share_more_or_at_other_times_are_refused_anyway(first):
    frames = [a_scan(0, 10, 9)]
    frames.append(a_scan(0, 5, 4))
    samples = frames[1].pop(scans.KEY)
    start = scans.START + round(first * STEP)
    frames[1][scans.KEY] = core.G3TimestreamMap(
        ["a"], np.asarray(samples), core.G3Time(start), core.G3Time(start + round(4 * STEP))
    )
    with pytest.raises(g3reduce.InputError, match="must not overlap"):
        stitched(frames, overlap="drop")


def test_a_scan_of_which_only_the_shared_sample_came_is_left_out():
    one, other = scans.an_observation(np.random.default_rng(1), (6, 1), boresight=None)
    samples = other.pop(scans.KEY)
    names, rows = list(samples), np.array(samples)
    other[scans.KEY] = core.G3TimestreamMap(names, rows, *[one[scans.KEY].stop] * 2, samples.units)
    found = stitched([one, other], overlap="drop")
    assert found.signal.shape == (3, 6)
    back = unstitch(found, found.signal)
    np.testing.assert_array_equal(np.asarray(back[1])[:, 0], found.signal[:, 5])
