"""Map frames and files of any numbers, whose plain sums depend on the order."""

import math

import numpy as np
import skies
from spt3g import core

# By the name of a family: kinds of maps that can be in one coadd.
FAMILIES = {
    "flat": ("flat sparse", "flat dense"),
    "healpix": ("healpix ring", "healpix indexed", "healpix dense"),
    "sparse healpix": ("healpix ring", "healpix ring shifted", "healpix indexed"),
    "nested": ("healpix nested indexed", "healpix nested dense"),
}


def of_moderate_size(rng, n):
    """Numbers with all their bits, none of which three limbs lose."""
    return rng.normal(size=n) * 2.0 ** rng.integers(-18, 18, n)


def of_any_size(rng, n):
    """From tiny to huge, and some that are not finite."""
    values = rng.normal(size=n) * 10.0 ** rng.uniform(-300, 300, n)
    pick = rng.random(n)
    for chance, value in enumerate((math.nan, math.inf, -math.inf, 5e-324, -0.0)):
        values[(pick > 0.01 * chance) & (pick < 0.01 * chance + 0.01)] = value
    return values


def map_frame(kind, weighting, seed, map_id="150GHz", numbers=of_moderate_size):
    """A frame as those of `skies`, with other numbers on its pixels, and with overflow."""
    rng = np.random.default_rng([seed, len(map_id)])
    frame = skies.map_frame(kind, weighting, seed, map_id)
    changed = {}
    for name, skymap in skies.maps_by_plane(frame).items():
        changed[name] = skymap.clone(True)
        pixels = np.sort(np.asarray(skymap.nonzero_pixels()[0]))  # in whatever storage
        for pixel, value in zip(pixels.tolist(), numbers(rng, len(pixels)).tolist(), strict=True):
            changed[name][pixel] = value
        changed[name].overflow = rng.normal() * 10.0 ** rng.integers(-9, 9)
    return skies.frame_of(map_id, changed)


def write_files(folder, n_files, family, weighting, numbers=of_moderate_size):
    """Files ``obs_<number>.g3`` with two Map frames, each stored in another way than the last."""
    kinds, names = FAMILIES[family], []
    for number in range(n_files):
        names.append(f"{folder}/obs_{number:03d}.g3")
        with core.G3Writer(names[-1]) as writer:
            for i, map_id in enumerate(("90GHz", "150GHz")):
                kind = kinds[(number + i) % len(kinds)]
                writer(map_frame(kind, weighting, 10 * number + i, map_id, numbers))
    return names


def exact_sums(frames):
    """By plane, the true sum of each pixel, rounded once."""
    planes = [skies.planes(frame) for frame in frames]
    sums = {}
    for name in planes[0]:
        stacked = np.array([found[name].reshape(-1) for found in planes]).T.tolist()
        sums[name] = np.array([math.fsum(values) for values in stacked]) + 0.0
    return sums
