"""Frames with pixels that are not finite, beside the same frames without these pixels."""

from __future__ import annotations

import itertools

import numpy as np
from skies import map_frame, maps_by_plane
from spt3g import maps

BAD = (np.nan, np.inf, -np.inf)


def hit_pixels(frame, number):
    """Some pixels in which all maps of a frame may have a value."""
    skymap = frame["T"]
    return np.asarray(skymap.nonzero_pixels()[0])[: 3 * number : 3].tolist()


def with_values(frame, where):
    """The frame with other values: {(plane, pixel): value}."""
    found = {key: frame.pop(key) for key in ("T", "Q", "U", "Wpol", "Wunpol", "H") if key in frame}
    for (name, pixel), value in where.items():
        key, _, component = name.partition(".")
        (getattr(found[key], component) if component else found[key])[pixel] = value
    for key, value in found.items():
        frame[key] = value
    return frame


def spoiled_and_clean(kind, weighting, seed, n_bad=3):
    """A frame with pixels that are not finite, each in one plane, and one without these pixels."""
    frame, clean = (map_frame(kind, weighting, seed) for _ in range(2))
    pixels = hit_pixels(frame, n_bad)
    names = itertools.cycle([*maps_by_plane(frame)][seed % 3 :])
    spoil = dict(zip(zip(names, pixels, strict=False), itertools.cycle(BAD), strict=False))
    everywhere = {(name, pixel): 0.0 for name in maps_by_plane(frame) for pixel in pixels}
    return with_values(frame, spoil), with_values(clean, everywhere), len(pixels)


def series(kind, weighting, number=3):
    spoiled, clean, counts = zip(
        *(spoiled_and_clean(kind, weighting, seed) for seed in range(number)), strict=True
    )
    return list(spoiled), list(clean), sum(counts)


def by_spt3g(frames):
    coadder = maps.CoaddMaps(keep_outputs=True)
    for frame in frames:
        coadder(frame)
    return coadder.coadd_frame


def assert_same_sums(mine, theirs):
    for name, skymap in maps_by_plane(theirs).items():
        np.testing.assert_array_equal(
            np.asarray(maps_by_plane(mine)[name]), np.asarray(skymap), err_msg=name
        )
