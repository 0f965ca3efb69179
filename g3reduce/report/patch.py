"""The observed part of a map frame, as arrays that are small enough to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import UsageError
from ..maps.mapframe import maps_of
from ..spt3gtypes import Frame, SkyMap
from .smoothing import can_on_sphere, on_sphere, smoothed
from .views import FlatView, FloatArray, Mollweide, View, to_xy

MAX_SIDE = 1600  # pixels: more than a page can show
MAX_SAMPLES = 100_000  # pixels of a HEALPix footprint that are looked at to find its outline

# The projection of a HEALPix footprint, by the largest distance to its middle, in degrees.
GNOMONIC_UP_TO = 10.0
ZENITHAL_UP_TO = 91.0

PROJECTIONS = ("gnomonic", "zenithal", "mollweide")
_FLAT = {"gnomonic": maps.MapProjection.ProjTAN, "zenithal": maps.MapProjection.ProjZEA}

STOKES = ("T", "Q", "U")
_WEIGHTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")


@dataclass(frozen=True, eq=False)
class Patch:
    """The planes of a frame on the pixels of a view.

    Attributes
    ----------
    view : View
    planes : dict of str to float64 array, shape of the view
        ``T``, ``Q``, ``U``, ``H``, and of the weights ``TT``, ``TQ`` and so on: those that there
        are, in the units of the frame. Pixels beside the sky are NaN.
    stub : spt3g.maps.G3SkyMap
        A plane of the frame, of which units and geometry can be read.
    weighted : bool
        Whether T, Q and U are multiplied by their weights.
    """

    view: View
    planes: dict[str, FloatArray]
    stub: SkyMap
    weighted: bool

    @property
    def coverage(self) -> str:
        """The plane that says best which pixels were observed, and how well."""
        return next(name for name in ("TT", "H", "T", "Q", "U") if name in self.planes)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which pixels were observed."""
        found: NDArray[np.bool_] = np.isfinite(self.planes[self.coverage])
        found &= self.planes[self.coverage] != 0
        return found

    @property
    def well_seen(self) -> NDArray[np.bool_]:
        """Which of them were observed so well that they may set the colours."""
        seen, coverage = self.seen, self.planes[self.coverage]
        if self.coverage in STOKES or not seen.any():
            return seen
        return seen & (coverage > 0.3 * np.median(coverage[seen]))


def observed_patch(
    frame: Frame,
    projection: str | None = None,
    *,
    weighted: bool = False,
    smooth: float | None = None,
    max_side: int = MAX_SIDE,
) -> Patch:
    """Copy the observed part of every plane to the pixels of a view.

    Nothing of the size of the full sky is made, unless the view shows it, in its coarser pixels.
    Where pixels of the picture are larger than those of the map, they are averages with the
    weights.

    Parameters
    ----------
    frame : spt3g.core.G3Frame
        A Map frame; it stays as it is.
    projection : {"gnomonic", "zenithal", "mollweide"}, optional
        Of HEALPix maps. Default: what suits the footprint. Flat-sky maps keep their own.
    weighted : bool
        Whether weighted maps stay so.
    smooth : float, optional
        Full width at half maximum, in arcmin, of a Gaussian.
    max_side : int
        Pixels of the longer side of the picture, at most: maps with more are averaged.

    Returns
    -------
    Patch

    Raises
    ------
    UsageError
        If no pixel was observed, or `projection` is none of these.
    InputError
        If a map cannot be read.
    """
    if projection is not None and projection not in PROJECTIONS:
        raise UsageError(
            f"projection is {projection!r}; expected one of {', '.join(PROJECTIONS)}, or None."
        )
    named = maps_of(frame, "The frame").items()
    planes = {name.rpartition(".")[2]: plane for name, plane in named}  # TT instead of Wpol.TT
    if not planes:
        found = ", ".join(frame.keys()) or "nothing"
        raise UsageError(f"The frame to be drawn has {found}; expected maps, such as T and Wpol.")
    footprint = next(planes[key] for key in ("TT", "H", "T", *planes) if key in planes)
    view: FlatView | Mollweide
    if isinstance(footprint, maps.FlatSkyMap):
        drawn = _crop(planes, footprint, max_side)
        view = FlatView(next(iter(drawn.values())))
        arrays = drawn
    else:
        view = _view_of(footprint, projection, max_side)
        arrays = {}
    stokes = next((planes[name] for name in STOKES if name in planes), footprint)
    is_weighted = bool(stokes.weighted) and any(name in planes for name in STOKES)
    sums = is_weighted and "TT" in planes
    if isinstance(view, Mollweide):
        planes = _coarser(planes, view)
        if smooth and can_on_sphere(smooth, next(iter(planes.values())).nside):
            planes = _smoothed_on_sphere(planes, smooth, sums)
            smooth = None
        arrays = _on_whole_sky(planes, view)
    elif not arrays:
        arrays = _sampled(planes, view)
    if smooth:
        values = {name: np.array(plane, dtype=float) for name, plane in arrays.items()}
        for name, one in smoothed(values, view, smooth, are_sums=sums).items():
            np.asarray(arrays[name])[:] = one
    if sums and not weighted:
        _remove_weights(arrays)
        is_weighted = False
    return Patch(
        view,
        {name: np.array(plane, dtype=float) for name, plane in arrays.items()},
        stokes,
        is_weighted,
    )


def _crop(planes: dict[str, SkyMap], footprint: SkyMap, max_side: int) -> dict[str, SkyMap]:
    height, width = footprint.shape
    y, x = np.divmod(_observed_pixels(footprint).astype(np.int64), width)
    bottom, top = max(y.min() - 2, 0), min(y.max() + 2, height - 1)
    left, right = max(x.min() - 2, 0), min(x.max() + 2, width - 1)
    scale = -int(-max(top + 1 - bottom, right + 1 - left) // max_side)
    scale = min(scale, int(top + 1 - bottom), int(right + 1 - left))  # of very thin stripes
    # Whole blocks of scale x scale pixels.
    rows = slice(int(bottom), int(bottom + (top + 1 - bottom) // scale * scale))
    columns = slice(int(left), int(left + (right + 1 - left) // scale * scale))
    patch = {}
    for name, plane in planes.items():
        cut = plane[rows, columns]  # a copy
        # Sums of weighted values and of weights make the inverse-variance average.
        patch[name] = cut.rebin(scale, norm=name in STOKES and not plane.weighted)
    return patch


def _sampled(planes: dict[str, SkyMap], view: FlatView) -> dict[str, Any]:
    """Sample HEALPix planes at a view. Values are neither interpolated nor mixed."""
    stub = view.geometry
    y, x = np.indices(view.shape, dtype=float)
    beside = np.isnan(view.to_angles(x, y)[0])
    patch = {}
    for name, plane in planes.items():
        rebin = max(1, round(stub.res / plane.res))  # average where the grid is the coarser
        patch[name] = stub.clone(False)
        for attribute in ("units", "weighted", "pol_type", "pol_conv"):
            setattr(patch[name], attribute, getattr(plane, attribute))
        maps.reproj_map(plane, patch[name], rebin=rebin)
        if beside.any():
            np.asarray(patch[name])[beside] = np.nan
    return patch


def _coarser(planes: dict[str, SkyMap], view: Mollweide) -> dict[str, SkyMap]:
    """Maps averaged to the resolution of a view, or weighted ones and weights added up."""
    found = {}
    for name, plane in planes.items():
        scale = 1
        while plane.nside // scale > 1 and plane.res * scale * 2 <= view.res * 1.2:
            scale *= 2
        if scale > 1:
            plane = plane.rebin(scale, norm=name in STOKES and not plane.weighted)
        found[name] = plane
    return found


def _smoothed_on_sphere(
    planes: dict[str, SkyMap], fwhm: float, are_sums: bool
) -> dict[str, SkyMap]:
    whole = {name: plane.clone(True) for name, plane in planes.items()}
    values = {name: np.array(plane, dtype=float) for name, plane in whole.items()}
    nested = next(iter(planes.values())).nested
    for name, one in on_sphere(values, fwhm, nested=nested, are_sums=are_sums).items():
        np.asarray(whole[name])[:] = one
    return whole


def _on_whole_sky(planes: dict[str, SkyMap], view: Mollweide) -> dict[str, Any]:
    """The nearest pixels of maps."""
    y, x = np.indices(view.shape, dtype=float)
    lon, lat = (one.ravel() for one in view.to_angles(x, y))
    on_sky = np.isfinite(lon)
    patch = {}
    for name, plane in planes.items():
        numbers = plane.angles_to_pixels(
            core.DoubleVector(lon[on_sky]), core.DoubleVector(lat[on_sky])
        )
        values = np.full(lon.size, np.nan)
        values[on_sky] = np.asarray(plane.clone(True))[np.asarray(numbers, dtype=np.int64)]
        drawn = maps.FlatSkyMap(view.shape[1], view.shape[0], view.res, weighted=plane.weighted)
        for attribute in ("units", "pol_type", "pol_conv"):
            setattr(drawn, attribute, getattr(plane, attribute))
        np.asarray(drawn)[:] = values.reshape(view.shape)
        patch[name] = drawn
    return patch


def _observed_pixels(footprint: SkyMap) -> NDArray[np.uint64]:
    """Indices of the pixels that are neither zero nor NaN."""
    indices, values = footprint.nonzero_pixels()
    # Maps without weights are NaN where they were not observed.
    pixels: NDArray[np.uint64] = np.asarray(indices, dtype=np.uint64)[np.isfinite(values)]
    if not pixels.size:
        raise UsageError("No pixel of the map was observed, so there is nothing to plot.")
    return pixels


def _view_of(footprint: SkyMap, projection: str | None, max_side: int) -> FlatView | Mollweide:
    """A view that covers the nonzero pixels of a HEALPix map."""
    pixels = _observed_pixels(footprint)
    pixels = pixels[:: -(-pixels.size // MAX_SAMPLES)]
    lon, lat = (np.asarray(a) for a in footprint.pixels_to_angles(pixels))
    vectors = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    centre = _middle(vectors)
    if abs(centre[2]) > np.cos(np.radians(2)) and (vectors[2] * np.sign(centre[2])).max() > 0.999:
        centre = np.array([0, 0, np.sign(centre[2])])  # at a pole; longitude 0 is up or down
    radius = np.degrees(np.arccos(np.clip((centre @ vectors).min(), -1, 1)))
    if projection is None:
        projection = (
            "gnomonic"
            if radius <= GNOMONIC_UP_TO
            else "zenithal"
            if radius <= ZENITHAL_UP_TO
            else "mollweide"
        )
    if projection == "mollweide":
        width = _width(footprint.res, max_side)
        return Mollweide(width, footprint.coord_ref, _meridian(footprint, vectors))
    if projection == "gnomonic" and radius > 80:
        raise UsageError(
            f"The map reaches {radius:.0f} degrees from its middle; a gnomonic picture shows up to "
            "80. Choose zenithal or mollweide."
        )
    geometry = {
        "coord_ref": footprint.coord_ref,
        "proj": _FLAT[projection],
        "alpha_center": np.arctan2(centre[1], centre[0]),
        "delta_center": np.arcsin(np.clip(centre[2], -1, 1)),
    }
    # Pixel coordinates of the footprint on a grid of one pixel give the size of the real one.
    x, y = to_xy(maps.FlatSkyMap(1, 1, footprint.res, **geometry), lon, lat)
    extent = max(np.ptp(x), np.ptp(y)) * footprint.res
    res = max(footprint.res / 2, extent / max_side)  # oversampled, to show pixels' true shapes
    x, y, pad = x * footprint.res / res, y * footprint.res / res, 6
    return FlatView(
        maps.FlatSkyMap(
            int(np.ptp(x)) + 2 * pad,
            int(np.ptp(y)) + 2 * pad,
            res,
            x_center=pad - x.min(),
            y_center=pad - y.min(),
            **geometry,
        )
    )


def _middle(vectors: FloatArray) -> FloatArray:
    """The direction in the middle of others: of their mean, moved to where the farthest is near."""
    centre = vectors.mean(axis=1)
    centre = centre / max(float(np.linalg.norm(centre)), 1e-12)
    for step in range(1, 100):  # towards the smallest cap (Badoiu and Clarkson 2003)
        centre = centre + (vectors[:, np.argmin(centre @ vectors)] - centre) / (step + 1)
        centre = centre / max(float(np.linalg.norm(centre)), 1e-12)
    found: FloatArray = centre
    return found


def _width(res: float, max_side: int) -> int:
    """Pixels along the equator: some two for each of the map, within what a page can show."""
    return int(np.clip(2 * np.pi / res * 2, min(400, max_side), max_side))


def _meridian(footprint: SkyMap, vectors: FloatArray) -> float:
    """The longitude that is put in the middle of a picture of the whole sky."""
    x, y, _ = vectors.mean(axis=1)
    if footprint.coord_ref == maps.MapCoordReference.Galactic or np.hypot(x, y) < 0.15:
        return 0.0
    return float(np.round(np.arctan2(y, x) / (np.pi / 6)) * np.pi / 6)


def _remove_weights(patch: dict[str, Any]) -> None:
    """Divide by the weights."""
    weights = maps.G3SkyMapWeights()
    for name in _WEIGHTS:
        if name in patch:
            setattr(weights, name, patch[name])
    if all(name in patch for name in ("T", "Q", "U", "QQ")):
        maps.remove_weights(patch["T"], patch["Q"], patch["U"], weights)
    elif "T" in patch:
        maps.remove_weights_t(patch["T"], weights)
