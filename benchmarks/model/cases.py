"""The coadds and the cluster of the page about scale, and what they are expected to take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from g3reduce.errors import UsageError
from g3reduce.model import Cluster, Forecast, Work, best, forecast
from g3reduce.strategies.costs import Profile
from g3reduce.strategies.registry import names, strategy_of

from ..harness.rows import Row
from .joining import footprints, simulate
from .reading import read_all

GB = 1e9
PLANES = 9  # T, Q, U, and six weights
PIXEL = 8 * PLANES
NSIDE = 8192
SKY = 12 * NSIDE**2 * PIXEL
PATCH = 0.04
FLAT = 0.24 * GB * (2 / 0.25) ** 2  # 2250 x 1500 pixels at 2 arcmin are 0.24 GB

NODES = (1, 4, 16, 64, 256)
OBSERVATIONS = (10, 100, 1_000, 10_000, 100_000)
CLUSTER = Cluster(cores=64, memory=512 * GB, files_total=100 * GB, files_node=10 * GB)
SLOW, SLOWER = 0.01, 3.0  # so many of the files take so many times as long

DOES_NOT_FIT = "does not fit in the memory of a node"
ROWS = 4000  # into which a union is cut


@dataclass(frozen=True)
class Survey:
    """A kind of observation.

    Attributes
    ----------
    name : str
    file : float
        Bytes of the map of one observation.
    union : float
        Bytes of all sums.
    result : str
    """

    name: str
    file: float
    union: float
    result: str = "root"

    def work(self, observations: int) -> Work:
        """The coadd of so many observations."""
        return Work(
            files=observations,
            file_bytes=self.file,
            held=self.file,
            union=min(self.union, observations * self.file),
            result=self.result,  # type: ignore[arg-type]
            slowest=SLOWER,
        )


SURVEYS = (
    Survey("nside 8192, 4 %", PATCH * SKY, PATCH * SKY),
    Survey("nside 8192, 100 %", PATCH * SKY, SKY),
    Survey("nside 8192, 100 %, sharded", PATCH * SKY, SKY, "sharded"),
    Survey("flat, 0.25 arcmin", FLAT, FLAT),
)


def told(
    survey: Survey, observations: int, nodes: int, ranks_per_node: int | None = None
) -> tuple[Row, Forecast | None]:
    """A row of what the best number of ranks takes, or so many."""
    work, cluster = survey.work(observations), replace(CLUSTER, nodes=nodes)
    row: Row = {"maps": survey.name, "observations": observations, "nodes": nodes}
    try:
        found = forecast(work, cluster, ranks_per_node) if ranks_per_node else best(work, cluster)
    except UsageError:
        return row | {"limit": DOES_NOT_FIT}, None
    slow = max(1, round(SLOW * work.files))
    period = work.files // slow
    sizes = [
        work.file_bytes * (SLOWER if number % period == period - 1 else 1.0)
        for number in range(work.files)
    ]
    read = read_all(sizes, cluster, found.ranks_per_node)
    return row | {
        "ranks": found.ranks,
        "strategy": found.strategy,
        "s": found.seconds - found.reading - found.waiting + read,
        "reading s": read,
        "joining s": found.joining,
        "writing s": found.writing,
        "TB read": found.read / 1e12,
        "GB sent": found.sent / GB,
        "GB of a rank": found.memory_rank / GB,
        "GB of the root": found.memory_root / GB,
        "GB of a node": found.memory_node / GB,
        "limit": found.limit if found.fits else DOES_NOT_FIT,
    }, found


def joined(survey: Survey, observations: int, nodes: int, ranks_per_node: int) -> list[Row]:
    """Rows of all strategies between nodes: by their costs, and simulated."""
    work = survey.work(observations)
    ranks = nodes * ranks_per_node
    held = work.held_after(math.ceil(work.files / ranks))
    first = Profile(ranks, ranks_per_node, held, held, work.union, survey.result, direct=True)
    between = replace(first.of_first_ranks(), machine=CLUSTER.machine)
    row_bytes = math.ceil(between.union / ROWS)
    own = min(ROWS, max(1, round(between.held / row_bytes)))
    rows = []
    for name in names(survey.result):
        if name == "gather" and nodes > 64:  # for comparison only
            continue
        found = simulate(
            name,
            footprints(nodes, own, ROWS),
            ROWS,
            row_bytes,
            CLUSTER.machine,
            result=survey.result,
            nodes=range(nodes),
        )
        rows.append(
            {
                "maps": survey.name,
                "nodes": nodes,
                "strategy": name,
                "cost s": strategy_of(name).cost(between),
                "simulated s": found.seconds,
                "GB between nodes": found.between / GB,
            }
        )
    return rows
