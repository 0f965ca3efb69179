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
from ..spt3gtypes import Frame, SkyMap
from .graticule import draw_graticule
from .patch import FloatArray, observed_patch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_coadd"]


class _Panel(NamedTuple):
    name: str
    values: FloatArray  # (y, x), NaN where unobserved
    unit: str
    limits: tuple[float, float]
    colours: str


def plot_coadd(frame: Frame, path: str | os.PathLike[str], *, title: str | None = None) -> None:
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
            f"The frame to be drawn is of type {frame.type} and has {found}; expected a Map frame "
            "with T, such as a coadd."
        )
    patch = observed_patch(frame)
    panels = _panels(patch)
    geometry = patch["T"]
    figure = _draw(panels, geometry, title or _describe(frame))
    picture = io.BytesIO()
    kind = os.path.splitext(path)[1].removeprefix(".")
    figure.savefig(picture, dpi=150, format=kind or "png")
    name = os.fspath(path)
    write_output(name if kind else f"{name}.png", lambda file: file.write(picture.getbuffer()))


def _describe(frame: Frame) -> str:
    sky_map = frame["T"]
    name = frame.get("Id", "Map")
    if isinstance(sky_map, maps.HealpixSkyMap):
        return f"{name}   (HEALPix, nside {sky_map.nside})"
    projection = str(sky_map.proj).rsplit(".", maxsplit=1)[-1].removeprefix("Proj")
    return f"{name}   ({projection}, {sky_map.res / core.G3Units.arcmin:.3g}′ pixels)"


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


def _unit(sky_map: SkyMap) -> tuple[float, str, str]:
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
        draw_graticule(ax, geometry)
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
