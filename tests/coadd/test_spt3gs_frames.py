"""Frames as spt3g's own modules make them, today and in years past: coadded with its result."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from choices import ALL
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pipelines import maps_from
from skies import (
    KINDS,
    MAP_KEYS,
    WEIGHTINGS,
    map_frame,
    maps_by_plane,
    pixels,
    planes,
    write_frames,
)
from spt3g import maps
from spt3gmakers import (
    COSMO,
    IAU,
    MADE,
    NO_TYPE,
    ONLY_FLAT,
    POLARIZED,
    UNSET,
    assert_same_sums,
    changed,
    made,
)

import g3reduce
from g3reduce import G3ReduceError, InputError, MismatchError, MPIMapCoadder


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["flat sparse", "flat dense", "healpix ring"])
@pytest.mark.parametrize("name", MADE)
def test_what_spt3g_makes_is_coadded_as_spt3g_does_it(tmp_path, name, kind):
    if name in ONLY_FLAT and not kind.startswith("flat"):
        pytest.skip("this module changes flat-sky maps only")
    files = write_frames(tmp_path, made(name, kind))
    theirs = maps.coadd_map_files(files)
    mine = MPIMapCoadder()
    maps_from(files, mine)
    for coadd in (mine.coadd_frame, g3reduce.coadd_files(files).frame):
        assert_same_sums(coadd, theirs)
        maps.ValidateMaps(coadd)  # or spt3g could not go on with it
        assert planes(coadd)["T"].any()


def test_the_words_of_a_coadd_do_not_depend_on_which_frame_came_first(tmp_path):
    """Those that are no matter, and in which frames differ."""
    frames = [made(name, "flat sparse", 1)[0] for name in ("odd words", "ValidateMaps")]
    words = []
    for order in (frames, frames[::-1]):
        coadd = g3reduce.coadd_files(write_frames(tmp_path, order)).frame
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
    files = write_frames(tmp_path, frames)
    mine = MPIMapCoadder()
    maps_from(frames, mine)
    coadd = g3reduce.coadd_files(files).frame if in_file else mine.coadd_frame
    found, expected = maps_by_plane(coadd), maps_by_plane(maps.coadd_map_files(files))
    says = {name: str(skymap.pol_type) for name, skymap in found.items()}
    assert says == {name: str(skymap.pol_type) for name, skymap in expected.items()}
    assert says["Wpol.QQ"] == ("T" if told_by_tt else "QQ")


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("component", ["TU", "QU"])
def test_the_convention_of_what_depends_on_it_must_agree(component, typed):
    def mislead(name, skymap):
        if name == component:
            skymap.pol_conv = COSMO
        if not typed:  # as in older files
            skymap.pol_type = NO_TYPE

    frame = map_frame("flat sparse", "polarized", 0)
    changed(frame, "Wpol", mislead)
    with pytest.raises(MismatchError, match=f"pol_conv must agree.*COSMO in Wpol.{component}"):
        MPIMapCoadder().add(frame)


def test_what_is_converted_says_so_everywhere(tmp_path):
    files = write_frames(tmp_path, made("MakeMapsPolarized", "flat sparse"))
    coadd = g3reduce.coadd_files(files, pol_conv="COSMO").frame
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
    maps_from(replicated(copy_weights), theirs)
    mine = MPIMapCoadder(**options)
    maps_from(replicated(copy_weights)[::-1] if not collate else replicated(copy_weights), mine)
    files = write_frames(tmp_path, replicated(copy_weights))
    read = g3reduce.coadd_files(files, **options)
    if not collate:
        assert_same = functools.partial(assert_same_words, theirs.coadd_frame)
        assert_same(mine.coadd_frame)
        assert_same(read.frame)
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
        maps_from(frames, MPIMapCoadder())


def test_a_key_may_be_long(tmp_path):
    frames = [map_frame("flat sparse", "hits", i) for i in range(2)]
    for frame in frames:
        frame["k" * 5000] = 1
    files = write_frames(tmp_path, frames)
    theirs = maps.coadd_map_files(files)
    assert_same_words(theirs, g3reduce.coadd_files(files).frame)


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


def refusal(work):
    """The error by which frames are refused, if they are."""
    try:
        work()
    except (RuntimeError, KeyError, G3ReduceError) as error:
        return error
    return None


# The maps whose sign depends on the convention, and those that depend on a flat projection.
SIGNED = ("Q", "U", "Wpol.TU", "Wpol.QU")
TURNED = (*SIGNED, "Wpol.TQ", "Wpol.QQ", "Wpol.UU")


def contradictions(frames):
    """Whether frames may be refused that spt3g adds: they differ, in maps or in what these say.

    And whether they must be, because nobody could say what the Q and U of the sum are.
    """
    said = [maps_by_plane(frame) for frame in frames]
    conventions = [{str(one[n].pol_conv) for n in SIGNED if n in one} for one in said]
    flat = {getattr(one[name], "flat_pol", None) for one in said for name in TURNED if name in one}
    stokes = [{name for name in one if name in "TQU"} for one in said]
    of_u = {str(one["U"].pol_conv) for one in said if "U" in one}
    may = len(set().union(*conventions)) > 1 or len(flat) > 1 or len(set(map(frozenset, said))) > 1
    return may, stokes[0] != stokes[1] or any(c >= {"IAU", "COSMO"} for c in (*conventions, of_u))


@settings(max_examples=400 if ALL else 25)
@given(
    kind=st.sampled_from(KINDS),
    weighting=st.sampled_from(WEIGHTINGS),
    steps=st.lists(st.sampled_from(sorted(STEPS)) | st.just("relabelled"), max_size=3),
    every=st.booleans(),
    ignore_missing_weights=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_whatever_becomes_of_frames_is_coadded_as_by_spt3g_or_is_contradictory(
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
    may, must = contradictions(frames)
    ours = MPIMapCoadder(**options)
    theirs = maps.CoaddMaps(keep_outputs=True, **options)
    refused = refusal(lambda: [*map(ours.add, frames), ours.finish()])  # before spt3g changes them
    if refusal(lambda: [theirs(frame) for frame in frames]):
        assert type(refused) in (InputError, MismatchError)
        return
    if refused:
        assert type(refused) is MismatchError
        assert may, refused
        return
    assert not must
    found, expected = maps_by_plane(ours.coadd_frame), maps_by_plane(theirs.coadd_frame)
    assert sorted(found) == sorted(expected)
    for name, skymap in found.items():
        np.testing.assert_allclose(
            pixels(skymap), pixels(expected[name]), rtol=1e-12, atol=1e-9, err_msg=name
        )
