"""The observed part of a map frame, as flat-sky maps that are small enough to draw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import UsageError
from ..maps.mapframe import maps_of
from ..spt3gtypes import Frame, SkyMap

FloatArray = NDArray[np.float64]

MAX_SIDE = 1600  # pixels: more than a page can show
MAX_SAMPLES = 100_000  # pixels of a HEALPix footprint that are looked at to find its outline


def observed_patch(frame: Frame) -> dict[str, SkyMap]:
    """Copy the observed part of every plane to flat-sky maps of one geometry, weights removed.

    Parameters
    ----------
    frame : spt3g.core.G3Frame
        A Map frame; it stays as it is.

    Returns
    -------
    dict of str to spt3g.maps.FlatSkyMap
        ``T``, ``Q``, ``U``, ``H``, and of the weights ``TT``, ``TQ`` and so on: those that it has.

    Raises
    ------
    UsageError
        If no pixel was observed.
    InputError
        If a map cannot be read.
    """
    named = maps_of(frame, "The frame").items()
    planes = {name.rpartition(".")[2]: plane for name, plane in named}  # TT instead of Wpol.TT
    footprint = next(planes[key] for key in ("TT", "H", "T") if key in planes)
    if isinstance(footprint, maps.FlatSkyMap):
        patch = _crop(planes, footprint)
    else:
        patch = _project(planes, footprint)
    _remove_weights(patch)
    return patch


def _crop(planes: dict[str, SkyMap], footprint: SkyMap) -> dict[str, SkyMap]:
    height, width = footprint.shape
    y, x = np.divmod(_observed_pixels(footprint).astype(np.int64), width)
    bottom, top = max(y.min() - 2, 0), min(y.max() + 2, height - 1)
    left, right = max(x.min() - 2, 0), min(x.max() + 2, width - 1)
    scale = -int(-max(top + 1 - bottom, right + 1 - left) // MAX_SIDE)
    # Whole blocks of scale x scale pixels.
    rows = slice(int(bottom), int(bottom + (top + 1 - bottom) // scale * scale))
    columns = slice(int(left), int(left + (right + 1 - left) // scale * scale))
    patch = {}
    for name, plane in planes.items():
        cut = plane[rows, columns]  # a copy
        # Sums of weighted values and of weights make the inverse-variance average.
        patch[name] = cut.rebin(scale, norm=name in ("T", "Q", "U") and not plane.weighted)
    return patch


def _project(planes: dict[str, SkyMap], footprint: SkyMap) -> dict[str, SkyMap]:
    """Sample HEALPix planes at a flat grid. Values are neither interpolated nor mixed."""
    stub = _grid_around(footprint)
    rebin = max(1, round(stub.res / footprint.res))  # average where the grid is the coarser
    patch = {}
    for name, plane in planes.items():
        patch[name] = stub.clone(False)
        for attribute in ("units", "weighted", "pol_type", "pol_conv"):
            setattr(patch[name], attribute, getattr(plane, attribute))
        maps.reproj_map(plane, patch[name], rebin=rebin)
    return patch


def _observed_pixels(footprint: SkyMap) -> NDArray[np.uint64]:
    """Indices of the pixels that are neither zero nor NaN."""
    indices, values = footprint.nonzero_pixels()
    # Maps without weights are NaN where they were not observed.
    pixels: NDArray[np.uint64] = np.asarray(indices, dtype=np.uint64)[np.isfinite(values)]
    if not pixels.size:
        raise UsageError("No pixel of the map was observed, so there is nothing to plot.")
    return pixels


def _grid_around(footprint: SkyMap) -> SkyMap:
    """An empty flat-sky map that covers the nonzero pixels of a HEALPix map."""
    pixels = _observed_pixels(footprint)
    pixels = pixels[:: -(-pixels.size // MAX_SAMPLES)]
    lon, lat = (np.asarray(a) for a in footprint.pixels_to_angles(pixels))
    vectors = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    centre = vectors.mean(axis=1)
    centre /= max(np.linalg.norm(centre), 1e-12)
    geometry = {"coord_ref": footprint.coord_ref}
    if (centre @ vectors).min() > 0:  # within a hemisphere
        geometry["proj"] = maps.MapProjection.ProjZEA
        geometry["alpha_center"] = np.arctan2(centre[1], centre[0])
        geometry["delta_center"] = np.arcsin(centre[2])
    else:
        geometry["proj"] = maps.MapProjection.ProjCAR
    # Pixel coordinates of the footprint on a grid of one pixel give the size of the real one.
    x, y = to_xy(maps.FlatSkyMap(1, 1, footprint.res, **geometry), lon, lat)
    extent = max(np.ptp(x), np.ptp(y)) * footprint.res
    res = max(footprint.res / 2, extent / MAX_SIDE)  # oversampled, to show pixels' true shapes
    x, y, pad = x * footprint.res / res, y * footprint.res / res, 6
    return maps.FlatSkyMap(
        int(np.ptp(x)) + 2 * pad,
        int(np.ptp(y)) + 2 * pad,
        res,
        x_center=pad - x.min(),
        y_center=pad - y.min(),
        **geometry,
    )


def _remove_weights(patch: dict[str, Any]) -> None:
    """Divide by the weights, where there are weights and the maps are weighted."""
    if "TT" not in patch or not patch["T"].weighted:
        return
    weights = maps.G3SkyMapWeights()
    for name in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
        if name in patch:
            setattr(weights, name, patch[name])
    if "Q" in patch and "QQ" in patch:
        maps.remove_weights(patch["T"], patch["Q"], patch["U"], weights)
    else:
        maps.remove_weights_t(patch["T"], weights)


def to_xy(geometry: Any, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pixel coordinates of directions, which are in radians."""
    x, y = geometry.angle_to_xy(core.DoubleVector(lon), core.DoubleVector(lat))
    return np.asarray(x), np.asarray(y)
