"""Frames as spt3g's own modules make them, today and in years past: coadded with its result."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from choices import ALL
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from skies import (
    KINDS,
    MAP_KEYS,
    WEIGHTINGS,
    bits,
    map_frame,
    maps_by_plane,
    pixels,
    planes,
    storage,
)
from spt3g import core, maps
from test_coadder import run

import g3reduce
from g3reduce import InputError, MismatchError, MPIMapCoadder

IAU, COSMO = maps.MapPolConv.IAU, maps.MapPolConv.COSMO
UNSET, NO_TYPE = maps.MapPolConv.names["none"], maps.MapPolType.names["none"]
POLARIZED = ("TQ", "TU", "QQ", "QU", "UU")


def changed(frame, key, change):
    """Let a function change a map of a frame, or each component of weights."""
    value = frame.pop(key)
    if isinstance(value, maps.G3SkyMapWeights):
        for component in value.keys():  # noqa: SIM118 (not a dictionary)
            change(component, value[component])
    else:
        change(key, value)
    frame[key] = value


def flattened_in_2022(frame):
    """T and TT are not said to be flat, and weights do not say what they are."""

    def flatten(name, skymap):
        skymap.flat_pol = name in ("Q", "U", *POLARIZED)
        if len(name) == 2:
            skymap.pol_type = NO_TYPE

    for key in ("T", "Q", "U", "Wpol"):
        changed(frame, key, flatten)


def with_weights_of_a_temperature_map(frame):
    def forget(_, skymap):
        skymap.pol_type, skymap.pol_conv = maps.MapPolType.T, UNSET

    changed(frame, "Wpol", forget)


def with_odd_words_where_they_are_no_matter(frame):
    """The convention of T, TT, TQ, QQ and UU, and the flatness of T and TT."""

    def mislead(name, skymap):
        if name in ("T", "TT", "TQ", "QQ", "UU"):
            skymap.pol_conv = COSMO
        if name in ("T", "TT") and isinstance(skymap, maps.FlatSkyMap):
            skymap.flat_pol = True

    for key in ("T", "Wpol"):
        changed(frame, key, mislead)


def with_nothing_said_but_by_u(frame):
    def forget(_, skymap):
        skymap.pol_conv = UNSET

    for key in ("T", "Q"):
        changed(frame, key, forget)


def with_weights_that_say_less(frame):
    """QU does not say what spt3g asks TU only."""

    def forget(name, skymap):
        if name != "TU":
            skymap.pol_conv = UNSET

    changed(frame, "Wpol", forget)


def by(module, **options):
    return functools.partial(module, **options)


# What spt3g makes of a frame: the module, and of which maps.
MADE = {
    "MakeMapsPolarized": (maps.MakeMapsPolarized, "unpolarized"),
    "MakeMapsPolarized COSMO": (by(maps.MakeMapsPolarized, pol_conv=COSMO), "unpolarized"),
    "MakeMapsPolarized with hits": (maps.MakeMapsPolarized, "hits"),
    "MakeMapsUnpolarized": (maps.MakeMapsUnpolarized, "polarized"),
    "FlattenPol": (maps.FlattenPol, "polarized"),
    "FlattenPol inverse": (by(maps.FlattenPol, invert=True), "polarized"),
    "SetPolConv": (by(maps.SetPolConv, pol_conv=COSMO), "polarized"),
    "RemoveWeights": (maps.RemoveWeights, "polarized"),
    "RemoveWeights without NaN": (by(maps.RemoveWeights, zero_nans=True), "polarized"),
    "ApplyWeights": (maps.ApplyWeights, "unweighted"),
    "ValidateMaps": (maps.ValidateMaps, "polarized"),
    "CompactMaps": (by(maps.CompactMaps, zero_nans=True), "polarized"),
    "InvertMaps": (maps.InvertMaps, "polarized"),
    "RescaleMaps": (by(maps.RescaleMaps, t_scale=2.0, q_scale=4.0, u_scale=0.5), "polarized"),
    "RebinMaps": (by(maps.RebinMaps, scale=2), "polarized"),
    "CropMaps": (maps.CropMaps, "hits"),
    "flattened in 2022": (flattened_in_2022, "polarized"),
    "weights of a T": (with_weights_of_a_temperature_map, "polarized"),
    "weights of a T, not applied": (with_weights_of_a_temperature_map, "unweighted"),
    "odd words": (with_odd_words_where_they_are_no_matter, "polarized"),
    "a silent Q": (with_nothing_said_but_by_u, "polarized"),
    "weights that say less": (with_weights_that_say_less, "polarized"),
}
ONLY_FLAT = ("FlattenPol", "FlattenPol inverse", "RebinMaps", "CropMaps")


def made(name, kind, number=3):
    """Frames as this module makes them. Those of a crop have one size, for one footprint."""
    module, weighting = MADE[name]
    frames = [map_frame(kind, weighting, 0 if name == "CropMaps" else i) for i in range(number)]
    for frame in frames:
        module(frame)
    return frames


def assert_same_sums(mine, theirs):
    """The same maps, storage and pixels, and the words that matter."""
    assert sorted(mine.keys()) == sorted(theirs.keys())
    expected = maps_by_plane(theirs)
    for name, skymap in maps_by_plane(mine).items():
        assert skymap.compatible(expected[name])
        assert skymap.units == expected[name].units
        assert storage(skymap) == storage(expected[name])
        # Where no weight is, spt3g has NaN (after RemoveWeights); here such a pixel counts as 0.
        seen = ~np.isnan(pixels(expected[name]))
        values = bits(pixels(skymap))[seen], bits(pixels(expected[name]))[seen]
        np.testing.assert_array_equal(*values, name)
    for name in set("TQU") & set(mine.keys()):
        assert mine[name].weighted == theirs[name].weighted
    if "U" in mine:
        assert mine["U"].pol_conv == theirs["U"].pol_conv
        assert getattr(mine["Q"], "flat_pol", 0) == getattr(theirs["Q"], "flat_pol", 0)


def written(frames, folder):
    files = [str(folder / f"obs{number}.g3") for number in range(len(frames))]
    for file, frame in zip(files, frames, strict=True):
        with core.G3Writer(file) as writer:
            writer(frame)
    return files


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["flat sparse", "flat dense", "healpix ring"])
@pytest.mark.parametrize("name", MADE)
def test_what_spt3g_makes_is_coadded_as_spt3g_does_it(tmp_path, name, kind):
    if name in ONLY_FLAT and not kind.startswith("flat"):
        pytest.skip("this module changes flat-sky maps only")
    files = written(made(name, kind), tmp_path)
    theirs = maps.coadd_map_files(files)
    mine = MPIMapCoadder()
    run(files, mine)
    for coadd in (mine.coadd_frame, g3reduce.coadd_files(files)):
        assert_same_sums(coadd, theirs)
        maps.ValidateMaps(coadd)  # or spt3g could not go on with it
        assert planes(coadd)["T"].any()


def test_the_words_of_a_coadd_do_not_depend_on_which_frame_came_first(tmp_path):
    """Those that are no matter, and in which frames differ."""
    frames = [made(name, "flat sparse", 1)[0] for name in ("odd words", "ValidateMaps")]
    words = []
    for order in (frames, frames[::-1]):
        coadd = g3reduce.coadd_files(written(order, tmp_path))
        words.append(
            {
                name: (str(skymap.pol_conv), skymap.flat_pol, str(skymap.pol_type))
                for name, skymap in maps_by_plane(coadd).items()
            }
        )
    assert words[0] == words[1]
    assert words[0]["T"] == ("none", False, "T")
    assert words[0]["Wpol.QQ"] == ("IAU", False, "QQ")


@pytest.mark.parametrize("told_by_tt", [False, True])
@pytest.mark.parametrize("in_file", [False, True])
def test_the_types_of_weights_are_those_of_spt3g(tmp_path, told_by_tt, in_file):
    """TT alone tells whether weights say what they are."""

    def confuse(name, skymap):
        if (name == "TT") != told_by_tt:
            skymap.pol_type = maps.MapPolType.T

    frames = [map_frame("flat sparse", "polarized", seed) for seed in range(2)]
    for frame in frames:
        changed(frame, "Wpol", confuse)
    files = written(frames, tmp_path)
    mine = MPIMapCoadder()
    run(frames, mine)
    coadd = g3reduce.coadd_files(files) if in_file else mine.coadd_frame
    found, expected = maps_by_plane(coadd), maps_by_plane(maps.coadd_map_files(files))
    says = {name: str(skymap.pol_type) for name, skymap in found.items()}
    assert says == {name: str(skymap.pol_type) for name, skymap in expected.items()}
    assert says["Wpol.QQ"] == ("T" if told_by_tt else "QQ")


@pytest.mark.parametrize("component", ["TU", "QU"])
def test_the_convention_of_what_depends_on_it_must_agree(component):
    def mislead(name, skymap):
        if name == component:
            skymap.pol_conv = COSMO

    frame = map_frame("flat sparse", "polarized", 0)
    changed(frame, "Wpol", mislead)
    with pytest.raises(MismatchError, match=f"pol_conv must agree.*COSMO in Wpol.{component}"):
        MPIMapCoadder().add(frame)


def test_what_is_converted_says_so_everywhere(tmp_path):
    files = written(made("MakeMapsPolarized", "flat sparse"), tmp_path)
    coadd = g3reduce.coadd_files(files, pol_conv="COSMO")
    found = maps_by_plane(coadd)
    assert {str(found[name].pol_conv) for name in found if name != "T"} == {"COSMO"}


def replicated(copy_weights):
    """Frames of single detectors: only the first has weights and hits, unless they are copied."""
    frame = map_frame("flat sparse", "hits", 0, "90GHz")
    frames = maps.ReplicateMaps(frame, "90GHz", ["A", "B", "C"], copy_weights=copy_weights)
    for number, one in enumerate(frames):
        skymap = one.pop("T")
        skymap[5] = number + 1
        one["T"] = skymap
    return frames


@pytest.mark.parametrize("collate", [False, True])
@pytest.mark.parametrize("copy_weights", [False, True])
def test_replicated_maps_with_weights_and_hits_of_their_own_or_in_common(
    tmp_path, copy_weights, collate
):
    options = {"ignore_missing_weights": True, "collate": collate}
    theirs = maps.CoaddMaps(keep_outputs=True, **options)
    run(replicated(copy_weights), theirs)
    mine = MPIMapCoadder(**options)
    run(replicated(copy_weights)[::-1] if not collate else replicated(copy_weights), mine)
    files = written(replicated(copy_weights), tmp_path)
    read = g3reduce.coadd_files(files, **options)
    if not collate:
        assert_same = functools.partial(assert_same_words, theirs.coadd_frame)
        assert_same(mine.coadd_frame)
        assert_same(read)
        return
    assert list(mine.coadd_frames) == list(read) == list(theirs.coadd_frames)
    for name, frame in theirs.coadd_frames.items():
        assert_same_words(frame, mine.coadd_frames[name])
        assert_same_words(frame, read[name])


def assert_same_words(theirs, mine):
    """Beside what the coadd lists of its input."""
    found, expected = maps_by_plane(mine), maps_by_plane(theirs)
    assert sorted(found) == sorted(expected)
    for name, skymap in found.items():
        np.testing.assert_array_equal(pixels(skymap), pixels(expected[name]), name)


def test_hits_in_some_frames_only_are_refused_unless_weights_may_be_missing():
    frames = [map_frame("flat sparse", weighting, 0) for weighting in ("hits", "unpolarized")]
    with pytest.raises(MismatchError, match=r"has H, and .* has not"):
        run(frames, MPIMapCoadder())


def test_a_key_may_be_long(tmp_path):
    frames = [map_frame("flat sparse", "hits", i) for i in range(2)]
    for frame in frames:
        frame["k" * 5000] = 1
    files = written(frames, tmp_path)
    theirs = maps.coadd_map_files(files)
    assert_same_words(theirs, g3reduce.coadd_files(files))


def relabelled(frame, random):
    """Something else is said of some map."""
    key = random.choice([key for key in MAP_KEYS if key in frame])
    wanted = random.choice(POLARIZED)

    def relabel(name, skymap):
        if len(name) == 1 or name == wanted:
            skymap.pol_conv = random.choice([IAU, COSMO, UNSET])
            skymap.pol_type = random.choice([skymap.pol_type, NO_TYPE, maps.MapPolType.T])

    changed(frame, key, relabel)


def with_one_map_less(frame, random):
    del frame[random.choice([key for key in MAP_KEYS if key in frame])]


# What may become of a frame, one after the other.
STEPS = {
    **{name: lambda frame, _, module=module: module(frame) for name, (module, _) in MADE.items()},
    "relabelled": relabelled,
    "one map less": with_one_map_less,
}
STEPS = {name: step for name, step in STEPS.items() if name not in ("RemoveWeights", "RebinMaps")}


def outcome(coadder, frames):
    """The coadd, or None if it is refused."""
    try:
        for frame in frames:
            coadder(frame)
        if isinstance(coadder, MPIMapCoadder):
            coadder.finish()
    except (RuntimeError, KeyError, InputError):
        return None
    return coadder.coadd_frame


@settings(max_examples=400 if ALL else 25, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    weighting=st.sampled_from(WEIGHTINGS),
    steps=st.lists(st.sampled_from(sorted(STEPS)), max_size=3),
    every=st.booleans(),
    ignore_missing_weights=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_whatever_becomes_of_frames_the_coadd_is_that_of_spt3g_or_none(
    kind, weighting, steps, every, ignore_missing_weights, random
):
    frames = [map_frame(kind, weighting, 0 if "CropMaps" in steps else i) for i in range(2)]
    for frame in frames if every else frames[:1]:
        for name in steps:
            try:
                STEPS[name](frame, random)
            except (RuntimeError, KeyError, IndexError, TypeError):  # not of such a frame
                reject()
    options = {"ignore_missing_weights": ignore_missing_weights}
    mine = outcome(MPIMapCoadder(**options), frames)  # first: spt3g changes frames
    theirs = outcome(maps.CoaddMaps(keep_outputs=True, **options), frames)
    if mine is None or theirs is None:  # such as TU that does not say what U says
        return
    found, expected = maps_by_plane(mine), maps_by_plane(theirs)
    assert sorted(found) == sorted(expected)
    for name, skymap in found.items():
        np.testing.assert_allclose(
            pixels(skymap), pixels(expected[name]), rtol=1e-12, atol=1e-9, err_msg=name
        )
