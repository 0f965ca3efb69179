"""The page about scale: tables and pictures of what is simulated, and of how good that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..harness.pictures import COLOURS, MARKERS
from ..harness.rows import Row, Table
from .cases import CLUSTER, GB, NODES, OBSERVATIONS, SLOW, SLOWER, SURVEYS, joined, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NODES", "write"]

MANY = 10_000  # observations of the tables over nodes
WITHIN = 1.3
RIGHT = 1.25

CORES, MEMORY, WRITING = CLUSTER.cores, CLUSTER.memory / GB, CLUSTER.writing / GB
LINK, FEW = CLUSTER.machine.bandwidth_between / GB, 1 / SLOW
TO_NODE, TO_ALL, TO_RANK = (
    each / GB for each in (CLUSTER.files_node, CLUSTER.files_total, CLUSTER.files_rank)
)

INTRODUCTION = f"""\
# Beyond what was measured: a model

Everything on this page but its last section **is a model**, not a measurement. It is made by
`python -m benchmarks.model`, which runs the strategies' own code on simulated ranks with
clocks: a message takes its time on links that nodes share, and so do additions, copies and new
memory. Files come from a file system that all ranks share. The last section compares it with
real ranks.

The figures of the cluster are round ones, not those of a certain machine. Put in your own:
`g3reduce.model` has the same costs, see [Forecasts](api_reducing.md#forecasts).

* A node has {CORES} cores, {MEMORY:.0f} GB for ranks, and a link of {LINK:.0f} GB/s to the
  others and {TO_NODE:.0f} GB/s to the files.
* The file system gives {TO_ALL:.0f} GB/s; a rank reads and adds {TO_RANK:.0f} GB/s, and writes
  {WRITING:.0f} GB/s.
* Maps have T, Q, U and six weights in float64. At nside 8192, 4 % of the sky are 2.3 GB, all of
  it 58 GB; the flat one has 15 GB. One in {FEW:.0f} files takes {SLOWER:.0f} times as long as
  the others.
* `100 %` is a sky of which each observation covers 4 %: ranks that have read few of them hold
  little. The sums of a rank grow as a power of the number of its files, up to the whole. With
  `sharded` each rank keeps, and writes, [a part of the sum](ranks.md#a-coadd-that-no-rank-holds).
* Strategies are those of [Reductions](reductions.md#strategies); `on-node` is the sum
  [on one node](reductions.md#on-a-node).
* Starting Python on all ranks is not in it: see [Clusters](cluster.md).
"""

READING = """\
## What it says

* **The file system sets the pace.** Once the nodes' links together carry more than the file
  system gives, more ranks do not make a coadd faster. Here ten nodes are enough for that. What is
  left is joining and writing, a few seconds for a patch and a minute for all of the sky.
* **A few ranks on each node are enough**, as many as fill its link. Each holds sums of its own,
  so more of them cost memory, and make the sum on the node longer. The best number, in the tables
  below and in [`g3reduce plan`](plan.md), is the smallest of those that are as fast as any.
* **One footprint for all**: the sums are reduced by the collectives of the MPI library
  (`allreduce`), whose time hardly grows with the nodes. **Footprints that differ**: `owner`,
  which sends only what ranks hold.
* **A large output should stay in shards.** To bring all of the sky to one rank, which writes it,
  takes many times as long as to leave each rank its part: see joining and writing below. It
  does not go with checkpoints.
* **All cores** read no faster, and need memory for the sums of each: ranks whose patches are the
  whole map fit only on few cores of a node.
"""

OVER_NODES = Table(
    title=f"{MANY} observations, by the number of nodes, with the best number of ranks",
    index={"maps": "maps", "nodes": "nodes", "ranks": "ranks"},
    values={
        "strategy": "strategy",
        "s": "s",
        "reading s": "reading",
        "joining s": "joining",
        "writing s": "writing",
        "GB sent": "GB sent by a node",
        "GB of a rank": "GB of a rank",
        "GB of a node": "GB of a node",
        "limit": "limit",
    },
)
OVER_OBSERVATIONS = Table(
    title=f"Seconds on {NODES[-1]} nodes, by the number of observations",
    index={"maps": "maps"},
    values={"s": ""},
    across=("of observations",),
)
FULL = Table(
    title=f"All {CORES} cores of each of {NODES[-1]} nodes",
    index={"maps": "maps", "ranks": "ranks"},
    values=OVER_NODES.values,
)
STRATEGIES = Table(
    title="Seconds of joining between nodes, simulated, 8 ranks on each node",
    index={"maps": "maps", "strategy": "strategy"},
    values={"simulated s": ""},
    across=("on nodes",),
)


def write(folder: Path, measured: Sequence[Row], nodes: Sequence[int] = NODES) -> None:
    """Write ``scale.md`` and ``scale.png`` into a folder.

    Parameters
    ----------
    folder : Path
    measured : list of dict
        Rows of `benchmarks.model.validation.measure`.
    nodes : list of int
    """
    rows = [told(survey, MANY, count)[0] for survey in SURVEYS for count in nodes]
    by_number = [
        told(survey, number, nodes[-1])[0] | {"of observations": f"{number} observations"}
        for survey in SURVEYS
        for number in OBSERVATIONS
    ]
    full = [told(survey, MANY, nodes[-1], CLUSTER.cores)[0] for survey in SURVEYS]
    strategies = [
        row | {"on nodes": f"{count} nodes"}
        for survey in SURVEYS
        for count in nodes
        if count > 1
        for row in joined(survey, MANY, count, 8)
    ]
    parts = [
        INTRODUCTION,
        READING,
        "![Seconds by the number of nodes, and of each strategy](scale.png)\n",
        "Dotted: the [costs](reductions.md#auto) by which `auto` chooses.\n",
        *(_section(*pair) for pair in ((OVER_NODES, rows), (OVER_OBSERVATIONS, by_number))),
        _section(FULL, full),
        _section(STRATEGIES, strategies),
        _costs(strategies),
        _comparison(measured),
    ]
    (folder / "scale.md").write_text("\n".join(filter(None, parts)))
    _draw(rows, strategies).savefig(folder / "scale.png", dpi=80)


def _section(table: Table, rows: Sequence[Row]) -> str:
    return f"{table.title}:\n\n{table.markdown(rows)}\n"


def _costs(strategies: Sequence[Row]) -> str:
    """How far the costs, by which strategies are chosen, are from the simulation."""
    ratios = [row["cost s"] / row["simulated s"] for row in strategies]
    cases: dict[tuple[str, int], list[Row]] = {}
    for row in strategies:
        cases.setdefault((row["maps"], row["nodes"]), []).append(row)
    right = 0
    for same in cases.values():
        chosen = min(same, key=lambda row: float(row["cost s"]))
        right += chosen["simulated s"] <= RIGHT * min(row["simulated s"] for row in same)
    return (
        f"The costs by which `auto` chooses are {min(ratios):.2f} to {max(ratios):.2f} times what "
        f"is simulated\n(median {median(ratios):.2f}). What it takes is the best, or within "
        f"{RIGHT} of its time, in\n{right} of {len(cases)} of these cases.\n"
    )


def _comparison(measured: Sequence[Row]) -> str:
    """The section about real ranks."""
    if not measured:
        return ""
    places: dict[tuple[str, int], list[Row]] = {}
    for row in measured:
        places.setdefault((row["where"], row["ranks"]), []).append(row)
    lines: list[Row] = []
    for (where, ranks), rows in places.items():
        ratios = [row["simulated ms"] / row["least ms"] for row in rows]
        taken = [row["least over the best"] for row in rows if row["taken"]]
        lines.append(
            {
                "where": where,
                "ranks": ranks,
                "cases": len(rows),
                "bytes": sum(
                    abs(row["MB simulated"] - row["MB sent"]) < 1e-6
                    and row["messages"] == row["messages simulated"]
                    for row in rows
                ),
                "median": float(median(ratios)),
                "range": f"{min(ratios):.2g} to {max(ratios):.2g}",
                "within": sum(1 / WITHIN <= ratio <= WITHIN for ratio in ratios),
                "right": f"{sum(over <= RIGHT for over in taken)} of {len(taken)}",
            }
        )
    table = Table(
        title="",
        index={"where": "where", "ranks": "ranks"},
        values={
            "cases": "cases",
            "bytes": "same bytes and messages",
            "median": "simulated over measured, median",
            "range": "range",
            "within": "within 30 %",
            "right": "`auto` right",
        },
    )
    within = sum(line["within"] for line in lines)
    over = [row["least over the best"] for row in measured if row["taken"]]
    right = sum(one <= RIGHT for one in over)
    told = (
        f"In all, {within} of {len(measured)} times are within 30 %, and `auto` is right in "
        f"{right} of {len(over)} cases."
    )
    return "\n".join([MEASURED, table.markdown(lines), "", told, ""])


MEASURED = """\
## Beside real ranks

`python -m benchmarks.model --measure FILE` measures the machine as `auto` does, joins sums by
each strategy, with each result and three kinds of footprints, and simulates the same. Ranks
exchange messages only. The simulation sends the bytes and messages that real ranks send, to the
last one. Times are the least of a few rounds; `auto` is right where it takes the best strategy,
or one within 1.25 of its time. Hosts are network namespaces of one machine with two cores; where
a rate is named, a token bucket limits their links to it.

The machine had two cores and nothing else to do, on 27 November 2026; each rank held 4 MB. Where
there are more ranks than cores, what a rank waits for a core is not in the model, and MPI
libraries differ in how long they keep one while they wait. Over the slow link that is little
beside the time on the wire.

Memory, on 1, 2 and 4 ranks ([measured](benchmarks_ranks.md#memory-of-a-rank)): the forecast for
dense maps of 54 and 66 MiB is that much above what a rank has anyhow; HEALPix ones took 58 to 73
MiB, flat ones 66 to 75.
"""


def _draw(rows: Sequence[Row], strategies: Sequence[Row]) -> Figure:
    """Seconds over nodes; and of each strategy."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(2, 2)
    first, others = axes[0, 0], [axes[0, 1], axes[1, 0], axes[1, 1]]
    for number, survey in enumerate(SURVEYS):
        mine = [row for row in rows if row["maps"] == survey.name and "s" in row]
        _line(first, number, survey.name, [(row["nodes"], row["s"]) for row in mine])
    first.set_title(f"{MANY} observations, from files to a file")
    shown = [SURVEYS[0], SURVEYS[1], SURVEYS[2]]
    for axis, survey in zip(others, shown, strict=True):
        mine = [row for row in strategies if row["maps"] == survey.name]
        for number, name in enumerate(dict.fromkeys(row["strategy"] for row in strategies)):
            if not any(row["strategy"] == name for row in mine):
                continue
            same = [row for row in mine if row["strategy"] == name]
            _line(axis, number, name, [(row["nodes"], row["simulated s"]) for row in same])
            points = [(row["nodes"], row["cost s"]) for row in same]
            axis.plot(*zip(*points, strict=True), ":", color=COLOURS[number])
        axis.set_title(f"joining between nodes, {survey.name}; dotted: costs", fontsize=10)
    for axis in (first, *others):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        ticks = sorted({row["nodes"] for row in rows})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set_xlabel("nodes")
        axis.set_ylabel("s (a model)")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def _line(axis: Any, number: int, name: str, points: list[tuple[int, float]]) -> None:
    if points:
        axis.plot(
            *zip(*points, strict=True), color=COLOURS[number], marker=MARKERS[number], label=name
        )
