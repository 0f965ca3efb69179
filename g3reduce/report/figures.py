"""Figures without pyplot: no global state, and no display is needed. Imports matplotlib."""

from __future__ import annotations

import difflib
import io
import os
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ..errors import UsageError
from ..pipeline.output import check_ending, check_output, write_output
from .graticule import NAMES_PT, NUMBERS_PT, draw_graticule
from .panels import Panel
from .views import View

KINDS = ("png", "pdf", "svg")

# No dates: the same picture is the same bytes.
_METADATA = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


class Picture(Figure):
    """A figure that notebooks show without pyplot."""

    def _repr_png_(self) -> bytes:
        return as_bytes(self, "png", dpi=100)


def new_figure(width: float, height: float) -> Picture:
    """An empty figure, of a size in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.03)
    figure = Picture(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def check_colours(name: str) -> None:
    """Refuse what is no colour map of matplotlib.

    Raises
    ------
    UsageError
    """
    if name not in colormaps:
        near = difflib.get_close_matches(name, list(colormaps), n=3, cutoff=0.5)
        meant = f" Did you mean {', '.join(near)}?" if near else ""
        raise UsageError(
            f"cmap is {name!r}; expected a colour map of matplotlib, such as RdBu_r or gray.{meant}"
        )


def as_bytes(figure: Figure, kind: str, dpi: float) -> bytes:
    """The content of a file of a kind."""
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "g3reduce"}):
        figure.savefig(picture, dpi=dpi, format=kind, metadata=_METADATA[kind])
    return picture.getvalue()


def check_picture(path: str | os.PathLike[str], inputs: Sequence[str] = ()) -> None:
    """Refuse a name that cannot be written, before the work begins.

    Raises
    ------
    UsageError
        If it does not end in what can be drawn.
    OutputError
    """
    endings = [f".{kind}" for kind in KINDS]
    if os.fspath(path):
        check_ending(os.fspath(path), endings)
    check_output(os.fspath(path), inputs, endings)


def write_picture(figure: Figure, path: str | os.PathLike[str], dpi: float = 150) -> None:
    """Write a figure under a name that ends in .png, .pdf or .svg.

    Raises
    ------
    OutputError
    """
    if not 10 <= dpi <= 2400:
        raise UsageError(f"dpi is {dpi!r}; expected a number from 10 to 2400.")
    check_picture(path)
    name = os.fspath(path)
    content = as_bytes(figure, name.rpartition(".")[2], dpi)
    write_output(name, lambda file: file.write(content))


def draw_panels(rows: Sequence[tuple[str, View, Sequence[Panel]]], title: str) -> Figure:
    """A figure of panels: of one map in two columns, of several maps in a row for each.

    Parameters
    ----------
    rows : list of tuple
        Of each map: its name, its view, and its panels.
    title : str
        Of matplotlib: mathematics may stand between dollar signs.
    """
    grid = _in_two_columns(rows[0]) if len(rows) == 1 else [list(_labelled(row)) for row in rows]
    n_columns = max(len(row) for row in grid)
    width = {1: 7.0, 2: 5.0}.get(n_columns, 3.6)
    heights = [
        max(width * 0.76 * _flatness(row[0][1]), 0.4) + (0.75 if len(rows) > 1 else 0.5)
        for row in grid
    ]
    figure = new_figure(width * n_columns, sum(heights) + 0.6)
    # Some nine letters of this size are an inch.
    figure.suptitle(textwrap.fill(title, int(width * n_columns * 9)), fontsize=14)
    axes = figure.subplots(
        len(grid), n_columns, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for place, row in enumerate(grid):
        for column, ax in enumerate(axes[place]):
            if column >= len(row):
                ax.remove()
                continue
            name, view, panel = row[column]
            _draw_panel(ax, panel, view, name)
            draw_graticule(ax, view)
            same_below = len(rows) == 1 and place + 1 < len(grid) and column < len(grid[place + 1])
            if same_below and not view.is_whole_sky:
                ax.set_xlabel("")
                ax.tick_params(labelbottom=False)
            if column and not view.is_whole_sky:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
    return figure


def plain(text: str) -> str:
    """A text, such as an Id, of which matplotlib reads nothing as mathematics.

    In place of what cannot be printed stands the sign for that.
    """
    shown = (sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)
    return "".join(shown).replace("$", r"\$")


def _labelled(row: tuple[str, View, Sequence[Panel]]) -> list[tuple[str, View, Panel]]:
    name, view, panels = row
    length = 32 if len(panels) < 3 else 24  # that the width of a panel has room for
    return [(_wrapped(f"{panel.name}   {name}", length), view, panel) for panel in panels]


def _wrapped(title: str, length: int) -> str:
    """A title in lines that end at spaces or underscores, of which Ids have many."""
    lines = [""]
    for word in re.findall(r"[^_\s]*(?:_|\s+|$)", title):
        if lines[-1] and len(lines[-1] + word.rstrip()) > length:
            lines.append("")
        lines[-1] += word
    return "\n".join(line.rstrip() for line in lines)


def _in_two_columns(
    row: tuple[str, View, Sequence[Panel]],
) -> list[list[tuple[str, View, Panel]]]:
    _, view, panels = row
    cells = [(panel.name, view, panel) for panel in panels]
    n_columns = 1 if len(cells) == 1 or _flatness(view) < 1 / 3 else 2
    return [cells[at : at + n_columns] for at in range(0, len(cells), n_columns)]


def _flatness(view: View) -> float:
    height, width = view.shape
    return min(height / width * view.aspect, 2.0)


def _draw_panel(ax: Any, panel: Panel, view: View, title: str) -> None:
    low, high = panel.limits
    ax.set_facecolor("0.88")  # unobserved
    image = ax.imshow(
        np.ma.masked_invalid(panel.values),
        origin="lower",
        interpolation="nearest",
        cmap=panel.colours,
        vmin=low,
        vmax=high,
        aspect=view.aspect,
    )
    ax.set_label(panel.plane)
    ax.set_title(plain(title), loc="left", fontsize=12, fontweight="bold", pad=4)
    # Beside the panel, as high as this, whatever its shape.
    across = 0.03 if _flatness(view) > 1 / 3 else 0.015
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.02, 0, across, 1)), extend=_extend(panel))
    if _flatness(view) > 0.2:
        bar.set_label(panel.unit, fontsize=NAMES_PT)
    else:  # there is no room beside it
        ax.set_title(panel.unit, loc="right", fontsize=NAMES_PT, pad=4)
    bar.ax.tick_params(labelsize=NUMBERS_PT)
    bar.ax.locator_params(axis="y", nbins=5 if _flatness(view) > 0.3 else 3)
    bar.formatter.set_powerlimits((-3, 4))
    bar.formatter.set_useMathText(True)
    bar.ax.yaxis.get_offset_text().set_fontsize(NUMBERS_PT)


def _extend(panel: Panel) -> str:
    """Arrows at the ends of the colours beyond which there are values."""
    values = panel.values[np.isfinite(panel.values)]
    below = bool((values < panel.limits[0]).any())
    above = bool((values > panel.limits[1]).any())
    return {(1, 1): "both", (1, 0): "min", (0, 1): "max"}.get((below, above), "neither")
