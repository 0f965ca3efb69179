"""Pictures of map frames: Stokes parameters and weights of a coadd, on axes of sky coordinates."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import UsageError
from ..pipeline.output import write_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_coadd"]

FloatArray = NDArray[np.float64]

MAX_SIDE = 1600  # pixels: more than a page can show
MAX_SAMPLES = 100_000  # pixels of a HEALPix footprint that are looked at to find its outline
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60)  # degrees between lines of the graticule


class _Panel(NamedTuple):
    name: str
    values: FloatArray  # (y, x), NaN where unobserved
    unit: str
    limits: tuple[float, float]
    colours: str


def plot_coadd(frame: Any, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Draw a map frame: T, Q and U, and the TT weight or else the hits.

    Weights are removed in copies of the observed patch, so the frame stays as it is and nothing of
    the size of the full sky is made. HEALPix maps are shown on a flat grid around their footprint,
    without interpolation. Nothing is smoothed. Maps larger than a page are averaged down to it.

    Parameters
    ----------
    frame : spt3g.core.G3Frame
        A Map frame with ``T``, and maybe ``Q`` and ``U``, ``Wpol`` or ``Wunpol``, ``H``: flat-sky
        or HEALPix, dense or sparse, weighted or not.
    path : path
        The picture. The suffix says which kind: ``.png``, ``.pdf``, ``.svg``.
    title : str, optional
        Title of the page. By default the frame's Id and pixelization.

    Raises
    ------
    UsageError
        If the frame has no ``T``, or no pixel was observed.

    Notes
    -----
    Celestial coordinates are seen from inside the sphere: North is up, East (larger RA) is left.
    Colours saturate at the 99.5th percentile (Stokes maps: of well-observed pixels); Q and U share
    their scale.

    Examples
    --------
    >>> plot_coadd(coadd_frame, "coadd.png", title="150 GHz, 8 observations")  # doctest: +SKIP
    """
    if "T" not in frame:
        found = ", ".join(frame.keys()) or "nothing"
        raise UsageError(
            f"A map frame to plot needs a T map; this {frame.type} frame has: {found}. "
            "Give a Map frame such as a coadd."
        )
    patch = _observed_patch(frame)
    panels = _panels(patch)
    geometry = patch["T"]
    figure = _draw(panels, geometry, title or _describe(frame))
    picture = io.BytesIO()
    kind = os.path.splitext(path)[1].removeprefix(".")
    figure.savefig(picture, dpi=150, format=kind or "png")
    name = os.fspath(path)
    write_output(name if kind else f"{name}.png", lambda file: file.write(picture.getbuffer()))


def _describe(frame: Any) -> str:
    sky_map = frame["T"]
    name = frame.get("Id", "Map")
    if isinstance(sky_map, maps.HealpixSkyMap):
        return f"{name}   (HEALPix, nside {sky_map.nside})"
    projection = str(sky_map.proj).rsplit(".", maxsplit=1)[-1].removeprefix("Proj")
    return f"{name}   ({projection}, {sky_map.res / core.G3Units.arcmin:.3g}′ pixels)"


# -- from the frame to a small flat-sky patch


def _planes(frame: Any) -> dict[str, Any]:
    """References to all planes of a frame; those of the weights under their names, as TT."""
    planes = {key: frame[key] for key in ("T", "Q", "U", "H") if key in frame}
    for key in ("Wpol", "Wunpol"):
        if key in frame:
            weights = frame[key]
            planes.update((name, getattr(weights, name)) for name in weights.keys())  # noqa: SIM118
    return planes


def _observed_patch(frame: Any) -> dict[str, Any]:
    """Copy the observed part of every plane to flat-sky maps of one geometry, weights removed."""
    planes = _planes(frame)
    footprint = next(planes[key] for key in ("TT", "H", "T") if key in planes)
    if isinstance(footprint, maps.FlatSkyMap):
        patch = _crop(planes, footprint)
    else:
        patch = _project(planes, footprint)
    _remove_weights(patch)
    return patch


def _crop(planes: dict[str, Any], footprint: Any) -> dict[str, Any]:
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
        patch[name] = cut.rebin(scale, norm=name in "TQU" and not plane.weighted)
    return patch


def _project(planes: dict[str, Any], footprint: Any) -> dict[str, Any]:
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


def _observed_pixels(footprint: Any) -> NDArray[np.uint64]:
    """Indices of the pixels that are neither zero nor NaN."""
    indices, values = footprint.nonzero_pixels()
    # Maps without weights are NaN where they were not observed.
    pixels: NDArray[np.uint64] = np.asarray(indices, dtype=np.uint64)[np.isfinite(values)]
    if not pixels.size:
        raise UsageError("No pixel of the map was observed, so there is nothing to plot.")
    return pixels


def _grid_around(footprint: Any) -> Any:
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
    x, y = _to_xy(maps.FlatSkyMap(1, 1, footprint.res, **geometry), lon, lat)
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


# -- from the patch to panels


def _panels(patch: dict[str, Any]) -> list[_Panel]:
    coverage_name = next((name for name in ("TT", "H") if name in patch), None)
    stokes = {name: np.array(patch[name]) for name in "TQU" if name in patch}
    coverage = np.array(patch[coverage_name or "T"])
    seen = (coverage != 0) & np.isfinite(coverage)
    # Noise at the edges must not set the scale.
    well = seen & (coverage > 0.3 * np.median(coverage[seen])) if coverage_name else seen
    factor, unit, weight_unit = _unit(patch["T"])
    panels = []
    for values in stokes.values():
        values /= factor
        values[~seen] = np.nan
        values[~np.isfinite(values)] = np.nan  # a weight matrix that cannot be inverted
    for name, values in stokes.items():
        family = [stokes[other] for other in ("T" if name == "T" else "QU") if other in stokes]
        limit = _robust_limit(family, well)
        panels.append(_Panel(name, values, unit, (-limit, limit), "RdBu_r"))
    if coverage_name is not None:
        hits = coverage_name == "H"
        name, unit = ("Hits", "samples") if hits else ("TT weight", weight_unit)
        coverage *= 1 if hits else factor**2
        top = float(np.percentile(coverage[seen], 99.5))
        coverage[~seen] = np.nan
        panels.append(_Panel(name, coverage, unit, (0, top), "viridis"))
    return panels


def _unit(sky_map: Any) -> tuple[float, str, str]:
    """Divisor and name of the unit in which a map is shown; name of the unit of its weights."""
    if sky_map.weighted:
        return 1.0, "weighted, arbitrary units", "arbitrary units"
    for kind, index in (("Tcmb", "CMB"), ("Trj", "RJ")):
        if sky_map.units == getattr(core.G3TimestreamUnits, kind):
            name = rf"μK$_\mathrm{{{index}}}$"
            return core.G3Units.uK, name, rf"μK$_\mathrm{{{index}}}^{{-2}}$"
    name = sky_map.units.name
    return (1.0, name, f"1 / {name}$^2$") if name != "None" else (1.0, "", "")


def _robust_limit(planes: list[FloatArray], well: NDArray[np.bool_]) -> float:
    values = np.abs(np.concatenate([plane[well & np.isfinite(plane)] for plane in planes]))
    limit = float(np.percentile(values, 99.5)) if values.size else 0.0
    if limit <= 0:
        return 1.0
    digit = 10 ** np.floor(np.log10(limit))
    return float(np.ceil(limit / digit * 5) / 5 * digit)  # a readable number on the colour bar


# -- from panels to a page


def _draw(panels: list[_Panel], geometry: Any, title: str) -> Figure:
    # Figure and canvas by themselves: no pyplot, no global state, and no display is needed.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    height, width = panels[0].values.shape
    columns = 1 if len(panels) == 1 or width > 3 * height else 2
    rows = -(-len(panels) // columns)
    panel_width = 5.2 if columns == 2 else 8.0
    panel_height = max(panel_width * 0.76 * height / width, 1.2) + 0.3
    figure = Figure(
        figsize=(panel_width * columns, panel_height * rows + 0.7),
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03),
    )
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=13)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for i, (ax, panel) in enumerate(zip(axes, panels, strict=False)):
        _draw_panel(ax, panel)
        _draw_graticule(ax, geometry)
        if i + columns < len(panels):  # there is a panel below, with the same coordinates
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
        if i % columns:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
    for ax in axes[len(panels) :]:
        ax.set_axis_off()
    return figure


def _draw_panel(ax: Any, panel: _Panel) -> None:
    low, high = panel.limits
    ax.set_facecolor("0.88")  # unobserved
    image = ax.imshow(
        np.ma.masked_invalid(panel.values),
        origin="lower",
        interpolation="nearest",
        cmap=panel.colours,
        vmin=low,
        vmax=high,
    )
    ax.set_title(panel.name, loc="left", fontsize=11, fontweight="bold", pad=4)
    # As high as the panel, whatever its shape.
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.02, 0, 0.03, 1)))
    bar.set_label(panel.unit, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    bar.formatter.set_powerlimits((-3, 4))
    bar.formatter.set_useMathText(True)
    bar.ax.yaxis.get_offset_text().set_fontsize(8)


def _draw_graticule(ax: Any, geometry: Any) -> None:
    """Meridians and parallels, labelled where they meet the lower and the left edge."""
    deg = core.G3Units.deg
    height, width = geometry.shape
    left, right, bottom, top = -0.5, width - 0.5, -0.5, height - 0.5
    lon_range, lat_range = _coordinate_ranges(geometry)
    meridians, parallels = [], []
    lat = np.linspace(max(lat_range[0] - 5, -90), min(lat_range[1] + 5, 90), 400)
    for value in _lines(*lon_range):
        x, y = _to_xy(geometry, np.full(lat.size, value * deg), lat * deg)
        meridians.append((f"{value % 360:g}°", y, x))
        ax.plot(x, y, color="k", lw=0.4, alpha=0.3)
    lon = np.linspace(max(lon_range[0] - 5, lon_range[1] - 360), lon_range[1] + 5, 800)
    for value in _lines(*lat_range):
        x, y = _to_xy(geometry, lon * deg, np.full(lon.size, value * deg))
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


def _to_xy(geometry: Any, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
    x, y = geometry.angle_to_xy(core.DoubleVector(lon), core.DoubleVector(lat))
    return np.asarray(x), np.asarray(y)
