"""Map frames with a known sky, and noise that has the covariance that their weights say."""

from __future__ import annotations

import numpy as np
import skies
from spt3g import core, maps

import g3reduce

UK = core.G3Units.uK
COMPONENTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")
UPPER = np.triu_indices(3)
SKY = 300 * UK
N_OBS = 12


def blank(kind="flat sparse", n=24, res=20 * core.G3Units.arcmin, nside=16):
    """An empty map T of the geometry of a kind, as `skies.KINDS` has them."""
    attributes = {
        "weighted": True,
        "coord_ref": maps.MapCoordReference.Equatorial,
        "units": core.G3TimestreamUnits.Tcmb,
        "pol_type": maps.MapPolType.T,
        "pol_conv": maps.MapPolConv.IAU,
    }
    if kind.startswith("flat"):
        place = {"alpha_center": 0, "delta_center": -50 * core.G3Units.deg}
        return maps.FlatSkyMap(n, n, res, proj=maps.MapProjection.Proj5, **place, **attributes)
    return maps.HealpixSkyMap(nside, nested="nested" in kind, **attributes)


def footprint(stub, low=0.0, high=1.0):
    """The numbers of pixels of a part of a map: columns of a flat one, a disc else."""
    if isinstance(stub, maps.FlatSkyMap):
        n_y, n_x = stub.shape
        y, x = np.mgrid[:n_y, int(low * n_x) : int(high * n_x)]
        return np.sort((y * n_x + x).ravel())
    center = 360 * (low + high) / 2 * core.G3Units.deg
    inside = stub.query_disc(center, 0.1, (high - low) * 60 * core.G3Units.deg)
    return np.sort(np.asarray(inside, np.int64))


def weights_for(rng, n, depth=10 * UK):
    """Weight matrices, shape (n, 3, 3), that differ: some 1 / depth^2, half of it for Q and U."""
    level = rng.uniform(0.3, 3, n)[:, None, None]
    angles = rng.uniform(0, np.pi, (n, 12))
    vectors = np.stack([np.ones_like(angles), np.cos(2 * angles), np.sin(2 * angles)], axis=-1)
    return level * np.einsum("nki,nkj->nij", vectors, vectors) / 12 / depth**2


def noise_for(rng, weights):
    """Noise with the covariance that is the inverse of the weights, shape (n, 3)."""
    roots = np.linalg.cholesky(np.linalg.inv(weights))
    return np.einsum("nij,nj->ni", roots, rng.standard_normal(weights.shape[:2]))


def frame_of(stub, pixels, values, weights, map_id="150GHz", *, kind="sparse", weighted=True):
    """A Map frame.

    `values`, shape (n, 3), are unweighted, and `weights`, shape (n, 3, 3), their matrices; or
    shapes (n, 1) and (n, 1, 1) for T alone.
    """
    if weighted:
        values = np.einsum("nij,nj->ni", weights, values)
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    polarized = values.shape[1] == 3
    for name, column in zip("TQU", values.T, strict=False):
        one = _filled(stub, pixels, column, kind)
        one.pol_type, one.weighted = getattr(maps.MapPolType, name), weighted
        if not polarized:
            one.pol_conv = maps.MapPolConv.none
        frame[name] = one
    found = maps.G3SkyMapWeights()
    for name, row, column in zip(COMPONENTS if polarized else ["TT"], *UPPER, strict=False):
        one = _filled(stub, pixels, weights[:, row, column], kind)
        one.pol_type, one.weighted = getattr(maps.MapPolType, name), False
        one.units = core.G3TimestreamUnits.names["None"]
        if not polarized:
            one.pol_conv = maps.MapPolConv.none
        setattr(found, name, one)
    frame["Wpol" if polarized else "Wunpol"] = found
    return frame


def _filled(stub, pixels, values, kind):
    dense = np.zeros(stub.size)
    dense[pixels] = values
    one = stub.clone(False)
    if isinstance(stub, maps.FlatSkyMap):
        one = stub.array_clone(dense.reshape(stub.shape))
        one.sparse = "dense" not in kind
        return one
    one = stub.array_clone(dense)
    if "ring" in kind:
        one.ringsparse = True
    elif "dense" not in kind:
        one.indexedsparse = True
    return one


def unweighted(frame):
    """By numpy: T, Q, U of all pixels, shape (npix, 3), and the weights, (npix, 3, 3)."""
    planes = {name: one.ravel() for name, one in skies.planes(frame).items()}
    values = np.stack([planes[name] for name in "TQU"], axis=1)
    weights = np.zeros((len(values), 3, 3))
    for name, row, column in zip(COMPONENTS, *UPPER, strict=True):
        weights[:, row, column] = weights[:, column, row] = planes[f"Wpol.{name}"]
    seen = weights[:, 0, 0] != 0
    if frame["T"].weighted:
        values[seen] = np.linalg.solve(weights[seen], values[seen][..., None])[..., 0]
    return values, weights, seen


class Observations:
    """Simulated observations of one sky; even and odd ones have other weights and footprints."""

    def __init__(self, *, seed=0, n=10, excess=1.0, kind="flat sparse", sky=SKY, nside=8):
        self.rng = np.random.default_rng(seed)
        self.stub = blank(kind, n=n, nside=nside)
        self.sky = sky * self.rng.standard_normal((self.stub.size, 3))
        self.excess = excess
        self.pixels = [footprint(self.stub, *cut) for cut in ((0, 0.8), (0.2, 1))]

        self.weights = [
            weights_for(self.rng, len(pixels), depth * UK)
            for pixels, depth in zip(self.pixels, (10, 25), strict=True)
        ]

    def frame(self, half, map_id="150GHz"):
        """An observation. All of a half have the same weights, so that the sky cancels in flips."""
        pixels, weights = self.pixels[half], self.weights[half]
        noise = self.excess**0.5 * noise_for(self.rng, weights)
        return frame_of(self.stub, pixels, self.sky[pixels] + noise, weights, map_id)

    def files(self, folder, n_obs=N_OBS):
        frames = [self.frame(number % 2) for number in range(n_obs)]
        return skies.write_frames(folder, frames)


def flips(n_flips, n_obs=N_OBS, seed=1, *, apart=True):
    """An `assign` function: two halves and their sign flips, balanced in number within each."""
    rng = np.random.default_rng(seed)
    signs = np.empty((n_flips, n_obs), int)
    for one in signs:
        for half in (0, 1):
            balanced = np.repeat([1, -1], [(n_obs // 2 + 1) // 2, n_obs // 4])
            one[half::2] = rng.permutation(balanced)

    def assign(frame):
        number = int(g3reduce.unit_of(frame).file.split("obs")[-1].split(".")[0])
        name = ("150GHz_early", "150GHz_late")[number % 2]
        of = name if apart else "150GHz"
        found = {name: 1}
        found |= {f"{of}_signflip{k:03d}": int(signs[k, number]) for k in range(n_flips)}
        return found

    return assign
