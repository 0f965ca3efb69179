"""Coadds that do not depend on the order, in one process."""

import itertools
import logging
import math

import anynumbers
import numpy as np
import pytest
import skies
from spt3g import core, maps

import g3reduce
from g3reduce.arrays.exactness import Exactness
from g3reduce.maps.mapsum import MapSum

pytestmark = pytest.mark.usefixtures("each_kernels")


def coadded(frames, absmax=None, **options):
    coadder = g3reduce.MPIMapCoadder(reproducible=True, absmax=absmax, **options)
    for frame in frames:
        coadder.add(frame)
    coadd = coadder.finish().frame
    return coadd


@pytest.mark.parametrize("weighting", ["polarized", "hits", "no weights"])
@pytest.mark.parametrize("family", anynumbers.FAMILIES)
def test_each_pixel_is_the_true_sum_rounded_once(family, weighting):
    kinds = itertools.cycle(anynumbers.FAMILIES[family])
    frames = [anynumbers.map_frame(next(kinds), weighting, seed) for seed in range(6)]
    expected = anynumbers.exact_sums(frames)
    for order in (frames, frames[::-1], frames[3:] + frames[:3]):
        coadd = coadded(order)
        for name, values in skies.planes(coadd).items():
            np.testing.assert_array_equal(
                skies.bits(values.reshape(-1)), skies.bits(expected[name])
            )
        for name, skymap in skies.maps_by_plane(coadd).items():
            overflows = [skies.maps_by_plane(frame)[name].overflow for frame in frames]
            assert skymap.overflow == math.fsum(overflows)


def test_plain_sums_of_these_depend_on_the_order():
    frames = [anynumbers.map_frame("flat dense", "hits", seed) for seed in range(6)]
    sums = []
    for order in (frames, frames[::-1]):
        coadder = g3reduce.MPIMapCoadder()
        for frame in order:
            coadder.add(frame)
        sums.append(g3reduce.digest(coadder.finish().frame))
    assert sums[0]["T"] != sums[1]["T"]


@pytest.mark.parametrize("weighting", ["polarized", "unweighted"])
def test_the_storage_of_the_input_makes_no_difference(weighting):
    sums = []
    for kinds in (("flat sparse",), ("flat dense",), ("flat sparse", "flat dense")):
        kinds = itertools.cycle(kinds)
        frames = [anynumbers.map_frame(next(kinds), weighting, seed) for seed in range(5)]
        sums.append(g3reduce.digest(coadded(frames)))
    assert sums[0] == sums[1] == sums[2]


def test_splits_and_conventions_and_weighting_do_not_depend_on_the_order():
    frames = [anynumbers.map_frame("flat sparse", "unweighted", seed) for seed in range(5)]
    signs = {id(frame): (-1) ** i for i, frame in enumerate(frames)}
    sums = []
    for order in (frames, frames[::-1]):
        coadder = g3reduce.MPIMapCoadder(
            reproducible=True, assign=lambda frame: {"sum": signs[id(frame)]}, pol_conv="COSMO"
        )
        for frame in order:
            coadder.add(frame)
        sums.append(coadder.finish().frame)
    assert g3reduce.digest(sums[0]) == g3reduce.digest(sums[1])
    assert sums[0]["T"].weighted
    assert sums[0]["U"].pol_conv == maps.MapPolConv.COSMO


def stokes_of(frame):
    return {name: frame[name] for name in "TQU"}


def test_planes_that_only_some_frames_have_do_not_depend_on_the_order():
    kinds = ("polarized", "no weights", "polarized", "no weights")
    frames = [anynumbers.map_frame("flat sparse", kind, i) for i, kind in enumerate(kinds)]
    without = [skies.frame_of("", stokes_of(frame)) for frame in frames]
    expected = anynumbers.exact_sums(frames[::2]) | anynumbers.exact_sums(without)
    for order in itertools.permutations(frames):
        coadd = coadded(order, ignore_missing_weights=True)
        found = skies.planes(coadd)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name].reshape(-1), values)
        assert (coadd["ExactAddends"]["T"], coadd["ExactAddends"]["Wpol.TT"]) == (4, 2)


def with_pixels(values, seed=0):
    """A frame whose T has these values on its first pixels."""
    frame = skies.map_frame("flat sparse", "no weights", seed)
    skymap = frame.pop("T")
    pixels = np.asarray(skymap.nonzero_pixels()[0]).tolist()
    for pixel, value in zip(pixels, values, strict=False):
        skymap[pixel] = value
    frame["T"] = skymap
    return frame, pixels[: len(values)]


def test_numbers_that_are_not_finite_are_what_their_sum_is():
    nan, inf = math.nan, math.inf
    first, pixels = with_pixels([nan, inf, -inf, inf, 1.0, nan])
    second, _ = with_pixels([1.0, 1e308, 1.0, -inf, -inf, inf])
    expected = [nan, inf, -inf, nan, -inf, nan]
    for order in ([first, second], [second, first]):
        coadd = coadded(order)
        np.testing.assert_array_equal([coadd["T"][pixel] for pixel in pixels], expected)
    difference = coadded([first, second], assign=lambda frame: {"difference": -1})
    found = [difference["T"][pixel] for pixel in pixels]
    np.testing.assert_array_equal(found, [-value for value in expected])


def test_zeros_are_positive():
    coadd = coadded([with_pixels([-0.0, 3.0])[0], with_pixels([-0.0, -3.0])[0]])
    pixels = with_pixels([0.0, 0.0])[1]
    assert [math.copysign(1, coadd["T"][pixel]) for pixel in pixels] == [1, 1]


def test_a_value_above_the_bound_is_warned_of_once_and_does_no_harm(caplog):
    frames = [anynumbers.map_frame("flat sparse", "polarized", seed) for seed in range(4)]
    with caplog.at_level(logging.WARNING):
        one = coadded(frames, absmax={"T": 1.0})
    (message,) = (record.getMessage() for record in caplog.records)
    assert "(Id '150GHz')" in message
    assert "T has a value of" in message
    assert "absmax gives (1)" in message
    other = coadded(frames[::-1], absmax={"T": 1.0})
    assert g3reduce.digest(one) == g3reduce.digest(other)
    assert one["ExactLimbs"]["T"] == 2
    assert one["ExactLimbs"]["Q"] == 3


def test_a_frame_all_of_whose_maps_are_beyond_the_bound_is_warned_of_once(caplog):
    """Also if it goes into several sums."""
    options = {"assign": lambda frame: {"one": 1, "other": -1}, "absmax": 0.1}
    coadder = g3reduce.MPIMapCoadder(reproducible=True, **options)
    with caplog.at_level(logging.WARNING):
        for seed in range(3):
            coadder.add(anynumbers.map_frame("flat sparse", "polarized", seed))
        coadder.finish()
    (message,) = (record.getMessage() for record in caplog.records)
    assert "absmax gives (0.1)" in message


def test_two_limbs_reach_far_enough_where_the_bound_is_right():
    """83 bits below the bound, and half a unit of the last for each addend."""
    frames = [anynumbers.map_frame("flat dense", "no weights", seed) for seed in range(6)]
    for exponent in range(20, 66):  # wherever the bound is between the steps of the grid
        bound = 2.0**exponent
        coadd = coadded(frames, absmax=bound)
        top = coadd["ExactGrid"]["T"]
        assert top <= exponent + 2
        exact = np.sum([skies.planes(frame)["T"].astype(np.longdouble) for frame in frames], axis=0)
        error = np.abs(skies.planes(coadd)["T"] - exact)
        assert np.all(error <= 6 * bound * 2.0**-82 + np.abs(exact) * 2.0**-53)


def test_the_coadd_carries_how_it_was_computed_and_can_be_read_again(tmp_path):
    files = anynumbers.write_files(tmp_path, 3, "flat", "polarized")
    output = tmp_path / "coadd.g3"
    options = {"reproducible": True, "absmax": 2.0**21}
    coadd = g3reduce.coadd_files(files, output, map_ids="90GHz", **options).frame
    planes = set(skies.planes(coadd))
    for key, value in (("ExactLimbs", 2), ("ExactGrid", 23), ("ExactAddends", 3)):
        assert dict(coadd[key]) == dict.fromkeys(planes, value)
    again = g3reduce.coadd_files(output, reproducible=True).frame
    assert g3reduce.digest(again) == g3reduce.digest(coadd)
    assert set(again["ExactAddends"].values()) == {1}
    plain = g3reduce.coadd_files(output).frame
    assert g3reduce.digest(plain) == g3reduce.digest(coadd)
    assert "ExactGrid" not in plain


def test_one_addend_too_many_is_refused_and_not_counted(monkeypatch):
    monkeypatch.setattr("g3reduce.arrays.exact.MOST_ADDENDS", 2)
    coadder = g3reduce.MPIMapCoadder(reproducible=True)
    frames = [anynumbers.map_frame("flat sparse", "hits", seed) for seed in range(3)]
    for frame in frames[:2]:
        coadder.add(frame)
    with pytest.raises(g3reduce.InputError, match=r"3 maps T are too many .* can take 2"):
        coadder.add(frames[2])
    coadd = coadder.finish().frame
    assert g3reduce.digest(coadd) == g3reduce.digest(coadded(frames[:2]))


def test_a_sum_keeps_its_bits_when_pixels_are_numbered_anew():
    frames = [anynumbers.map_frame("healpix ring", "hits", seed) for seed in (0, 1, 2)]
    frames.append(anynumbers.map_frame("healpix dense", "hits", 3))
    expected = anynumbers.exact_sums(frames)
    total = None
    for frame in frames:
        read = skies.read_frame(frame, "a frame")
        total = total or MapSum.of(read, exactness=Exactness(), in_maps=True)
        skies.add_maps(total, read)
    total.prepare([total.summary])
    assert total.blocks.planes["T#0"].dtype == np.int64
    assert total.blocks.nbytes == 3 * 8 * len(expected) * frames[0]["T"].size
    total.to_numbers()
    assert total.blocks.nbytes == 8 * len(expected) * frames[0]["T"].size
    for name, skymap in total.to_maps().items():
        np.testing.assert_array_equal(skies.pixels(skymap), expected[name])


@pytest.mark.parametrize(
    ("absmax", "message"),
    [
        (0.0, "positive, finite"),
        (-1.0, "positive, finite"),
        (math.nan, "positive, finite"),
        (math.inf, "positive, finite"),
        ("3", "expected a number"),
        (True, "expected a number"),
        ({"X": 1.0}, "a bound for 'X'"),
        ({3: 1.0}, "a bound for 3"),
        ({"T": None}, "expected a number"),
    ],
)
def test_bounds_that_cannot_be_are_refused(absmax, message):
    with pytest.raises(g3reduce.UsageError, match=message):
        g3reduce.MPIMapCoadder(reproducible=True, absmax=absmax)


def test_a_bound_for_plain_sums_is_refused():
    with pytest.raises(g3reduce.UsageError, match="reproducible=True"):
        g3reduce.MPIMapCoadder(absmax=1.0)


@pytest.mark.parametrize("words", [["--absmax", "2e6"], ["--absmax", "T=2e6", "Wpol.TT=3e6"], []])
def test_the_command_does_the_same(tmp_path, words):
    from g3reduce.cli import main

    files = anynumbers.write_files(tmp_path, 3, "flat", "polarized")
    output = str(tmp_path / "coadd.g3")
    assert main(["coadd", *files, "-o", output, "-m", "90GHz", "--reproducible", *words]) == 0
    (coadd,) = core.G3File(output)
    absmax = {0: None, 2: 2e6, 3: {"T": 2e6, "Wpol.TT": 3e6}}[len(words)]
    same = g3reduce.coadd_files(files, map_ids="90GHz", reproducible=True, absmax=absmax).frame
    assert g3reduce.digest(coadd) == g3reduce.digest(same)
    assert dict(coadd["ExactGrid"]) == dict(same["ExactGrid"])
    assert coadd["ExactLimbs"]["Q"] == (2 if len(words) == 2 else 3)


@pytest.mark.parametrize("words", [["big"], ["T=1", "2"], ["T="]])
def test_the_command_refuses_what_is_no_bound(tmp_path, capsys, words):
    from g3reduce.cli import main

    with pytest.raises(SystemExit) as end:
        main(["coadd", "x.g3", "--reproducible", "--absmax", *words])
    assert end.value.code == 2
    assert "--absmax" in capsys.readouterr().err
