"""Meridians and parallels on the axes of a picture of the sky."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from spt3g import maps

from .views import FloatArray, View

# Degrees between lines.
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60)

# Of text, in points: large enough on a slide, and where a picture is as wide as a printed page.
NAMES_PT, NUMBERS_PT = 11, 10

# The smallest distance of two labels, in inches.
_APART = {"x": 0.55, "y": 0.25}

# The latitude of the labels of meridians on the whole sky: not on the plane of the Galaxy.
_MERIDIANS_AT = -30.0

_LINE = {"color": "k", "lw": 0.5, "alpha": 0.35}

_NAMES = {
    maps.MapCoordReference.Equatorial: ("RA", "Dec"),
    maps.MapCoordReference.Galactic: ("Galactic longitude", "Galactic latitude"),
    maps.MapCoordReference.Local: ("Azimuth", "Elevation"),
}


class Curve(NamedTuple):
    """A meridian or parallel in pixels, NaN where it is interrupted, and its label."""

    label: str
    x: FloatArray
    y: FloatArray


def draw_graticule(ax: Any, view: View) -> None:
    """Meridians and parallels, with labels where they meet the edges, or on the whole sky."""
    height, width = view.shape
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(-0.5, height - 0.5)
    if not view.has_sky:
        ax.set_xlabel("column", fontsize=NAMES_PT)
        ax.set_ylabel("row", fontsize=NAMES_PT)
        ax.tick_params(labelsize=NUMBERS_PT)
        return
    meridians, parallels = curves_of(view)
    for curve in (*meridians, *parallels):
        ax.plot(curve.x, curve.y, **_LINE)
    lon_name, lat_name = _NAMES.get(view.coord_ref, ("longitude", "latitude"))
    if view.is_whole_sky:
        _label_inside(ax, view, f"{lon_name}, {lat_name}")
        return
    if shows_pole(view):
        _label_around_pole(ax, view, meridians, parallels)
        ax.set_xlabel(f"{lon_name}, {lat_name}", fontsize=NAMES_PT)
        return
    across, up = _inches(ax, view)
    ax.set_xticks(*_ticks(meridians, "x", view, _APART["x"] / across), fontsize=NUMBERS_PT)
    ax.set_yticks(*_ticks(parallels, "y", view, _APART["y"] / up), fontsize=NUMBERS_PT)
    ax.set_xlabel(lon_name, fontsize=NAMES_PT)
    ax.set_ylabel(lat_name, fontsize=NAMES_PT)


def _inches(ax: Any, view: View) -> tuple[float, float]:
    """About how large the picture is; axes are laid out later."""
    height, width = view.shape
    place = ax.get_subplotspec()
    columns = place.get_gridspec().ncols if place is not None else 1
    across = 0.7 * ax.figure.get_figwidth() / columns
    return across, across * height * view.aspect / width


def curves_of(view: View) -> tuple[list[Curve], list[Curve]]:
    """Meridians and parallels: some six of each, at round numbers of degrees."""
    meridians, parallels = [], []
    if view.is_whole_sky:
        centre = float(np.degrees(view.centre_lon))
        across = centre + np.arange(-120.0, 180, 60)
        up = np.arange(-60.0, 90, 30)
        lon_range, lat_range = (centre - 180, centre + 180), (-90.0, 90.0)
    else:
        lon_range, lat_range = _coordinate_ranges(view)
        height, width = view.shape
        n_across, n_up = (7, 7)
        if width > 4 * height * view.aspect:  # a stripe has room for few labels only
            n_up = 3
        elif height * view.aspect > 4 * width:
            n_across = 2
        across, up = _lines(*lon_range, n_across), _lines(*lat_range, n_up)
        if len(across) > 1:  # 0 and 360 degrees are the same meridian
            across = across[: int(np.ceil(360 / (across[1] - across[0])))]
    lat = np.linspace(max(lat_range[0] - 5, -90), min(lat_range[1] + 5, 90), 600)
    for value in across:
        x, y = view.to_xy(np.full(lat.size, np.radians(value)), np.radians(lat))
        meridians.append(Curve(f"{round(value % 360, 6) % 360:g}°", *_broken(x, y, view)))
    lon = np.linspace(max(lon_range[0] - 5, lon_range[1] - 360), lon_range[1] + 5, 1200)
    if view.is_whole_sky or lon_range[1] - lon_range[0] > 350:
        centre, half = float(np.degrees(view.centre_lon)), 180 * (1 - 1e-9)
        lon = np.linspace(centre - half, centre + half, 1200)
    for value in up:
        x, y = view.to_xy(np.radians(lon), np.full(lon.size, np.radians(value)))
        label = f"{round(value, 6):g}°".replace("-", "−")
        parallels.append(Curve(label, *_broken(x, y, view)))
    return meridians, parallels


def _broken(x: FloatArray, y: FloatArray, view: View) -> tuple[FloatArray, FloatArray]:
    """The curve without the jumps from one side of the sky to the other."""
    height, width = view.shape
    with np.errstate(invalid="ignore"):
        far = (np.abs(np.diff(x)) > width / 2) | (np.abs(np.diff(y)) > height / 2)
    beyond = (np.abs(x) > 20 * width) | (np.abs(y) > 20 * height)
    x, y = np.where(beyond, np.nan, x), np.where(beyond, np.nan, y)
    # Of thin stripes, curves that pass in one step are no jumps.
    far &= np.hypot(np.diff(x), np.diff(y)) > max(view.shape) / 2
    at = np.nonzero(far)[0] + 1
    return np.insert(x, at, np.nan), np.insert(y, at, np.nan)


def _coordinate_ranges(view: View) -> tuple[tuple[float, float], tuple[float, float]]:
    """Ranges of longitude and latitude, in degrees, on the view; longitude without a jump."""
    height, width = view.shape
    x, y = np.meshgrid(np.linspace(0, width - 1, 80), np.linspace(0, height - 1, 80))
    lon, lat = (np.degrees(one) for one in view.to_angles(x.ravel(), y.ravel()))
    on_sky = np.isfinite(lon) & np.isfinite(lat)
    lon, lat = lon[on_sky], lat[on_sky]
    # A stripe may be far from the meridian of its projection.
    middle = np.degrees(np.angle(np.exp(1j * np.radians(lon)).mean()))
    wide = np.ptp(middle + (lon - middle + 180) % 360 - 180) > 300
    centre = np.degrees(view.centre_lon) if wide else middle
    lon = centre + (lon - centre + 180) % 360 - 180
    low, high = float(lat.min()), float(lat.max())
    for pole in (-90.0, 90.0):  # which lies between the pixels that were looked at
        at = view.to_xy(np.zeros(1), np.radians([pole]))
        if wide and 0 <= at[0][0] < width and 0 <= at[1][0] < height:
            low, high = min(low, pole), max(high, pole)
    return (float(lon.min()), float(lon.max())), (low, high)


def _lines(low: float, high: float, at_most: int) -> FloatArray:
    step = next((step for step in STEPS if (high - low) / step <= at_most), 90)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step


def _ticks(
    curves: list[Curve], axis: str, view: View, apart: float
) -> tuple[list[float], list[str]]:
    """Where curves meet the lower edge (axis x) or the left one (y), and their labels.

    Labels are `apart`, as a part of the axis, or more.
    """
    height, width = view.shape
    size = width if axis == "x" else height
    found: list[tuple[float, str]] = []
    for label, x, y in curves:
        across, along = (y, x) if axis == "x" else (x, y)
        with np.errstate(invalid="ignore"):
            signs = np.sign(across + 0.5)
            (i,) = np.nonzero(signs[:-1] * signs[1:] <= 0)
        i = i[across[i + 1] != across[i]]
        t = (-0.5 - across[i]) / (across[i + 1] - across[i])
        where = along[i] + t * (along[i + 1] - along[i])
        found += [(float(w), label) for w in where if -0.5 <= w <= size - 0.5]
    if not found:  # maps of the whole sky end before the edge
        for label, x, y in curves:
            across, along = (y, x) if axis == "x" else (x, y)
            if np.isfinite(across).any():
                w = float(along[np.nanargmin(across)])
                found += [(w, label)] if -0.5 <= w <= size - 0.5 else []
    kept: list[tuple[float, str]] = []
    for w, label in sorted(found):
        if not kept or w - kept[-1][0] >= apart * size:
            kept.append((w, label))
    return [w for w, _ in kept], [label for _, label in kept]


def shows_pole(view: View) -> bool:
    """Whether a pole is well inside, so that meridians do not end at the lower edge."""
    height, width = view.shape
    for pole in (-np.pi / 2, np.pi / 2):
        x, y = view.to_xy(np.zeros(1), np.array([pole]))
        if 0.2 * width < x[0] < 0.8 * width and 0.2 * height < y[0] < 0.8 * height:
            lon, _ = view.to_angles(np.array([1.0, width - 2.0]), np.array([y[0], y[0]]))
            if np.isnan(lon).any() or abs(np.cos(lon[0] - lon[1]) + 1) < 0.5:
                return True  # not a projection in which a pole is a line
    return False


def _halo() -> list[Any]:
    """What makes text readable on any colour."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3, foreground="white")]


def _label_around_pole(ax: Any, view: View, meridians: list[Curve], parallels: list[Curve]) -> None:
    """Labels inside: of meridians near the edges, of parallels between two meridians."""
    height, width = view.shape
    ax.set_xticks([])
    ax.set_yticks([])
    style = {"ha": "center", "va": "center", "fontsize": NUMBERS_PT, "path_effects": _halo()}
    for label, x, y in meridians:
        with np.errstate(invalid="ignore"):
            inside = (np.abs(x / width - 0.5) < 0.45) & (np.abs(y / height - 0.5) < 0.46)
        if inside.any():
            far = np.nanargmax(np.where(inside, np.hypot(x - width / 2, y - height / 2), -1))
            ax.text(x[far], y[far], label, **style)
    for label, x, y in parallels:
        with np.errstate(invalid="ignore"):
            inside = (np.abs(x / width - 0.5) < 0.44) & (np.abs(y / height - 0.5) < 0.46)
            # To the lower right, off the meridians at 0, 60, ... degrees.
            angle = np.arctan2(y - height / 2, x - width / 2)
        if inside.any():
            ax.text(*_nearest(x, y, inside, angle, -np.pi / 4), label, **style)


def _nearest(x: FloatArray, y: FloatArray, inside: Any, angle: FloatArray, at: float) -> Any:
    place = np.argmin(np.where(inside, np.abs(np.angle(np.exp(1j * (angle - at)))), np.inf))
    return x[place], y[place]


def _label_inside(ax: Any, view: View, names: str) -> None:
    """Labels of the whole sky: of meridians off the equator, of parallels at the left edge."""
    from matplotlib.patches import Ellipse

    height, width = view.shape
    middle = (width / 2 - 0.5, height / 2 - 0.5)
    outline = Ellipse(middle, width, height, fc="0.88", ec="none", zorder=-1)
    ax.add_patch(outline)
    ax.add_patch(Ellipse(middle, width, height, fc="none", ec="0.3", lw=0.8))
    for image in ax.images:
        image.set_clip_path(outline)
    ax.patch.set_visible(False)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    for degrees in np.degrees(view.centre_lon) + np.arange(-120.0, 180, 60):
        x, y = view.to_xy(np.radians([degrees]), np.radians([_MERIDIANS_AT]))
        ax.text(x[0], y[0], f"{degrees % 360:.0f}°", ha="center", va="bottom", fontsize=NUMBERS_PT,
                path_effects=_halo())  # fmt: skip
    edge = view.centre_lon + np.pi * (1 - 1e-9)
    for degrees in (-60, -30, 0, 30, 60):
        x, y = view.to_xy(np.array([edge]), np.radians([degrees]))
        label = f"{degrees}°".replace("-", "−")
        vertical = "center" if not degrees else "bottom" if degrees > 0 else "top"
        ax.text(x[0] - 4, y[0], label, ha="right", va=vertical, fontsize=NUMBERS_PT)
    ax.set_xlabel(names, fontsize=NAMES_PT)
