"""Meridians and parallels on the axes of a flat-sky map."""

from __future__ import annotations

from typing import Any

import numpy as np
from spt3g import core, maps

from .patch import FloatArray, to_xy

STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60)  # degrees between lines


def draw_graticule(ax: Any, geometry: Any) -> None:
    """Meridians and parallels, labelled where they meet the lower and the left edge."""
    deg = core.G3Units.deg
    height, width = geometry.shape
    left, right, bottom, top = -0.5, width - 0.5, -0.5, height - 0.5
    lon_range, lat_range = _coordinate_ranges(geometry)
    meridians, parallels = [], []
    lat = np.linspace(max(lat_range[0] - 5, -90), min(lat_range[1] + 5, 90), 400)
    for value in _lines(*lon_range):
        x, y = to_xy(geometry, np.full(lat.size, value * deg), lat * deg)
        meridians.append((f"{value % 360:g}°", y, x))
        ax.plot(x, y, color="k", lw=0.4, alpha=0.3)
    lon = np.linspace(max(lon_range[0] - 5, lon_range[1] - 360), lon_range[1] + 5, 800)
    for value in _lines(*lat_range):
        x, y = to_xy(geometry, lon * deg, np.full(lon.size, value * deg))
        parallels.append((f"{value:g}°".replace("-", "−"), x, y))
        ax.plot(x, y, color="k", lw=0.4, alpha=0.3)
    ax.set_xticks(*_ticks(meridians, bottom, left, right), fontsize=8)
    ax.set_yticks(*_ticks(parallels, left, bottom, top), fontsize=8)
    names = {
        maps.MapCoordReference.Equatorial: ("RA", "Dec"),
        maps.MapCoordReference.Galactic: ("Galactic longitude", "Galactic latitude"),
        maps.MapCoordReference.Local: ("Azimuth", "Elevation"),
    }
    lon_name, lat_name = names[geometry.coord_ref]
    ax.set_xlabel(lon_name, fontsize=9)
    ax.set_ylabel(lat_name, fontsize=9)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def _coordinate_ranges(geometry: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of longitude and latitude, in degrees, on the patch; longitude without a jump."""
    height, width = geometry.shape
    x, y = np.meshgrid(np.linspace(0, width - 1, 60), np.linspace(0, height - 1, 60))
    lon, lat = (
        np.asarray(a) / core.G3Units.deg
        for a in geometry.xy_to_angle(core.DoubleVector(x.ravel()), core.DoubleVector(y.ravel()))
    )
    on_sky = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = lon[on_sky], lat[on_sky]
    centre = geometry.alpha_center / core.G3Units.deg
    lon = centre + (lon - centre + 180) % 360 - 180
    return (float(lon.min()), float(lon.max())), (float(lat.min()), float(lat.max()))


def _lines(low: float, high: float) -> FloatArray:
    step = next((step for step in STEPS if (high - low) / step <= 7), 90)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _ticks(
    curves: list[tuple[str, FloatArray, FloatArray]], edge: float, low: float, high: float
) -> tuple[list[float], list[str]]:
    """Where curves ``(label, across, along)`` meet the edge ``across = edge``, and their labels."""
    ticks: dict[float, str] = {}
    for label, across, along in curves:
        with np.errstate(invalid="ignore"):
            (i,) = np.nonzero(np.diff(np.sign(across - edge)))
        t = (edge - across[i]) / (across[i + 1] - across[i])
        where = along[i] + t * (along[i + 1] - along[i])
        ticks.update((float(w), label) for w in where if low <= w <= high)
    if not ticks:  # maps of the whole sky end before the edge
        ticks = {float(along[np.argmin(across)]): label for label, across, along in curves}
    return list(ticks), list(ticks.values())
