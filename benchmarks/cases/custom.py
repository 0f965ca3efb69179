"""A reduction of one's own of large arrays, beside the bare MPI library."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread
from ..harness.onranks import first_ranks, rows_from_ranks, timed_on_all
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings

BARE, OURS = "bare MPI", "MPIReducer"
OPERATIONS = ("SUM", "MAX")


def measure(settings: Settings) -> list[Row]:
    """Both operations, on all numbers of ranks."""
    return rows_from_ranks(
        max(settings.ranks),
        on_ranks,
        ranks=[n for n in settings.ranks if n > 1] or [2],
        megabytes=settings.megabytes,
        rounds=settings.rounds,
    )


def on_ranks(comm: Any, ranks: list[int], megabytes: float, rounds: int) -> list[Row]:
    """Run by each rank."""
    rows: list[Row] = []
    for n_ranks in ranks:
        with first_ranks(comm, n_ranks) as part:
            for operation in OPERATIONS if part is not None else ():
                size = max(1, round(megabytes * 1e6 / 8))
                runs = {OURS: _ours(part, operation, size), BARE: _bare(part, operation, size)}
                seconds = in_turn(runs, rounds)
                row: Row = {"operation": operation, "ranks": n_ranks, "MB per rank": size * 8 / 1e6}
                for name, times in seconds.items():
                    row[f"{name} ms"] = spread([1e3 * s for s in times])
                row["against bare MPI"] = ratio(seconds[BARE], seconds[OURS])
                rows.append(row)
    return rows


def _ours(comm: Any, operation: str, size: int) -> Run:
    """The end of processing; what came before, one frame on each rank, is not timed."""
    from spt3g import core

    import g3reduce

    mine = np.full(size, comm.rank + 1.0)
    reduction = g3reduce.Reduction("benchmark", operation=operation, extract=lambda frame: mine)

    def prepare() -> tuple[Any, ...]:
        reducer = g3reduce.MPIReducer(reduction, comm)
        reducer.add(core.G3Frame(core.G3FrameType.Scan))
        # The release of memory is not timed: the bare library keeps its own.
        states = reducer._groups.states.values()
        planes = [dict(held.blocks.planes) for state in states for held in state.held.values()]
        return reducer, planes

    def check(result: Any) -> None:
        if (result is None) != (comm.rank > 0) or not _right(comm, operation, result):
            raise RuntimeError(f"{operation}: MPIReducer gave a wrong result")

    return timed_on_all(comm, lambda reducer, _: reducer.finish(), prepare, check)


def _bare(comm: Any, operation: str, size: int) -> Run:
    """``MPI.Reduce`` from and into memory that was touched before."""
    from mpi4py import MPI

    mine, total = np.full(size, comm.rank + 1.0), np.ones(size)
    receive = total if comm.rank == 0 else None

    def work() -> Any:
        comm.Reduce(mine, receive, getattr(MPI, operation), 0)
        return receive

    def check(result: Any) -> None:
        if not _right(comm, operation, result):
            raise RuntimeError(f"{operation}: bare MPI gave a wrong result")

    return timed_on_all(comm, work, check=check)


def _right(comm: Any, operation: str, result: Any) -> bool:
    expected = comm.size * (comm.size + 1) / 2 if operation == "SUM" else comm.size
    return result is None or bool(np.all(result == expected))


BENCHMARK = Benchmark(
    title="Reductions of one's own",
    measure=measure,
    reading=(
        "Each rank holds one array. Timed is the end of processing of an `MPIReducer` until the "
        "last rank is done, with all its agreements, beside one `MPI.Reduce` of the same array. "
        "Above 1, g3reduce is the faster one."
    ),
    tables=(
        Table(
            title="Milliseconds, and times as fast as bare MPI",
            index={"operation": "operation", "ranks": "ranks", "MB per rank": "MB per rank"},
            values={
                f"{OURS} ms": f"{OURS}, ms",
                f"{BARE} ms": f"{BARE}, ms",
                "against bare MPI": "against bare MPI",
            },
            across=("mpi",),
        ),
    ),
    draw=lambda rows: pictures.lines(
        rows,
        x="ranks",
        y={f"{OURS} ms": OURS + ", {}", f"{BARE} ms": BARE + ", {}"},
        panel=("mpi", "MB per rank"),
        by="operation",
        x_label="ranks",
        y_label="ms until one rank has the result",
    ),
)
