"""Map frames: what must be there and agree, weighting, conversion of polarization."""

from __future__ import annotations

import re
import weakref

import pytest
from mapframes import COSMO, IAU, WHERE, changed, polarized, setting, summed
from skies import (
    KINDS,
    WEIGHTINGS,
    assert_same_coadd,
    frame_of,
    map_frame,
    maps_by_plane,
    planes,
    read_frame,
    storage,
)
from spt3g import core, maps

from g3reduce import InputError, MismatchError
from g3reduce.maps import mapfile, mapframe

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


def test_few_frames_in_memory_leave_something_behind():
    """Each has empty maps of its own, which are large where there are many rings."""
    left = []
    for seed in range(20):
        found = mapfile.planes_of(map_frame("healpix ring", "polarized", seed), WHERE)
        left.append(weakref.ref(found["T"].stub))
        mapframe.read(found, WHERE)
        assert sum(one() is not None for one in left) <= 1 + 4


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


def polarized_weights_as_unpolarized_ones():
    frame = without("Wpol")
    frame["Wunpol"] = map_frame("flat sparse", "polarized", 0)["Wpol"]
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
        (polarized_weights_as_unpolarized_ones, "polarized weights as Wunpol, which spt3g has for"),
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
    assert read.kind.lacks_weights == (weighting == "no weights")
    if weighting == "no weights":
        unweighted = map_frame("healpix ring", weighting, 0)
        for key in "TQU":
            changed(unweighted, key, setting(weighted=False))
        assert not read_frame(unweighted, WHERE).kind.lacks_weights


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
