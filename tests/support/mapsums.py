"""Sums of map frames, and their comparison."""

from __future__ import annotations

import itertools

import numpy as np
from skies import (
    add_maps,
    bits,
    frame_of,
    maps_by_plane,
    planes,
    read_frame,
)

from g3reduce.maps import mapframe
from g3reduce.maps.mapsum import MapSum


def added(frames, signs=(), **options):
    """The running sum of frames."""
    total = None
    for frame, sign in itertools.zip_longest(frames, signs, fillvalue=1):
        read = read_frame(frame, frame["Id"], weighted=False)
        total = total or MapSum.of(read, **options)
        add_maps(total, read, sign)
    return total


def summed(frames, **options):
    return mapframe.to_frame("sum", added(frames, **options).to_maps())


def by_spt3g(frames):
    """The sum as spt3g makes it, map by map, in this order."""
    totals = {}
    for frame in frames:
        for name, skymap in maps_by_plane(frame).items():
            if name not in totals:
                totals[name] = skymap.clone(False)
            totals[name] += skymap
    return frame_of("sum", totals)


def assert_same_pixels(mine, theirs):
    """Whatever the storage, which spt3g takes from the first map."""
    mine, theirs = planes(mine), planes(theirs)
    assert mine.keys() == theirs.keys()
    for name, plane in mine.items():
        np.testing.assert_array_equal(bits(plane), bits(theirs[name]), err_msg=name)


def emptied(frame):
    """A frame like this one whose maps have no pixels at all."""
    empty = {name: skymap.clone(False) for name, skymap in maps_by_plane(frame).items()}
    return frame_of(frame["Id"], empty)


STORAGES = {
    "flat": ("flat sparse", "flat dense", "empty"),
    "ring order": ("healpix ring", "healpix indexed", "healpix dense", "empty"),
    "nested": ("healpix nested indexed", "healpix nested dense", "empty"),
    "shifted": ("healpix ring shifted", "healpix indexed", "healpix dense"),
}


def with_overflow(frame, overflow):
    """The frame with `overflow` in T, ten times that in the hits."""
    for key, factor in (("T", 1), ("H", 10)):
        skymap = frame.pop(key)
        skymap.overflow = factor * overflow
        frame[key] = skymap
    return frame
