"""How the values of maps are distributed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.sources import Given, Headers, Source
from ..errors import UsageError
from ..g3files.lines import Values
from ..maps.agreement import weights_key
from ..maps.mapframe import maps_of
from ..maps.stokes import stokes_maps
from ..spt3gmarks import useful
from .graticule import NAMES_PT, NUMBERS_PT
from .panels import COLOURS, robust_limit, unit_of
from .patch import STOKES
from .plot import require_matplotlib, source_in_words
from .sources import chosen_maps, labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 101


@useful
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

    Values are those of well observed pixels (0.3 of the median weight, or more), unweighted; the
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
    from matplotlib.lines import Line2D

    if path is not None:
        figures.check_picture(path)
    given = chosen_maps(source, band, Headers(pol_conv, coord, units))
    found = [(label, *_values(one)) for label, one in zip(labels_of(given), given, strict=True)]
    names = [name for name in STOKES if any(name in values for _, values, _ in found)]
    if not names:
        raise UsageError("There is no T, Q or U in these maps, of which histograms are drawn.")
    figure = figures.new_figure(
        4.2 * len(names) + 0.6, 4.45 + (0.25 * len(found) if len(found) > 1 else 0)
    )
    shown = figures.plain(found[0][0]) if len(found) == 1 else source_in_words(source)
    figure.suptitle(title or shown, fontsize=14)
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for number, (_, by_name, unit) in enumerate(found):
            if name not in by_name:
                continue
            values = by_name[name]
            limit = 2 * robust_limit([values], np.ones(values.shape, bool))
            middle = float(np.median(values))
            spread = 1.4826 * float(np.median(np.abs(values - middle)))
            counts, edges = np.histogram(values, _BINS, (-limit, limit))
            ax.stairs(counts, edges, fill=len(found) == 1, alpha=0.7, color=COLOURS[number],
                      lw=1.5, label=f"σ = {spread:.3g}")  # fmt: skip
            if spread > 0:
                x = np.linspace(-limit, limit, 400)
                width = edges[1] - edges[0]
                y = np.exp(-(((x - middle) / spread) ** 2) / 2) / np.sqrt(2 * np.pi)
                ax.plot(x, y * values.size * (width / spread), color="k", lw=1, ls="--")
            ax.set_xlabel(unit, fontsize=NAMES_PT)
        ax.set_yscale("log")
        ax.set_ylim(bottom=0.5)
        ax.set_label(name)
        ax.set_title(name, loc="left", fontsize=12, fontweight="bold")
        ax.tick_params(labelsize=NUMBERS_PT)
        ax.legend(fontsize=NUMBERS_PT, loc="lower center")
    lines, labels = [], []
    if len(found) > 1:
        lines += [Line2D([], [], color=COLOURS[number]) for number in range(len(found))]
        labels += [figures.plain(label) for label, _, _ in found]
    if any(ax.lines for ax in figure.axes):  # else all values of each map are the same
        lines.append(Line2D([], [], color="k", lw=1, ls="--"))
        labels.append("Gaussian of the same median and spread σ")
    if lines:
        figure.legend(lines, labels, loc="outside lower center", fontsize=NAMES_PT)
    figure.axes[0].set_ylabel("pixels", fontsize=NAMES_PT)
    if path is not None:
        figures.write_picture(figure, path, dpi)
    drawn: Figure = figure
    return drawn


def _values(given: Given) -> tuple[dict[str, Values], str]:
    """The values of T, Q and U, and their unit."""
    planes = maps_of(given.frame, given.where)
    weighted = False
    if weights_key(dict.fromkeys(planes)) is not None:
        maps = stokes_maps(given.frame, given.where)
        middle = np.median(maps.weights[0]) if maps.weights[0].size else 0.0
        well = maps.weights[0] > 0.3 * middle
        values = dict(zip(maps.names, maps.values[:, well], strict=True))
    else:
        values = {
            name: np.asarray(planes[name].nonzero_pixels()[1]) for name in STOKES if name in planes
        }
        weighted = any(planes[name].weighted for name in values)
    if not values:
        raise UsageError(f"{given.where} has no T, Q or U to draw histograms of.")
    factor, unit, _ = unit_of(planes[next(iter(values))], weighted=weighted)
    with np.errstate(over="ignore"):
        values = {name: one / factor for name, one in values.items()}
    values = {name: one[np.isfinite(one)] for name, one in values.items()}
    values = {name: one for name, one in values.items() if one.size}
    if not values:
        raise UsageError(f"{given.where} has no T, Q or U with values to draw histograms of.")
    return values, unit
