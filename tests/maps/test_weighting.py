"""Maps are weighted, and their conventions converted, as spt3g does it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from mapframes import COSMO, IAU, NONE, WHERE, changed, polarized, setting, summed
from skies import (
    KINDS,
    WEIGHTINGS,
    assert_same_attributes,
    assert_same_coadd,
    bits,
    map_frame,
    maps_by_plane,
    pixels,
    planes,
    read_frame,
    storage,
)
from spt3g import maps

from g3reduce import MismatchError, UsageError
from g3reduce.maps import mapframe


def state(frame):
    return frame.__getstate__()[1], {n: storage(m) for n, m in maps_by_plane(frame).items()}


def assert_same_maps(mine, theirs):
    """As `assert_same_coadd`, but -0.0 counts as 0.0: only by itself does a sum never have it."""
    mine, theirs = maps_by_plane(mine), maps_by_plane(theirs)
    assert mine.keys() == theirs.keys()
    for name, skymap in mine.items():
        assert_same_attributes(skymap, theirs[name], name)
        values = [bits(pixels(one) + 0.0) for one in (skymap, theirs[name])]
        np.testing.assert_array_equal(*values, err_msg=name)


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
