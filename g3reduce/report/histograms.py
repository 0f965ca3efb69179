"""How the values of maps are distributed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.sources import Headers, Source
from ..errors import UsageError
from .panels import robust_limit, unit_of
from .patch import STOKES, observed_patch
from .plot import require_matplotlib
from .sources import chosen_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 101


def plot_histograms(
    source: Source,
    path: str | os.PathLike[str] | None = None,
    *,
    band: str | None = None,
    title: str | None = None,
    dpi: float = 150,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> Figure:
    """Draw histograms of T, Q and U, each with a Gaussian of the same median and robust spread.

    Values are those of well observed pixels of the picture that `plot_maps` draws, unweighted; the
    spread is 1.4826 times the median distance to the median. Counts are on a logarithmic axis.

    Parameters
    ----------
    source, path, band, title, dpi, pol_conv, coord, units
        As in `plot_maps`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UsageError, InputError, OutputError
        As by `plot_maps`.

    Examples
    --------
    >>> plot_histograms("coadd.g3", "values.png", band="150GHz")  # doctest: +SKIP
    """
    figures = require_matplotlib()
    if path is not None:
        figures.check_picture(path)
    given = chosen_maps(source, band, Headers(pol_conv, coord, units))
    patches = [(one, observed_patch(one.frame)) for one in given]
    names = [name for name in STOKES if any(name in patch.planes for _, patch in patches)]
    if not names:
        raise UsageError("There is no T, Q or U in these maps, of which histograms are drawn.")
    figure = figures.new_figure(4.4 * len(names) + 0.6, 4.2)
    figure.suptitle(title or ", ".join(one.frame_id or "Map" for one in given), fontsize=13)
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for number, (one, patch) in enumerate(patches):
            if name not in patch.planes:
                continue
            factor, unit, _ = unit_of(patch.stub, weighted=patch.weighted)
            well = patch.well_seen & np.isfinite(patch.planes[name])
            values = patch.planes[name][well] / factor
            limit = 2 * robust_limit([patch.planes[name] / factor], well)
            middle = float(np.median(values))
            spread = 1.4826 * float(np.median(np.abs(values - middle)))
            counts, edges = np.histogram(values, _BINS, (-limit, limit))
            label = f"{one.frame_id or 'Map'}: σ = {spread:.3g}"
            ax.stairs(counts, edges, fill=len(patches) == 1, alpha=0.7, color=f"C{number}",
                      label=label)  # fmt: skip
            if spread > 0:
                x = np.linspace(-limit, limit, 400)
                width = edges[1] - edges[0]
                y = np.exp(-(((x - middle) / spread) ** 2) / 2) / (spread * np.sqrt(2 * np.pi))
                ax.plot(x, y * values.size * width, color="k", lw=1, ls="--")
            ax.set_xlabel(unit, fontsize=10)
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.5)
        ax.set_label(name)
        ax.set_title(name, loc="left", fontsize=11, fontweight="bold")
        ax.legend(fontsize=8, loc="lower center")
    figure.axes[0].set_ylabel("pixels of the picture", fontsize=10)
    if path is not None:
        figures.write_picture(figure, path, dpi)
    found: Figure = figure
    return found
