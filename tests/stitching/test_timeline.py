"""The timeline of an observation: order, gaps, and what is refused, against serial numpy."""

import numpy as np
import pytest
import scans
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import core

import g3reduce
from g3reduce.stitching import timeline as timelines
from g3reduce.stitching.headers import PlacedScan, ScanHeader
from g3reduce.stitching.rules import StitchRules
from g3reduce.stitching.scans import ScanKeys

fewer = settings(max_examples=40)
LENGTHS = st.integers(1, 12)


def make_timeline(group, scans, **rules):
    return timelines.make_timeline(group, scans, StitchRules(**rules))


def headers_of(frames, keys=None):
    """Scans as ranks tell of them; each is named by its place in `frames`, ranks take turns."""
    keys = keys or ScanKeys(boresight=scans.BORESIGHT if scans.BORESIGHT in frames[0] else None)
    read = [keys.read(frame, f"s{i}").header for i, frame in enumerate(frames)]
    return [PlacedScan(header, i % 3, 10 + i) for i, header in enumerate(read)]


def a_header(first, n_samples=10, name="", *, rate=scans.RATE, rank=0, **changes):
    """A scan of two detectors, whose first sample is so many samples after the begin of all."""
    start = scans.START + round(first / rate)
    stop = start + round((n_samples - 1) / rate)
    header = ScanHeader(name or f"at {first}", ("a", "b"), n_samples, start, stop, "Tcmb", F8)
    return PlacedScan(header._replace(**changes), rank, 0)


F8 = np.dtype(float)


def assert_near(times, expected, ticks=2):
    """Times from some begin on, which are small enough for floats."""
    np.testing.assert_allclose(times, expected, rtol=0, atol=ticks)


def several(**options):
    """Frames of which some scan has two samples: where none has, there is no rate."""
    return scans.observations(lengths=LENGTHS, **options).filter(
        lambda frames: any(frame[scans.KEY].n_samples > 1 for frame in frames)
    )


@fewer
@given(several(), st.randoms())
def test_scans_in_any_order_become_the_serial_concatenation(frames, random):
    placed = headers_of(frames)
    timeline = make_timeline("g", random.sample(placed, len(placed)))
    expected = scans.concatenated(frames)
    assert timeline.group == "g"
    assert timeline.detectors == expected.detectors
    assert [(s.header.where, s.rank, s.number) for s in timeline.scans] == [
        (s.header.where, s.rank, s.number) for s in placed
    ]
    ends = np.cumsum([0, *expected.lengths])
    assert [s.first for s in timeline.scans] == ends[:-1].tolist()
    assert [s.stop for s in timeline.scans] == ends[1:].tolist()
    assert timeline.n_samples == len(expected.times)
    np.testing.assert_array_equal(timeline.times(), expected.times)
    assert timeline.dtype == expected.signal.dtype
    assert timeline.units == "Tcmb"
    assert timeline.sample_rate == pytest.approx(scans.RATE, rel=1e-3)


@fewer
@given(several(), st.data())
def test_times_of_a_part_are_that_part_of_all_times(frames, data):
    timeline = make_timeline(
        "g", headers_of(frames), gaps=data.draw(st.sampled_from(["keep", "fill"]))
    )
    begin, end = sorted(data.draw(st.integers(0, timeline.n_samples)) for _ in range(2))
    times = timeline.times()
    assert times.dtype == np.int64
    np.testing.assert_array_equal(timeline.times(slice(begin, end)), times[begin:end])
    assert (np.diff(times) > 0).all()


@fewer
@given(several(), st.randoms())
def test_gaps_are_told_and_filled_where_samples_are_missing(frames, random):
    placed = headers_of(frames)
    random.shuffle(placed)
    grid = scans.concatenated(frames).grid
    jumps = np.flatnonzero(np.diff(grid) > 1)
    kept = make_timeline("g", placed, gaps="keep")
    assert [gap.n_samples for gap in kept.gaps] == (np.diff(grid)[jumps] - 1).tolist()
    assert [gap.first for gap in kept.gaps] == (jumps + 1).tolist()
    assert [gap.stop for gap in kept.gaps] == (jumps + 1).tolist()
    assert kept.filled == []
    filled = make_timeline("g", placed, gaps="fill")
    assert filled.n_samples == grid[-1] + 1
    there = np.concatenate([np.arange(s.first, s.stop) for s in filled.scans])
    np.testing.assert_array_equal(there, grid)
    missing = [np.arange(part.start, part.stop) for part in filled.filled]
    np.testing.assert_array_equal(
        np.concatenate([[], *missing]), np.setdiff1d(np.arange(filled.n_samples), grid)
    )
    times = filled.times()
    np.testing.assert_array_equal(times[grid], kept.times())
    for gap in filled.gaps:
        before, after = filled.scans[gap.after : gap.after + 2]
        assert (gap.start_time, gap.stop_time) == (before.header.stop, after.header.start)
        assert gap.seconds == pytest.approx((gap.n_samples + 1) / scans.RATE / core.G3Units.s, 1e-6)
        even = np.linspace(0, gap.stop_time - gap.start_time, gap.n_samples + 2)[1:-1]
        assert_near(times[gap.first : gap.stop] - gap.start_time, even, ticks=1)


def test_a_gap_is_refused_with_its_length_and_the_scans_beside_it():
    placed = [a_header(0), a_header(10, rank=2), a_header(25, rank=1), a_header(50)]
    with pytest.raises(g3reduce.InputError) as caught:
        make_timeline("field-1", placed, gaps="refuse")
    text = str(caught.value)
    for part in ("'field-1'", "5 samples", "at 10 (rank 2)", "at 25 (rank 1)", "1 more", "'fill'"):
        assert part in text
    assert make_timeline("g", placed[:2], gaps="refuse").gaps == ()


@pytest.mark.parametrize("gaps", ["keep", "fill", "refuse"])
@pytest.mark.parametrize("off", [-0.4, 0, 0.4])
def test_scans_that_are_less_than_half_a_sample_off_the_grid_have_no_gap(gaps, off):
    timeline = make_timeline("g", [a_header(10 + off), a_header(0)], gaps=gaps)
    assert timeline.gaps == ()
    assert timeline.n_samples == 20


@pytest.mark.parametrize("first", [0, 0.4, 3, 8, 8.9, 9, 9.4])
@pytest.mark.parametrize("swapped", [False, True])
def test_scans_that_overlap_are_refused_with_both_named(first, swapped):
    placed = [a_header(0, name="one", rank=1), a_header(first, 12, "two", rank=2)]
    with pytest.raises(g3reduce.InputError, match="must not overlap") as caught:
        make_timeline("field-1", placed[::-1] if swapped else placed)
    text = str(caught.value)
    for part in ("'field-1'", "one (rank 1)", "two (rank 2)", "01-Mar-2025:12:00:00"):
        assert part in text


def test_a_scan_within_a_longer_one_is_refused_wherever_it_comes():
    placed = [a_header(0, 100), a_header(40, 5), a_header(100, 10)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        with pytest.raises(g3reduce.InputError, match=r"at 40 .* before at 0 .* has ended"):
            make_timeline("g", [placed[i] for i in order])


def test_a_scan_that_comes_twice_is_a_duplicate_and_the_message_is_the_same_in_any_order():
    placed = [a_header(20, name="b", rank=2), a_header(0), a_header(20, name="a", rank=3)]
    texts = set()
    for some in (placed, placed[::-1]):
        with pytest.raises(g3reduce.DuplicateError) as caught:
            make_timeline("field-1", some)
        texts.add(str(caught.value))
    (text,) = texts
    assert "'field-1': a (rank 3) and b (rank 2) have the same samples, 10 from" in text
    with pytest.raises(g3reduce.DuplicateError, match=r"once\.$"):
        make_timeline("g", [a_header(0, 1, "a"), a_header(0, 1, "b")])


def test_rates_that_differ_are_refused_with_both_named():
    placed = [a_header(0, name="slow", rate=scans.RATE / 2), a_header(100, 20, name="fast")]
    with pytest.raises(g3reduce.MismatchError) as caught:
        make_timeline("field-1", placed)
    for part in ("'field-1'", "slow (rank 0) has 76.3", "fast (rank 0) has 152.6"):
        assert part in str(caught.value)


def test_rates_may_differ_by_as_much_as_times_are_rounded():
    rate = 1 / 700  # samples are 7 us apart
    placed = [a_header(20 * i, n, rate=rate) for i, n in enumerate((2, 19, 3, 1))]
    assert make_timeline("g", placed).step == pytest.approx(700, rel=1e-3)


@pytest.mark.parametrize("n_samples", [5, 10, 20])
@pytest.mark.parametrize("span", [0, -700])
def test_scans_that_take_no_time_are_refused(n_samples, span):
    broken = a_header(20, n_samples, "broken")
    broken = broken._replace(header=broken.header._replace(stop=broken.header.start + span))
    for placed in ([broken], [a_header(0), broken], [broken, a_header(50)]):
        with pytest.raises(g3reduce.InputError, match=f"broken .* has {n_samples} samples from"):
            make_timeline("g", placed)


@pytest.mark.parametrize("stop", [0, -1, 1, 1000])
def test_scans_of_one_sample_are_where_they_start_whatever_their_stop(stop):
    single = a_header(10, 1, "single")
    stop = stop * single.header.start if stop < 1 else single.header.start + stop
    single = single._replace(header=single.header._replace(stop=stop))
    timeline = make_timeline("g", [a_header(13), single, a_header(0)], gaps="fill")
    assert [s.first for s in timeline.scans] == [0, 10, 13]
    assert [(gap.first, gap.stop) for gap in timeline.gaps] == [(11, 13)]
    assert_near(timeline.times() - scans.START, np.arange(23) / scans.RATE)


def test_scans_of_one_sample_alone_have_no_rate_and_no_gaps():
    placed = [a_header(i, 1) for i in (7, 0, 30)]
    timeline = make_timeline("g", placed, gaps="fill")
    assert np.isnan(timeline.sample_rate)
    assert timeline.gaps == ()
    assert timeline.times().tolist() == sorted(scan.header.start for scan in placed)


def test_scans_without_samples_are_left_out():
    empty = [a_header(0, 0, dtype=np.dtype("i4"), units="", detectors=("z",)), a_header(30, 0)]
    timeline = make_timeline("g", [*empty, a_header(10), a_header(0)], gaps="refuse")
    assert [s.header.where for s in timeline.scans] == ["at 0", "at 10"]
    assert timeline.detectors == ("a", "b")
    assert make_timeline("g", empty) is None
    assert make_timeline("g", []) is None


def test_units_that_differ_are_refused_with_both_named():
    placed = [a_header(0), a_header(10, units="Power", rank=1)]
    with pytest.raises(g3reduce.MismatchError, match=r"at 0 .* in Tcmb, but at 10 .* in Power"):
        make_timeline("g", placed)


def test_a_part_that_only_some_scans_have_is_refused():
    fields = {"fields": ("signal", "flags", "detector_flags", "boresight")}
    # All ranks say the same: the first in the order of the alphabet.
    text = r"has no boresight, but at {} \(rank 0\) has\."
    with pytest.raises(g3reduce.MismatchError, match=text.format(10)):
        make_timeline("g", [a_header(0), a_header(10, **fields)])
    with pytest.raises(g3reduce.MismatchError, match=text.format(0)):
        make_timeline("g", [a_header(0, **fields), a_header(10)])


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [("f4", "f8", "f8"), ("i4", "i8", "i8"), ("i4", "f4", "f8"), ("f4", "f4", "f4")],
)
def test_samples_of_several_types_become_one_that_holds_all(one, other, both):
    placed = [a_header(0, dtype=np.dtype(one)), a_header(10, dtype=np.dtype(other))]
    assert make_timeline("g", placed).dtype == both


def test_detectors_that_some_scans_lack_are_refused_if_so_wished():
    names = ("a", "c"), ("b", "a", "c"), ("a",)
    placed = [a_header(10 * i, detectors=some, rank=i) for i, some in enumerate(names)]
    assert make_timeline("g", placed).detectors == ("a", "c", "b")
    with pytest.raises(g3reduce.MismatchError) as caught:
        make_timeline("field-1", placed, missing="refuse")
    for part in ("'field-1'", "at 0 (rank 0) lacks 1 of 3", "'b', which at 10 (rank 1)", "'flag'"):
        assert part in str(caught.value)
    same = [a_header(0), a_header(10, detectors=("b", "a"))]
    assert make_timeline("g", same, missing="refuse").detectors == ("a", "b")


def test_filling_much_more_than_was_recorded_is_refused():
    def timeline(gap):
        return make_timeline("field-1", [a_header(0), a_header(10 + gap)], gaps="fill")

    assert timeline(200).n_samples == 220
    with pytest.raises(g3reduce.InputError, match=r"'field-1'.*would take 201 samples, for 20 "):
        timeline(201)
    far = [a_header(0), a_header(10**12)]
    assert make_timeline("g", far, gaps="keep").n_samples == 20


def test_what_to_do_must_be_one_of_what_there_is():
    StitchRules("keep", "flag").check()
    with pytest.raises(
        g3reduce.UsageError, match="gaps is 'x'; expected one of keep, fill, refuse"
    ):
        StitchRules("x", "flag").check()
    with pytest.raises(g3reduce.UsageError, match="missing is None; expected one of flag, refuse"):
        StitchRules("keep", None).check()


def test_long_observations_are_known_without_memory_for_their_samples():
    n = 10**9  # 76 days
    timeline = make_timeline("g", [a_header(2 * n, n), a_header(0, n)], gaps="fill")
    assert timeline.n_samples == 3 * n
    header = timeline.scans[1].header
    last = timeline.times(slice(3 * n - 5, None))
    assert_near(header.stop - last, np.arange(4, -1, -1) / scans.RATE, ticks=100)  # 1 us
