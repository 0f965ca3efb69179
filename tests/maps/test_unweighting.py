"""Maps are divided by their weights as spt3g does it, and sparse ones stay sparse."""

from __future__ import annotations

import numpy as np
import pytest
from skies import KINDS, bits, map_frame, maps_by_plane, pixels, storage
from spt3g import maps

from g3reduce.maps import mapfile, unweighting
from g3reduce.maps.pixels import whole

WEIGHTINGS = ("polarized", "hits")


def skies(kind, weighting, seed):
    """Maps of which most weights can be divided by: gaps, and hits in one plane only, cannot."""
    frame = map_frame(kind, weighting, seed)
    key = "Wpol" if weighting == "polarized" else "Wunpol"
    weights = frame.pop(key)
    for name in ("TT", "QQ", "UU") if key == "Wpol" else ("TT",):
        diagonal = getattr(weights, name)
        diagonal *= 3
    frame[key] = weights
    return frame


def removed(frame, **options):
    found = unweighting.remove(mapfile.planes_of(frame, "frame"), **options)
    values = {name: whole(plane.chunks(), plane.stub) for name, plane in found.planes.items()}
    return found, values


@pytest.mark.parametrize("zero_nans", [True, False])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_spt3g(kind, weighting, zero_nans):
    frame = skies(kind, weighting, 1)
    found, values = removed(frame, zero_nans=zero_nans)
    before = {name: storage(skymap) for name, skymap in maps_by_plane(frame).items()}
    maps.RemoveWeights(frame, zero_nans=zero_nans)
    for name in values:
        theirs = pixels(frame[name]).ravel()
        # Where T is not 0, though its weight is, spt3g has infinity.
        np.testing.assert_array_equal(np.isnan(values[name]), ~np.isfinite(theirs), err_msg=name)
        there = np.isfinite(theirs)
        assert (there & (theirs != 0)).sum() > 30
        assert (bits(values[name][there] + 0.0) == bits(theirs[there] + 0.0)).all()
        assert found.planes[name].stub.weighted == frame[name].weighted == False  # noqa: E712
        expected = before[name] if zero_nans else "dense"
        assert storage_of(found.planes[name]) == expected


def storage_of(plane):
    return {"ring-sparse": "ring", "indexed-sparse": "indexed"}.get(plane.storage, plane.storage)


def test_singular_pixels_are_counted_and_weights_of_0_are_not():
    """The oracle is numpy's own condition number."""
    frame = skies("flat sparse", "polarized", 1)
    found, _ = removed(frame)
    planes = {name: pixels(skymap).ravel() for name, skymap in maps_by_plane(frame).items()}
    tt, tq, tu, qq, qu, uu = (planes[f"Wpol.{name}"] for name in unweighting.COMPONENTS)
    matrices = np.array([[tt, tq, tu], [tq, qq, qu], [tu, qu, uu]]).transpose(2, 0, 1)
    eigen = np.linalg.eigvalsh(matrices)
    singular = (tt == 0) | (eigen[:, 0] * eigen[:, 2] <= 1e-12 * eigen[:, 2] ** 2)
    expected = int((singular & matrices.any(axis=(1, 2))).sum())
    assert found.singular == expected > 0


def test_the_condition_is_that_of_spt3g():
    frame = map_frame("flat dense", "polarized", 2)
    weights = [pixels(getattr(frame["Wpol"], name)).ravel() for name in unweighting.COMPONENTS]
    theirs = np.asarray(frame["Wpol"].cond()).ravel()
    mine = unweighting.condition_of(weights)
    well = np.abs(theirs) < 1e6
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
    np.testing.assert_allclose(mine[well], theirs[well], rtol=1e-8)


def test_nan_in_a_map_is_not_taken_for_what_has_no_weights():
    frame = map_frame("flat dense", "hits", 1)
    weights = np.asarray(frame["Wunpol"].TT)
    y, x = np.argwhere(weights)[0]
    skymap = frame.pop("T")
    np.asarray(skymap)[y, x] = np.nan
    frame["T"] = skymap
    _, values = removed(frame)
    assert np.isnan(values["T"].reshape(weights.shape)[y, x])
    assert np.isnan(values["T"]).sum() == 1
