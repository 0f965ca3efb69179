"""Frames as spt3g's own modules make them, today and in years past."""

from __future__ import annotations

import functools

import numpy as np
from skies import bits, keys_but_ledger, map_frame, maps_by_plane, pixels, storage
from spt3g import maps

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
    for i, frame in enumerate(frames):
        module(frame)
        frame["Number"] = i  # for frames of the same content are the same
    return frames


def assert_same_sums(mine, theirs):
    """The same maps, storage and pixels, and the words that matter."""
    assert keys_but_ledger(mine) == keys_but_ledger(theirs)
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
