"""Samples that never came are flags, not data, and their mask is no detector."""

import base64
import zlib

import numpy as np
import pytest
import scans
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st
from spt3g import core
from stitching_oracle import accumulate

from g3reduce import InputError, reductions, stitch, stitch_files, unstitch
from g3reduce.mpi.communicators import OneProcess

COMM = OneProcess()
fewer = settings(max_examples=300 if ALL else 20)


@st.composite
def gappy_scans(draw):
    """Scans of some detectors, and which samples of each of them were dropped."""
    detectors = tuple("abcd"[: draw(st.integers(1, 4))])
    dtype = draw(st.sampled_from(scans.DTYPES))
    level = draw(st.sampled_from([0, 5]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(2, 12), min_size=1, max_size=4))
    by_detector = np.dtype(dtype).kind == "f" and draw(st.booleans())
    return scans.with_dropped_samples(rng, detectors, lengths, dtype, level, by_detector)


def flags_of(observation):
    """Which samples have a flag, of all detectors or by detector."""
    return (observation.flags | observation.detector_flags) != 0


@fewer
@given(gappy_scans(), st.booleans(), st.sampled_from(["detector", "time"]))
def test_exactly_the_samples_that_were_dropped_are_flagged(made, extracted, distribution):
    frames, signal, dropped = made
    keys = {"boresight": None}
    accumulator = accumulate(COMM, frames, [0] * len(frames), keys=keys if extracted else None)
    (found,) = stitch(accumulator, distribution, **keys).values()
    assert found.detectors == tuple("abcd"[: len(signal)])
    np.testing.assert_array_equal(flags_of(found), dropped)
    # What came of no detector is said once for all.
    for scan in found.timeline.scans:
        part = slice(scan.first, scan.stop)
        np.testing.assert_array_equal(found.flags[part], dropped[:, part].all(axis=0))
    assert found.signal.dtype == signal.dtype
    np.testing.assert_array_equal(found.signal[~dropped], signal[~dropped])


@fewer
@given(gappy_scans())
def test_scans_get_their_dropped_samples_back_as_spt3g_says_them(made):
    frames, _, _ = made
    (found,) = stitch(accumulate(COMM, frames, [0] * len(frames)), boresight=None).values()
    for index, timestreams in unstitch(found, found.signal).items():
        expected = frames[index][scans.KEY]
        assert list(timestreams) == list(expected)
        for name, row in expected.items():
            np.testing.assert_array_equal(scans.bits(timestreams[name]), scans.bits(row))
    for index, timestreams in unstitch(found, np.zeros(found.signal.shape)).items():
        names = [name for name in frames[index][scans.KEY] if name != "_nanmask"]
        assert list(timestreams) == names
        if "_nanmask" in frames[index][scans.KEY]:
            mask = np.asarray(frames[index][scans.KEY]["_nanmask"]) != 0
            np.testing.assert_array_equal(np.isnan(np.asarray(timestreams)), [mask] * len(names))


@settings(max_examples=100 if ALL else 8)
@given(gappy_scans())
def test_files_say_which_samples_were_dropped(tmp_path_factory, made):
    frames, signal, dropped = made
    folder = tmp_path_factory.mktemp("scans")
    files = scans.write_files(folder, frames, n_files=min(2, len(frames)))
    (told,) = stitch_files(files, folder / "out.g3", boresight=None)
    assert told.n_detectors == len(signal)
    assert told.flagged == pytest.approx(dropped.mean())
    frame = next(f for f in core.G3File(str(folder / "out.g3")) if scans.KEY in f)
    flags = frame[f"{scans.KEY}Flags"]
    none = np.zeros(signal.shape[1], int)
    assert list(frame[scans.KEY]) == list("abcd"[: len(signal)])
    for row, name in enumerate(frame[scans.KEY]):
        mine = np.asarray(flags[name]) if name in flags else none
        np.testing.assert_array_equal(mine | np.asarray(frame["SampleFlags"]), dropped[row])


def test_samples_that_only_the_second_of_two_maps_lacks_are_flagged_for_it_alone(tmp_path):
    frames, _, _ = scans.with_dropped_samples(np.random.default_rng(1), "ab", [6], np.int32)
    for key in ("One", "Two"):
        frames[0][key] = core.G3TimestreamMap(
            ["x"], np.ones((1, 6)), frames[0][scans.KEY].start, frames[0][scans.KEY].stop
        )
    mask = np.asarray(frames[0][scans.KEY]["_nanmask"])
    files = scans.write_files(tmp_path, frames, 1)
    out = tmp_path / "out.g3"
    stitch_files(files, out, boresight=None, timestreams=["One", scans.KEY])
    frame = next(f for f in core.G3File(str(out)) if "One" in f)
    assert not np.any(frame["SampleFlags"])
    assert list(frame["OneFlags"]) == []
    for name in "ab":
        np.testing.assert_array_equal(frame[f"{scans.KEY}Flags"][name], mask)


def test_reductions_take_dropped_samples_for_nan_and_their_mask_for_no_detector():
    rng = np.random.default_rng(1)
    (frame,), signal, dropped = scans.with_dropped_samples(rng, "abc", [64], np.int32)
    expected = np.where(dropped, np.nan, signal)
    moments = reductions.mean_and_variance(scans.KEY)
    found = moments.finalize(moments.extract(frame))
    np.testing.assert_array_equal(found.mean, expected)
    np.testing.assert_array_equal(found.n, ~dropped)
    spectra = reductions.mean_psd(scans.KEY, samples=4)
    found = spectra.finalize(spectra.extract(frame))
    assert list(found.psd) == ["a", "b", "c"]
    good = [not dropped[0, begin : begin + 4].any() for begin in range(0, 61, 2)]
    assert found.segments == dict.fromkeys("abc", sum(good))


# Written by so3g 0.2.9: frames with a G3SuperTimestream each, of detectors a and b, of 12 samples
# of which 5, 6 and 7 were dropped; int32, int64, float32 and float64. Samples count from 0 for a,
# from 12 for b, and from 100 more in each frame.
SUPERTIMESTREAMS = """
eNrt1E1IVFEUB/D7nkqZNmlYEkENYYEgOjUmLfx4aqCpyJjmx+iUyhvLmhlf4xTTBzgLg4iogUptU0OQQWJMixa1mk3RooUuwpbT
ykWLBgpXEZ137v8N+ZUtXPqGv793373n8mY8XEURQphpp2QJeQ0HQs5jR1Q5UGg2ko+ZBmf7FcMb7Bj2e0dDQe+A35wU2EI5wGRj
rcJ/5y/tW+pVtbokGxn/ziY+/GZFts3H7m5mtQ43G5kYZhNfwqy5l7psXyEGrJtB673VFVpvYl26ppeMK9N0N5N+5j6oCm+xN+Ni
pfVkmvadUdI1tXrpqppK1FStXZNNH71OL1tVV4W66n/U1etHV9VVo65mnXc8qTv/rmnE8wyx8oauw5QmJP17qliUSdmOX24HJcdc
kEvZSbFRdlHyKAWUPZS9lELK7M/WF8o6vVRR3rIpvbT/tuwRz6TskafTske+vpE9VPSeTZaoflP7SD7b/9rOxn6U+TfupW0b9FKq
a6rWNkZv2jnB5nVJ56DxSM7HofHqPhs7UVpnGu2W61KYd0xIo+HjPO/qkfOOq8/k/m45jmNdCsas55MY35L1jins24t5jFMYx+bL
eV28T47FY6yHhgffA+NousmgFw7B8/AC9EE/DMARaMDLMAhHYQiG4TV4Hd6AD3u+ZS3rOOs/N+QbGaDzK3NTeq6ihntGC7eykXce
NvHLx4qam9LGt3LdnY9y3acFuc62+B89l7N1fq15fpm39UKcojRRmiktFBeljXKa0k7poJyhdFK6KN2UPoqHcpZyrt64e2hh/V7Z
rPOpbUn2wIOsAPfA5wI2UVjECreTTQ4arP35GNu/eI+NFT8JbNwruVvn09rnE1+JoMbOwSRMQTEq1aAL9kMDRmAUxmAcJqAISfOg
HTpC2stUg/MPfNKYuw==
"""


def test_real_files_of_so_have_two_detectors_and_flags(tmp_path):
    path = tmp_path / "super.g3"
    path.write_bytes(zlib.decompress(base64.b64decode(SUPERTIMESTREAMS)))
    dropped = np.isin(np.arange(12), (5, 6, 7))
    seen = []
    for number, frame in enumerate(core.G3File(str(path))):
        (key,) = frame.keys()
        frame["SourceName"], frame["ObservationID"] = "so", number
        options = {"timestreams": key, "boresight": None}
        (found,) = stitch(accumulate(COMM, [frame], [0]), **options).values()
        assert found.detectors == ("a", "b")
        assert found.signal.dtype == key
        np.testing.assert_array_equal(found.flags, dropped)
        assert not found.detector_flags.any()
        expected = np.arange(24).reshape(2, 12) + 100 * number
        np.testing.assert_array_equal(found.signal[:, ~dropped], expected[:, ~dropped])
        seen.append(key)
    assert seen == ["int32", "int64", "float32", "float64"]


def real_frames(folder):
    path = folder / "super.g3"
    path.write_bytes(zlib.decompress(base64.b64decode(SUPERTIMESTREAMS)))
    return [(frame, *frame.keys()) for frame in core.G3File(str(path))]


@pytest.mark.parametrize("number", range(4))
def test_vectors_of_the_samples_that_came_are_put_beside_them(tmp_path, number):
    frame, key = real_frames(tmp_path)[number]
    samples = frame[key]
    came = ~np.isin(np.arange(12), (5, 6, 7))
    moments = scans.times_of(samples.start.time, samples.stop.time, 12)[came]
    quats = np.random.default_rng(1).normal(size=(9, 4))
    frame["T"], frame["B"] = core.G3VectorTime(moments), core.G3VectorQuat(quats)
    frame["F"] = core.G3VectorInt(list(range(2, 11)))
    frame["SourceName"], frame["ObservationID"] = "so", number
    options = {"timestreams": key, "times": "T", "boresight": "B", "flags": "F"}
    (found,) = stitch(accumulate(COMM, [frame], [0]), **options).values()
    np.testing.assert_array_equal(found.times[came], moments)
    assert (np.diff(found.times) > 0).all()
    np.testing.assert_array_equal(found.boresight[came], quats)
    np.testing.assert_array_equal(found.flags[came], np.arange(2, 11))
    assert (found.flags[~came] & 1 == 1).all()
    assert found.signal.shape == (2, 12)
    for wrong, text in (
        (
            core.G3VectorTime(moments[:-1]),
            "has 8 samples; expected 12, .* have, or 9",
        ),
        (core.G3VectorTime(np.delete(moments, 4)[[0, 0, *range(1, 8)]]), "expected times that inc"),
        (core.G3VectorTime(np.arange(9)), "by the times in .* other samples"),
    ):
        del frame["T"]
        frame["T"] = wrong
        with pytest.raises(InputError, match=text):
            stitch(accumulate(COMM, [frame], [0]), **options)
