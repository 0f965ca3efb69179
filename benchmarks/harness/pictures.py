"""Pictures of rows: bars side by side, and lines over the number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .rows import Row, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which are told apart with any eyes. Ours is always the first.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
MARKERS = "osD^vP*X"
LOW, MEDIAN, HIGH = range(3)  # of a spread
MANY = 300  # values that span more have one figure for each power of ten


def bars(
    rows: Sequence[Row],
    *,
    label: str,
    series: Mapping[str, str],
    unit: str,
    panel: str = "",
    panel_title: str = "{}",
    logarithmic: bool = False,
    limit: tuple[float, str] | None = None,
) -> Figure:
    """Horizontal bars with their values and quartiles: a group for each row.

    Parameters
    ----------
    rows : list of dict
    label : str
        A format of the name of a group, from its row.
    series : dict of str to str
        Keys of the bars of a group, and their names in the legend.
    unit : str
        Of all values.
    panel : str, optional
        The key whose values have a panel each.
    panel_title : str, optional
        A format for that value.
    logarithmic : bool, optional
    limit : (float, str), optional
        A vertical line, and what it says.
    """
    panels = list(dict.fromkeys(row.get(panel) for row in rows))
    n_groups = max(sum(row.get(panel) == value for row in rows) for value in panels)
    height = 0.6 + n_groups * (0.25 + 0.2 * len(series))
    figure, axes = _panels(1, len(panels), height)
    for axis, value in zip(axes, panels, strict=True):
        mine = [row for row in rows if row.get(panel) == value]
        for number, (key, name) in enumerate(series.items()):
            _bars(axis, mine, number, len(series), key, name)
        axis.set_yticks(range(len(mine)), [label.format(**row) for row in mine])
        axis.set_ylim(len(mine) - 0.5, -0.5)
        axis.set_xlabel(unit)
        axis.grid(axis="x", alpha=0.3)
        if value is not None:
            axis.set_title(panel_title.format(value))
        if limit:
            axis.axvline(limit[0], color="black", linestyle="--", linewidth=1, label=limit[1])
    _scale(axes, [row[key] for row in rows for key in series if key in row], logarithmic)
    _legend(figure, axes[0])
    return figure


def lines(
    rows: Sequence[Row],
    *,
    x: str,
    y: Mapping[str, str],
    panel: tuple[str, str],
    by: str,
    x_label: str,
    y_label: str,
    ideal: bool = False,
) -> Figure:
    """Lines over a number of ranks, on logarithmic axes, with their quartiles.

    Parameters
    ----------
    rows : list of dict
    x : str
        The key of the horizontal axis.
    y : dict of str to str
        Keys of the vertical axis, and formats of the name of a line from the value of `by`.
    panel : (str, str)
        Keys whose values have a row and a column of panels each.
    by : str
        The key whose values have a line each.
    x_label, y_label : str
    ideal : bool, optional
        Draw y = x.
    """
    down, right = ([*dict.fromkeys(row.get(key) for row in rows)] for key in panel)
    figure, axes = _panels(len(down), len(right), 3.4)
    ticks = sorted({row[x] for row in rows})
    drawn: dict[str, list[Row]] = {}
    middles = [row[key][MEDIAN] for row in rows for key in y if key in row]
    for row in rows:
        for key, form in y.items():
            if key in row:
                point = {"x": row[x], "y": row[key], "at": (row.get(panel[0]), row.get(panel[1]))}
                drawn.setdefault(form.format(row[by]), []).append(point)
    for number, at in enumerate((a, b) for a in down for b in right):
        axis = axes[number]
        for i, (name, points) in enumerate(drawn.items()):
            mine = [point for point in points if point["at"] == at]
            numbers = [point["x"] for point in mine]
            low, middle, high = ([point["y"][end] for point in mine] for end in range(3))
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            style = "-" if i < len(COLOURS) else "--"
            axis.plot(numbers, middle, style, label=name, color=colour, marker=marker)
            axis.fill_between(numbers, low, high, color=colour, alpha=0.15)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=2 if ideal else 10)
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        if ideal:
            axis.plot(ticks, ticks, color="grey", linestyle="--", label="ideal")
            axis.set_yticks(ticks, [str(tick) for tick in ticks])
        else:
            _plain_ticks(axis.yaxis, max(middles) / min(middles))
        axis.set_title("\n".join(str(value) for value in at if value is not None), fontsize=10)
        axis.grid(alpha=0.3, which="both")
        if number >= len(axes) - len(right):
            axis.set_xlabel(x_label)
        if number % len(right) == 0:
            axis.set_ylabel(y_label)
    _legend(figure, axes[0])
    return figure


def _bars(axis: Axes, rows: Sequence[Row], number: int, n_series: int, key: str, name: str) -> None:
    thickness = 0.8 / n_series
    having = [(place, _as_spread(row[key])) for place, row in enumerate(rows) if key in row]
    places = [place - 0.4 + (number + 0.5) * thickness for place, _ in having]
    middle = [value[MEDIAN] for _, value in having]
    errors = [
        [value[MEDIAN] - value[LOW] for _, value in having],
        [value[HIGH] - value[MEDIAN] for _, value in having],
    ]
    drawn = axis.barh(
        places,
        middle,
        thickness * 0.92,
        xerr=errors,
        color=COLOURS[number],
        label=name,
        error_kw={"elinewidth": 1, "ecolor": "#555555"},
    )
    axis.bar_label(drawn, [show(float(value)) for value in middle], padding=3, fontsize=8)


def _scale(axes: Sequence[Axes], values: Sequence[Any], logarithmic: bool) -> None:
    """One scale for all panels, with room for the figures beside the bars."""
    smallest = min(_as_spread(value)[MEDIAN] for value in values)
    greatest = max(_as_spread(value)[HIGH] for value in values)
    for axis in axes:
        if logarithmic:
            axis.set_xscale("log")
            axis.set_xlim(smallest / 2, greatest * 3)
            _plain_ticks(axis.xaxis, greatest / smallest)
        else:
            axis.set_xlim(0, greatest * 1.2)


def _plain_ticks(axis: Axis, span: float) -> None:
    """Numbers without exponents on a logarithmic axis, as many as there is room for.

    Parameters
    ----------
    axis : Axis
    span : float
        The greatest value over the smallest.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if span < MANY else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _as_spread(value: Any) -> Any:
    return value if isinstance(value, Sequence) else (value, value, value)


def _panels(n_down: int, n_right: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = max(7.0, 1 + (3.2 if n_right > 2 else 4.5) * n_right), 0.8 + height * n_down
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_down, n_right, sharex=True, sharey=True, squeeze=False)
    return figure, list(axes.flat)


def _legend(figure: Figure, axis: Axes) -> None:
    handles, names = axis.get_legend_handles_labels()
    fitting = int(10 * figure.get_figwidth() / (max(map(len, names)) + 6))  # 10 letters an inch
    columns = max(1, min(fitting, len(names)))
    figure.legend(handles, names, loc="outside upper center", ncols=columns)
