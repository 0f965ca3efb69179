"""What each observation has contributed to a coadd, as a plot in SVG, outliers marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..pipeline.entries import Entry
from .views import FloatArray

FAR = 5.0
"""How many sigma (by the median of absolute deviations) from the median an outlier is."""

NEIGHBOURS = 51
"""Of how many neighbours in the order of input the median is taken, which follows slow drifts."""

WIDTH, HEIGHT = 720, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 12, 30
_MOST_NAMED = 20  # in the list
MOST_MARKED = 200  # with their names; the others are marked without
_FEW = 2000  # so many points are drawn one by one
_TOUCHING = 2  # about the size of a point where there are many


class Contribution(NamedTuple):
    """What one observation has contributed: all its frames together.

    Attributes
    ----------
    name : str
        The observation; where it is not known, the file and frame.
    weight : float
        The sum of its weights TT, in 1/K^2 if they are inverse variances.
    pixels : int
        How many pixels its frames have hit.
    """

    name: str
    weight: float
    pixels: int


class Outlier(NamedTuple):
    """A contribution that is far from the others: by how many sigma."""

    place: int
    name: str
    value: float
    sigma: float


class ContributionPlot(NamedTuple):
    """A plot as the page shows it.

    Attributes
    ----------
    title : str
    path : str
        The points, as an SVG path of strokes without length.
    marks : list of tuple
        Of each of the furthest outliers x, y, and its name.
    others : str
        The other outliers, as an SVG path.
    line : str
        The median that each is compared with, as an SVG path.
    ticks : list of tuple
        Of the axis of values: y and label.
    outliers : list of Outlier
        Those that are listed: the furthest, the furthest first.
    n_outliers : int
        How many there are.
    number : int
        How many observations there are.
    """

    title: str
    path: str
    marks: list[tuple[float, float, str]]
    others: str
    line: str
    ticks: list[tuple[float, str]]
    outliers: list[Outlier]
    n_outliers: int
    number: int


def contributions_of(entries: Sequence[Entry]) -> list[Contribution]:
    """The contribution of each observation, in the order of input, of frames that were added."""
    found: dict[str, Contribution] = {}
    for entry in entries:
        if entry.pixels < 0:
            continue
        name = entry.observation or str(entry.unit or entry.map_id or "a frame without a name")
        before = found.get(name, Contribution(name, 0.0, 0))
        found[name] = Contribution(name, before.weight + entry.weight, before.pixels + entry.pixels)
    return list(found.values())


def plots_of(contributions: Sequence[Contribution]) -> list[ContributionPlot]:
    """Their plots: weight, and pixels hit."""
    if not contributions:
        return []
    names = [one.name for one in contributions]
    weights = np.array([one.weight for one in contributions])
    pixels = np.array([one.pixels for one in contributions], dtype=float)
    plots = []
    if weights.any():
        plots.append(_plot("Weight: sum of the weights TT, over their median", names, weights))
    plots.append(_plot("Pixels hit, over their median", names, pixels))
    return plots


def outliers_of(names: Sequence[str], values: FloatArray) -> list[Outlier]:
    """Those that are further from their neighbours' median than `FAR` sigma; the furthest first.

    Notes
    -----
    Sigma is 1.4826 times the median of absolute deviations, but at least 0.1 % of the median: where
    most values are alike, the smallest difference would be infinitely many sigma.
    """
    usual = _usual(values)
    sigma = 1.4826 * float(np.median(np.abs(values - usual)))
    sigma = max(sigma, 1e-3 * abs(float(np.median(values)))) or 1.0
    far = (values - usual) / sigma
    (places,) = np.nonzero(np.abs(far) > FAR)
    ratio = np.divide(values, usual, out=np.zeros_like(values), where=usual != 0)
    found = [Outlier(at, names[at], float(ratio[at]), float(far[at])) for at in places.tolist()]
    return sorted(found, key=lambda one: -abs(one.sigma))


def _usual(values: FloatArray) -> FloatArray:
    """The median of the neighbours of each value; of all where these are few."""
    if len(values) < 2 * NEIGHBOURS:
        return np.full(len(values), np.median(values))
    from scipy.ndimage import median_filter

    usual: FloatArray = median_filter(values, NEIGHBOURS, mode="mirror")
    return usual


def _plot(title: str, names: Sequence[str], values: FloatArray) -> ContributionPlot:
    median = float(np.median(values))
    relative = values / median if median else values
    outliers = outliers_of(names, relative)
    low, high = limits_of(relative)
    inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def down(value: FloatArray) -> FloatArray:
        return _TOP + inner_height * (1 - (np.clip(value, low, high) - low) / (high - low))

    x = _LEFT + inner_width * (np.arange(len(values)) + 0.5) / len(values)
    y = down(relative)
    far = {one.place for one in outliers}
    near = np.array([at not in far for at in range(len(values))])
    marks = [
        (round(float(x[one.place]), 1), round(float(y[one.place]), 1), _told(one))
        for one in outliers[:MOST_MARKED]
    ]
    others = [
        f"M{x[one.place]:.1f} {y[one.place] - 6:.1f}l5.5 10h-11z" for one in outliers[MOST_MARKED:]
    ]
    shown = slice(None, None, -(-len(values) // 300))
    along, usual = x[shown], down(_usual(relative))[shown]
    ends = [(_LEFT, usual[0]), *zip(along, usual, strict=True), (WIDTH - _RIGHT, usual[-1])]
    line = "M" + "L".join(f"{across:.1f} {at:.1f}" for across, at in ends)
    levels = _levels(low, high)
    decimals = max(0, -math.floor(math.log10(levels[1] - levels[0])))
    ticks = [
        (round(float(at), 1), f"{level:.{decimals}f}" if high < 1e4 else f"{level:.3g}")
        for level, at in zip(levels.tolist(), down(levels), strict=True)
    ]
    return ContributionPlot(
        title,
        _dots(x[near], y[near]),
        marks,
        "".join(others),
        line,
        ticks,
        outliers[:_MOST_NAMED],
        len(outliers),
        len(values),
    )


def limits_of(values: FloatArray) -> tuple[float, float]:
    """The ends of an axis on which the values, over their median, spread.

    It begins at 0 if they differ much. If they differ little, they would be a line at its top:
    then it ends a little below and above them, but shows 2 % at least, since less is no news.
    """
    least, most = min(1.0, float(values.min())), max(1.0, float(values.max()))
    if least < 0.5 * most:
        return min(0.0, 1.06 * least), 1.06 * most
    half = max(0.012, 0.6 * (most - least))
    return (least + most) / 2 - half, (least + most) / 2 + half


def _levels(low: float, high: float) -> FloatArray:
    """Two to six round numbers between two."""
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    step = power * next(one for one in (1, 2, 5, 10) if power * one * 5.5 >= high - low)
    first, last = math.ceil(low / step), math.floor(high / step)
    return np.array([step * number for number in range(first, last + 1)])


def _dots(x: FloatArray, y: FloatArray) -> str:
    """Points as strokes without length; of very many, one stroke for those that touch.

    Many points are drawn small. In each column, points that are not further apart than they are
    large make one stroke: so the path grows with the area that is drawn, not with the points.
    """
    if len(x) <= _FEW:
        return "".join(
            f"M{across:.1f} {at:.1f}h0" for across, at in zip(x.tolist(), y.tolist(), strict=True)
        )
    columns, rows = np.floor(x).astype(int), np.round(y).astype(int)
    order = np.lexsort((rows, columns))
    columns, rows = columns[order], rows[order]
    begins = np.ones(len(x), bool)
    begins[1:] = (np.diff(columns) != 0) | (np.diff(rows) > _TOUCHING)
    (firsts,) = np.nonzero(begins)
    across, top = columns[firsts], rows[firsts]
    bottom = rows[np.append(firsts[1:], len(x)) - 1]
    # Each stroke begins where the one before has ended: relative numbers are short.
    right, down = np.diff(across, prepend=0), top - np.append(0, bottom[:-1])
    strokes = zip(right.tolist(), down.tolist(), (bottom - top).tolist(), strict=True)
    return "".join(f"m{one} {two}v{three}" for one, two, three in strokes)


def _told(one: Outlier) -> str:
    return f"{one.name}: {one.value:.3g} of the median of its neighbours, {one.sigma:+.1f} sigma"
