"""Pictures of a page: planes with their values, directions on the sky, and a graticule."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from spt3g import core, maps

from ..spt3gtypes import Frame
from .graticule import Curve, curves_of, shows_pole
from .panels import POSITIVE, Panel, panels_of
from .patch import Patch, observed_patch
from .planevalues import as_text, packed
from .views import FloatArray, View

MAX_SIDE = 700  # pixels of a picture; one screen has about that many for it
_NODES = (17, 33, 65, 129)  # to each side, of the grid of directions
_EXACT = 0.1  # of a pixel, between nodes
_LONGEST_CURVE = 120  # points

_COORDINATES = {
    maps.MapCoordReference.Equatorial: ("RA", "Dec"),
    maps.MapCoordReference.Galactic: ("l", "b"),
    maps.MapCoordReference.Local: ("Az", "El"),
}


def pictures_of(frame: Frame, budget: int) -> dict[str, Any]:
    """The pictures of a Map frame, as the script of the page takes them.

    Parameters
    ----------
    frame : spt3g.core.G3Frame
        A Map frame.
    budget : int
        How many bytes they may take in the page, about.

    Returns
    -------
    dict
        ``width``, ``height``, ``aspect`` (the height of a pixel over its width); ``planes``, each
        with its name, unit and `PlaneValues`; ``sky``, how pixels become directions, or None
        without a projection; ``graticule``, curves in pixels; ``inside``, whether labels stand
        inside; ``names`` of the coordinates; ``projection``; ``resolution`` in arcmin.

    Raises
    ------
    UsageError
        If no pixel was observed.
    """
    n_planes = sum(name in frame for name in "TQUH") + 1
    # About a byte and a quarter for each pixel, and base64.
    side = int(min(MAX_SIDE, np.sqrt(budget / n_planes / 1.67)))
    patch = observed_patch(frame, max_side=max(side, 60))
    view = patch.view
    height, width = view.shape
    return {
        "width": width,
        "height": height,
        "aspect": view.aspect,
        "names": _COORDINATES.get(view.coord_ref, ("lon", "lat")),
        "projection": view.name,
        "sky": _sky(view) if view.has_sky else None,
        "graticule": _graticule(view) if view.has_sky else [],
        "inside": view.has_sky and (view.is_whole_sky or shows_pole(view)),
        "planes": _planes(patch),
        "resolution": float(view.res / core.G3Units.arcmin),
    }


def _planes(patch: Patch) -> list[dict[str, Any]]:
    names = [name for name in ("T", "Q", "U", "TT", "H") if name in patch.planes]
    return [_plane(panel) for panel in panels_of(patch, names)]


def _plane(panel: Panel) -> dict[str, Any]:
    found = panel.values[np.isfinite(panel.values)]
    median, scatter = 0.0, 0.0
    if found.size:
        median = float(np.median(found))
        scatter = 1.4826 * float(np.median(np.abs(found - median)))
    return {
        "name": panel.name,
        "unit": plain(panel.unit),
        "colours": "sequential" if panel.colours == POSITIVE else "diverging",
        "median": median,
        "scatter": scatter,
        **packed(panel.values, *panel.limits)._asdict(),
    }


def plain(unit: str) -> str:
    """A unit in the notation of matplotlib, as plain text: ``μK CMB``, ``μK⁻² CMB``."""
    unit = re.sub(r"\$_\\mathrm\{(\w+)\}(\^\{-2\})?\$", lambda m: f"{m[2] or ''} {m[1]}", unit)
    return unit.replace("^{-2}", "⁻²").replace("$^2$", "²")


def _sky(view: View) -> dict[str, Any]:
    """How the page finds directions: Mollweide's formula, or unit vectors at nodes of a grid.

    Between nodes the page interpolates, whatever the projection; there are so many of them that
    this is exact to a tenth of a pixel.
    """
    if view.is_whole_sky:
        return {"centre": float(np.degrees(view.centre_lon))}
    for nodes in _NODES:
        vectors = _vectors(view, *_grid(view, nodes))
        if _error(view, vectors, nodes) < _EXACT:
            break
    return {"nodes": nodes, "vectors": as_text(vectors.reshape(-1, 3).astype("<f4").tobytes())}


def _grid(view: View, nodes: int) -> tuple[FloatArray, FloatArray]:
    height, width = view.shape
    x, y = np.meshgrid(np.linspace(0, width - 1, nodes), np.linspace(0, height - 1, nodes))
    return x, y


def _vectors(view: View, x: FloatArray, y: FloatArray) -> FloatArray:
    lon, lat = view.to_angles(x, y)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _error(view: View, vectors: FloatArray, nodes: int) -> float:
    """How far, in pixels, interpolated directions are off in the middle between nodes."""
    middle = (vectors[1:, 1:] + vectors[1:, :-1] + vectors[:-1, 1:] + vectors[:-1, :-1]) / 4
    with np.errstate(invalid="ignore"):
        middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    x, y = (0.25 * (c[1:, 1:] + c[1:, :-1] + c[:-1, 1:] + c[:-1, :-1]) for c in _grid(view, nodes))
    off = np.linalg.norm(_vectors(view, x, y) - middle, axis=-1) / view.res
    if not np.isfinite(vectors).all() and nodes < _NODES[2]:
        return np.inf  # next to pixels off the sky there is nothing to go by
    return float(np.nanmax(off)) if np.isfinite(off).any() else 0.0


def _graticule(view: View) -> list[dict[str, Any]]:
    """Meridians and parallels: each with its label, and its points in pixels."""
    kinds = zip(("meridian", "parallel"), curves_of(view), strict=True)
    return [piece for kind, curves in kinds for one in curves for piece in _pieces(view, one, kind)]


def _pieces(view: View, curve: Curve, kind: str) -> list[dict[str, Any]]:
    """The parts of a curve that are in the picture, as x, y, x, y, …"""
    height, width = view.shape
    with np.errstate(invalid="ignore"):
        near = (np.abs(curve.x / width - 0.5) < 0.7) & (np.abs(curve.y / height - 0.5) < 0.7)
    (places,) = np.nonzero(near)
    found = []
    for piece in np.split(places, np.nonzero(np.diff(places) > 1)[0] + 1):
        if piece.size > 1 and np.ptp(curve.x[piece]) + np.ptp(curve.y[piece]) > 2:  # no pole
            kept = piece[np.unique(np.linspace(0, piece.size - 1, _LONGEST_CURVE).astype(int))]
            xy = np.round(np.stack([curve.x[kept], curve.y[kept]], axis=1).ravel(), 1)
            found.append({"label": curve.label, "kind": kind, "xy": xy.tolist()})
    return found
