"""Every strategy beside the bare MPI library and beside pickled maps."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread
from ..harness.onranks import first_ranks, rows_from_ranks, timed_on_all
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from .joining import BY_MESSAGES, Joining, strategies_of

FOOTPRINTS = ("dense", "sparse, identical", "sparse, half overlapping", "sparse, disjoint")
BARE, IN_PLACE = "bare MPI", "bare MPI in place"
PICKLED, PICKLED_ALL = "pickled reduce", "pickled allreduce"

PLANES = ("T", "Q", "U")
SUBMAP = 1024  # pixels
ROW_BYTES = SUBMAP * 8 * len(PLANES)
STRETCHES = 64  # of neighbouring submaps in a footprint: rings, say
PART_OF_THE_SKY = 25  # sparse maps cover one in so many submaps


def measure(settings: Settings) -> list[Row]:
    """All strategies, on all numbers of ranks."""
    return rows_from_ranks(
        max(settings.ranks),
        on_ranks,
        ranks=settings.ranks,
        megabytes=settings.megabytes,
        rounds=settings.rounds,
    )


def on_ranks(comm: Any, ranks: list[int], megabytes: float, rounds: int) -> list[Row]:
    """Run by each rank."""
    from g3reduce.choices import Result, choices_of

    # An even number in a stretch, so that half of it can overlap.
    n_submaps = max(1, round(megabytes * 1e6 / ROW_BYTES / STRETCHES / 2)) * 2 * STRETCHES
    rows: list[Row] = []
    for n_ranks in ranks:
        with first_ranks(comm, n_ranks) as part:
            for footprints in FOOTPRINTS if part is not None else ():
                held = [submaps(footprints, rank, n_ranks, n_submaps) for rank in range(n_ranks)]
                for result in choices_of(Result):
                    case = {"footprints": footprints, "result": result, "ranks": n_ranks}
                    case["most ranks"] = n_ranks == max(ranks)
                    found = _measure(part, held, n_in_all(n_submaps, n_ranks), result, rounds)
                    rows += [case | row for row in found]
    return rows


def submaps(footprints: str, rank: int, n_ranks: int, n_submaps: int) -> NDArray[np.int64]:
    """Numbers of the submaps that a rank holds."""
    if footprints == "dense":
        return np.arange(n_submaps)
    length = n_submaps // STRETCHES
    shift = {"identical": 0, "half overlapping": length // 2, "disjoint": length}
    first = np.arange(STRETCHES) * (n_in_all(n_submaps, n_ranks) // STRETCHES)
    first += rank * shift[footprints.removeprefix("sparse, ")]
    return (first[:, None] + np.arange(length)).reshape(-1)


def n_in_all(n_submaps: int, n_ranks: int) -> int:
    """Submaps of the sky of sparse maps."""
    return n_submaps * max(PART_OF_THE_SKY, n_ranks)


def _measure(
    comm: Any, held: list[NDArray[np.int64]], n_sky: int, result: str, rounds: int
) -> list[Row]:
    union = np.unique(np.concatenate(held))
    if len(union) == union[-1] + 1:  # nothing but these
        n_sky = len(union)
    joining = Joining(comm)
    accounts: dict[str, Row] = {}
    ours = {
        way: _run_of_ours(comm, joining, way, result, held, n_sky, accounts)
        for way in joining.ways(result)
    }
    rivals = _rivals(comm, len(union), result)
    seconds = in_turn(ours | rivals, rounds)
    joining.free()
    size = {"MB per rank": len(held[0]) * ROW_BYTES / 1e6, "MB union": len(union) * ROW_BYTES / 1e6}
    taken = accounts.get(BY_MESSAGES, {}).get("taken")
    middle = {way: median(seconds[way]) for way in ours if way in strategies_of(result)}
    rows = []
    for way, times in seconds.items():
        row: Row = {"strategy": way, **size, "ms": spread([1e3 * s for s in times])}
        if way in ours and comm.size > 1:  # one rank has nothing to join
            row |= accounts[way]
            row |= {f"against {rival}": ratio(seconds[rival], times) for rival in rivals}
        if "predicted ms" in row:
            row["predicted over measured"] = row["predicted ms"] / row["ms"].median
        if way == BY_MESSAGES and comm.size > 1:
            row["over the best"] = middle[str(taken)] / min(middle.values())
        if "MB moved" in row:
            row["moved over union"] = row["MB moved"] / row["MB union"]
        rows.append(row)
    return rows


def _run_of_ours(
    comm: Any,
    joining: Joining,
    way: str,
    result: str,
    held: list[NDArray[np.int64]],
    n_rows: int,
    accounts: dict[str, Row],
) -> Run:
    def prepare() -> tuple[Any, ...]:
        """Maps with the number of the rank plus one in each pixel."""
        blocks = joining.hold(n_rows, SUBMAP, PLANES)
        blocks.insert(held[comm.rank])
        for plane in blocks.planes.values():
            plane[:] = comm.rank + 1
        return way, blocks, result

    union = np.unique(np.concatenate(held))

    def check(joined: Any) -> None:
        accounts[way] = joining.account_of(joined, comm)
        blocks = joining.blocks_of(joined)
        rows = np.empty(0, np.int64) if blocks is None else blocks.rows
        n_held = comm.allreduce(len(rows))
        if n_held != len(union) * (comm.size if result == "all" else 1):
            raise RuntimeError(f"{way}: {n_held} submaps arrived, but the union is {len(union)}")
        expected = np.zeros(len(rows))
        for rank, mine in enumerate(held):
            expected += np.where(np.isin(rows, mine), rank + 1, 0)
        for plane in blocks.planes.values() if blocks is not None else ():
            if not np.all(plane == expected[:, None]):
                raise RuntimeError(f"{way}: wrong sums with the result on {result!r}")

    return timed_on_all(comm, joining.join, prepare, check)


def _rivals(comm: Any, n_union: int, result: str) -> dict[str, Run]:
    """What there is without us, given the union for nothing: one buffer over it on each rank.

    The bare library works from and into memory that was touched before.
    """
    from mpi4py import MPI

    mine = np.full(n_union * ROW_BYTES // 8, comm.rank + 1.0)
    received = np.ones(len(mine))
    if result == "all":

        def bare() -> None:
            comm.Allreduce(mine, received)
    elif result == "root":

        def bare() -> None:
            comm.Reduce(mine, received if comm.rank == 0 else None, root=0)

        def in_place() -> None:
            if comm.rank == 0:
                comm.Reduce(MPI.IN_PLACE, received, root=0)
            else:
                comm.Reduce(mine, None, root=0)
    else:
        counts = np.full(comm.size, len(mine) // comm.size)
        counts[: len(mine) % comm.size] += 1

        def bare() -> None:
            comm.Reduce_scatter(mine, received[: counts[comm.rank]], counts, MPI.SUM)

    works: dict[str, Callable[[], Any]] = {BARE: bare, PICKLED_ALL: lambda: comm.allreduce(mine)}
    if result == "root":
        works[IN_PLACE] = in_place
        works[PICKLED] = lambda: comm.reduce(mine, root=0)
    return {name: timed_on_all(comm, work) for name, work in works.items()}


INDEX = {"footprints": "footprints", "result": "result on", "strategy": "strategy"}


def _at_most_ranks(title: str, value: str) -> Table:
    """Footprints side by side, for the greatest number of ranks."""
    return Table(
        title=f"{title}, on the greatest number of ranks",
        index={"mpi": "MPI", "result": "result on", "strategy": "strategy"},
        values={value: ""},
        across=("footprints",),
        where=lambda row: row["ranks"] > 1 and row["most ranks"],
    )


BENCHMARK = Benchmark(
    title="Joining sums over ranks",
    measure=measure,
    reading=(
        "Each rank holds sums of T, Q and U: all of a dense map, or the submaps of a patch, which "
        "is the same on all ranks, shifted by half of itself from rank to rank, or shifted by all "
        "of itself. The result goes to one rank, to all, or each rank keeps a share. Bare MPI is "
        "`MPI.Reduce`, `MPI.Allreduce` or `MPI.Reduce_scatter` of one buffer over the union of all "
        "patches, which would have to be found and filled first. Pickled is mpi4py's "
        "lower-case `allreduce` of the same arrays, as codes of the field often have it. Above 1, "
        "g3reduce is the faster one. Sums are checked after each round."
    ),
    tables=(
        Table(
            title="Times as fast as bare MPI",
            index=INDEX,
            values={"against bare MPI": ""},
            across=("mpi", "ranks"),
            where=lambda row: row["ranks"] > 1,
        ),
        Table(
            title="Times as fast as `MPI.Reduce` in place, as the sums of g3reduce are",
            index={key: INDEX[key] for key in ("footprints", "strategy")},
            values={"against bare MPI in place": ""},
            across=("mpi", "ranks"),
            where=lambda row: row["ranks"] > 1 and row["result"] == "root",
        ),
        Table(
            title="What `auto` takes, times as fast as a pickled allreduce",
            index={key: INDEX[key] for key in ("footprints", "result")},
            values={"against pickled allreduce": ""},
            across=("mpi", "ranks"),
            where=lambda row: row["ranks"] > 1 and row["strategy"] == "auto",
        ),
        Table(
            title="What `auto` takes by messages, its time over that of the best strategy",
            index={key: INDEX[key] for key in ("footprints", "result")},
            values={"over the best": ""},
            across=("mpi", "ranks"),
            where=lambda row: row["ranks"] > 1 and row["strategy"] == BY_MESSAGES,
        ),
        _at_most_ranks("Bytes moved by all ranks, over those of the union", "moved over union"),
        _at_most_ranks("Predicted over measured time", "predicted over measured"),
    ),
    draw=lambda rows: pictures.lines(
        [row for row in rows if row["ranks"] > 1 and row["result"] == "root"],
        x="ranks",
        y={"ms": "{}"},
        panel=("mpi", "footprints"),
        by="strategy",
        x_label="ranks",
        y_label="ms until one rank has the sum",
    ),
)
