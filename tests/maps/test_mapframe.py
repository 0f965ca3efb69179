"""Map frames: what must be there and agree, weighting, conversion of polarization."""

from __future__ import annotations

import re

import numpy as np
import pytest
from skies import (
    KINDS,
    WEIGHTINGS,
    add_maps,
    assert_same_attributes,
    assert_same_coadd,
    bits,
    frame_of,
    map_frame,
    maps_by_plane,
    pixels,
    planes,
    read_frame,
    storage,
)
from spt3g import core, maps

from g3reduce import InputError, MismatchError, UsageError
from g3reduce.maps import mapfile, mapframe
from g3reduce.maps.mapsum import MapSum

IAU, COSMO, NONE = (maps.MapPolConv.names[name] for name in ("IAU", "COSMO", "none"))
WHERE = "obs.g3, frame 3"


def summed(*frames, **options):
    """The sum of frames, as a frame."""
    total = None
    for number, frame in enumerate(frames):
        read = read_frame(frame, f"obs.g3, frame {number}", **options)
        total = total or MapSum.of(read)
        add_maps(total, read)
    return mapframe.to_frame(frames[0]["Id"], total.to_maps())


def changed(frame, key, change):
    """The frame, after a change to one of its maps (or to all components of its weights)."""
    value = frame.pop(key)
    components = [value[name] for name in value.keys()] if key.startswith("W") else [value]  # noqa: SIM118
    for skymap in components:
        change(skymap)
    frame[key] = value
    return frame


def setting(**attributes):
    def change(skymap):
        for name, value in attributes.items():
            setattr(skymap, name, value)

    return change


def state(frame):
    return frame.__getstate__()[1], {n: storage(m) for n, m in maps_by_plane(frame).items()}


def polarized(kind="flat sparse", seed=0):
    return map_frame(kind, "polarized", seed)


def assert_same_maps(mine, theirs):
    """As `assert_same_coadd`, but -0.0 counts as 0.0: only by itself does a sum never have it."""
    mine, theirs = maps_by_plane(mine), maps_by_plane(theirs)
    assert mine.keys() == theirs.keys()
    for name, skymap in mine.items():
        assert_same_attributes(skymap, theirs[name], name)
        values = [bits(pixels(one) + 0.0) for one in (skymap, theirs[name])]
        np.testing.assert_array_equal(*values, err_msg=name)


# What is in a frame


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_planes_of_a_frame_make_the_same_frame_again(kind, weighting):
    frame = map_frame(kind, weighting, 2)
    found = mapfile.planes_of(frame, WHERE)
    expected = maps_by_plane(frame)
    assert found.keys() == expected.keys()
    for name, plane in found.items():
        assert storage(plane.stub) == "empty"
        assert plane.stub.compatible(expected[name])
        assert plane.storage.removesuffix("-sparse") == storage(expected[name])
    assert_same_coadd(summed(frame, weighted=False), frame)


def without(*keys, weighting="polarized"):
    frame = map_frame("flat sparse", weighting, 0)
    for key in keys:
        del frame[key]
    return frame


def both_weights():
    frame = polarized()
    frame["Wunpol"] = map_frame("flat sparse", "hits", 0)["Wunpol"]
    return frame


def unpolarized_weights_for_polarized_maps():
    frame = without("Wpol")
    frame["Wunpol"] = map_frame("flat sparse", "hits", 0)["Wunpol"]
    return frame


def polarized_weights_for_unpolarized_maps():
    return without("Q", "U")


def not_a_map():
    frame = without("T")
    frame["T"] = core.G3VectorDouble([3])
    return frame


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (lambda: without("T"), "no T map (there is Q, U, Wpol.TT"),
        (lambda: without("T", "Q", "U", "Wpol"), "no T map (there is no map at all)"),
        (lambda: without("T", weighting="hits"), "no T map (there is Wunpol.TT, H)"),
        (lambda: without("U"), "a Q map, but no U map"),
        (lambda: without("Q"), "a U map, but no Q map"),
        (both_weights, "both polarized and unpolarized weights (Wpol and Wunpol)"),
        (polarized_weights_for_unpolarized_maps, "polarized weights (Wpol), but no Q and U maps"),
        (unpolarized_weights_for_polarized_maps, "Q and U maps, but unpolarized weights (Wunpol"),
        (not_a_map, "T is a G3VectorDouble; expected a G3SkyMap"),
    ],
)
def test_an_incomplete_frame_is_refused_with_what_is_there_and_what_is_not(frame, text):
    with pytest.raises(InputError, match=re.escape(f"{WHERE}: {text}")):
        read_frame(frame(), WHERE)


def test_hits_alone_are_a_frame():
    frames = [without("T", "Wunpol", weighting="hits") for _ in range(2)]
    assert planes(summed(*frames))["H"].tolist() == (2 * planes(frames[0])["H"]).tolist()


@pytest.mark.parametrize(
    ("key", "attributes", "text"),
    [
        (
            "Q",
            {"weighted": False},
            "weighted must agree within a frame; it is True in T, False in Q",
        ),
        (
            "U",
            {"pol_conv": COSMO},
            "pol_conv must agree within a frame; it is IAU in Q, COSMO in U",
        ),
        ("Wpol", {"pol_conv": COSMO}, "pol_conv must agree within a frame"),
        (
            "U",
            {"flat_pol": True},
            "flat_pol must agree within a frame; it is False in Q, True in U",
        ),
        ("Q", {"coord_ref": maps.MapCoordReference.Galactic}, "T and Q differ in coord_ref"),
        ("U", {"delta_center": 0.0}, "T and U differ in delta_center"),
    ],
)
def test_the_maps_of_a_frame_must_agree_with_each_other(key, attributes, text):
    with pytest.raises(MismatchError, match=f"{WHERE}: {text}"):
        read_frame(changed(polarized(), key, setting(**attributes)), WHERE)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_missing_weights_are_noticed(weighting):
    read = read_frame(map_frame("healpix ring", weighting, 0), WHERE)
    assert mapframe.missing_weights(read) == (weighting == "no weights")
    if weighting == "no weights":
        unweighted = map_frame("healpix ring", weighting, 0)
        for key in "TQU":
            changed(unweighted, key, setting(weighted=False))
        assert not mapframe.missing_weights(read_frame(unweighted, WHERE))


# What must agree before frames are added


def setting_geometry(**attributes):
    """A frame whose maps all have this geometry."""

    def frame():
        first = polarized()
        for key in ("T", "Q", "U", "Wpol"):
            changed(first, key, setting(**attributes))
        return first

    return frame


def with_one(key, **attributes):
    return lambda: changed(polarized(), key, setting(**attributes))


def with_all_polarized(**attributes):
    def frame():
        first = polarized()
        for key in ("Q", "U", "Wpol"):
            changed(first, key, setting(**attributes))
        return first

    return frame


def unweighted():
    first = polarized()
    for key in "TQU":
        changed(first, key, setting(weighted=False))
    return first


def larger():
    first = core.G3Frame(core.G3FrameType.Map)
    first["Id"] = "150GHz"
    for key in "TQU":
        attributes = {"weighted": True, "pol_type": getattr(maps.MapPolType, key), "pol_conv": IAU}
        first[key] = maps.FlatSkyMap(31, 20, 1.0, **attributes)
    first["Wpol"] = maps.G3SkyMapWeights(first["T"])
    for name in first["Wpol"].keys():  # noqa: SIM118
        first["Wpol"][name].pol_conv = IAU
    return first


TRJ = core.G3TimestreamUnits.Trj
GALACTIC = maps.MapCoordReference.Galactic


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (setting_geometry(coord_ref=GALACTIC), "Q differs in coord_ref, Galactic and Equatorial"),
        (
            setting_geometry(proj=maps.MapProjection.ProjSFL),
            "Q differs in proj, ProjSFL and ProjZEA",
        ),
        (setting_geometry(alpha_center=1.5), "Q differs in alpha_center, 1.5 and 0.17"),
        (setting_geometry(delta_center=-0.5), "Q differs in delta_center, -0.5 and -0.87"),
        (setting_geometry(x_res=0.25), "Q differs in x_res, 0.25 and 0.0087"),
        (setting_geometry(y_res=0.25), "Q differs in y_res, 0.25 and 0.0087"),
        (setting_geometry(x_center=3.0), "Q differs in x_center, 3.0 and 14.5"),
        (setting_geometry(y_center=3.0), "Q differs in y_center, 3.0 and 9.5"),
        (larger, "Q differs in .*shape, .20, 31. and .20, 30."),
        (
            lambda: polarized("healpix ring"),
            "Q differs in the kind of map, Healpix.* and FlatSkyMap",
        ),
        (with_one("T", units=TRJ), "T differs in units, Trj and Tcmb"),
        (with_one("Wpol", units=TRJ), r"Wpol\.QQ differs in units, Trj and None"),
        (unweighted, "Q differs in weighted, False and True"),
        (
            with_all_polarized(pol_conv=COSMO),
            r'pol_conv, COSMO and IAU \(pol_conv="IAU" or "COSMO" co',
        ),
        (with_all_polarized(flat_pol=True), "Q differs in flat_pol, True and False"),
    ],
)
def test_frames_that_do_not_agree_are_refused_with_the_attribute_and_both_values(other, text):
    names = "obs.g3, frame 1 does not agree with obs.g3, frame 0: "
    with pytest.raises(MismatchError, match=names + ".*" + text) as caught:
        summed(polarized(), other(), weighted=False)
    assert str(caught.value).endswith("They must not be added.")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("healpix nested indexed", "nested, True and False"),
        ("flat sparse", "the kind of map, FlatSkyMap and HealpixSkyMap"),
    ],
)
def test_healpix_maps_of_other_kinds_are_refused(kind, text):
    with pytest.raises(MismatchError, match=text):
        summed(polarized("healpix indexed"), polarized(kind))


def test_healpix_maps_of_other_nside_are_refused():
    frames = [frame_of("a", {"T": maps.HealpixSkyMap(nside)}) for nside in (4, 8)]
    with pytest.raises(MismatchError, match="T differs in nside, 8 and 4"):
        summed(*frames)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ("polarized", "no weights", "frame 0 has Wpol.QQ, and obs.g3, frame 1 has not"),
        ("no weights", "polarized", "frame 1 has Wpol.QQ, and obs.g3, frame 0 has not"),
        ("polarized", "unpolarized", "frame 0 has Q, and obs.g3, frame 1 has not"),
        ("unpolarized", "hits", "frame 1 has H, and obs.g3, frame 0 has not"),
    ],
)
def test_planes_that_only_some_frames_have_are_refused_with_the_way_out(first, second, text):
    with pytest.raises(MismatchError, match=re.escape(text)) as caught:
        summed(*(map_frame("healpix ring", weighting, 0) for weighting in (first, second)))
    assert "Coadd such frames separately (map_ids, collate or assign)" in str(caught.value)


# Weighting


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_maps_are_weighted_in_a_copy_as_spt3g_does_in_place(kind, weighting):
    frame = map_frame(kind, weighting, 1)
    before = state(frame)
    mine = summed(frame)
    assert state(frame) == before
    maps.ApplyWeights(frame)
    assert mine["T"].weighted
    assert_same_coadd(mine, frame)


@pytest.mark.parametrize("kind", KINDS)
def test_unpolarized_maps_are_weighted_as_spt3g_does(kind):
    frame = changed(map_frame(kind, "hits", 1), "T", setting(weighted=False))
    mine = summed(frame)
    maps.ApplyWeights(frame)
    assert_same_maps(mine, frame)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_without_weights_become_0_even_where_the_maps_are_nan(kind):
    """As they are after the weights were removed: 0/0. (spt3g would make the whole sum NaN.)"""
    frame = map_frame(kind, "polarized", 1)
    maps.RemoveWeights(frame, zero_nans=False)
    before = planes(frame)
    seen = np.logical_or.reduce([plane != 0 for name, plane in before.items() if "." in name])
    assert np.isnan(before["Q"][~seen]).all()
    mine = planes(summed(frame))
    maps.ApplyWeights(frame)
    for name, theirs in planes(frame).items():
        np.testing.assert_array_equal(mine[name][seen], theirs[seen], err_msg=name)
        assert not mine[name][~seen].any()


@pytest.mark.parametrize("keys", ["T", "TQU", ["Wpol"]], ids=str)
@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring", "healpix indexed"])
def test_maps_and_weights_need_not_be_stored_alike_to_be_multiplied(kind, keys):
    frame = map_frame(kind, "unweighted", 1)
    for key in keys:
        changed(frame, key, make_dense)
    mine = summed(frame)
    maps.ApplyWeights(frame)
    expected = planes(frame)
    for name, plane in planes(mine).items():
        np.testing.assert_array_equal(plane, expected[name], err_msg=name)


def make_dense(skymap):
    if isinstance(skymap, maps.FlatSkyMap):
        skymap.sparse = False
    else:
        skymap.dense = True


def test_maps_are_added_as_they_are_where_that_is_wanted():
    frame = map_frame("healpix ring", "unweighted", 1)
    mine = summed(frame, weighted=False)
    assert not mine["T"].weighted
    assert_same_coadd(mine, frame)


# Polarization conventions


@pytest.mark.parametrize("given", [IAU, COSMO])
@pytest.mark.parametrize("wanted", [IAU, COSMO])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", ["flat sparse", "flat dense", "healpix ring", "healpix dense"])
def test_conventions_are_converted_as_spt3g_does(kind, weighting, given, wanted):
    frame = map_frame(kind, weighting, 1)
    for key in ("T", "Q", "U", "Wpol"):
        if key in frame and "Q" in frame:
            changed(frame, key, setting(pol_conv=given))
    before = state(frame)
    mine = summed(frame, weighted=weighting != "unweighted", pol_conv=wanted)
    assert state(frame) == before
    maps.SetPolConv(frame, wanted)
    assert_same_maps(mine, frame)


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring"])
def test_unweighted_maps_are_weighted_and_converted(kind):
    frame = map_frame(kind, "unweighted", 1)
    mine = summed(frame, pol_conv=COSMO)
    maps.ApplyWeights(frame)
    maps.SetPolConv(frame, COSMO)
    assert_same_maps(mine, frame)


def test_frames_of_both_conventions_add_once_they_are_converted():
    iau, cosmo = polarized(), polarized()
    maps.SetPolConv(cosmo, COSMO)
    twice = planes(summed(iau, cosmo, pol_conv=IAU))
    assert {name: plane.tolist() for name, plane in twice.items()} == {
        name: (2 * plane).tolist() for name, plane in planes(iau).items()
    }


def test_a_convention_that_is_not_set_cannot_be_converted():
    frame = polarized()
    for key in ("Q", "U", "Wpol"):
        changed(frame, key, setting(pol_conv=NONE))
    text = f"{WHERE}: the polarization convention is not set (pol_conv is none), so it cannot be "
    with pytest.raises(MismatchError, match=re.escape(text + "converted to IAU")) as caught:
        read_frame(frame, WHERE, pol_conv=IAU)
    assert "spt3g.maps.SetPolConv" in str(caught.value)


def test_conventions_are_named_as_users_write_them():
    assert mapframe.as_pol_conv(None) is None
    assert [mapframe.as_pol_conv(name) for name in ("IAU", "cosmo", IAU)] == [IAU, COSMO, IAU]
    for wrong in ("healpix", 3, NONE, ""):
        with pytest.raises(UsageError, match='expected "IAU", "COSMO" or None'):
            mapframe.as_pol_conv(wrong)
