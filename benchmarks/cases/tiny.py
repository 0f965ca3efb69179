"""A coadd of small files on several ranks: nearly all of it is what ranks have to agree on."""

from __future__ import annotations

import shutil
from typing import Any

from ..harness import pictures
from ..harness.inturn import in_turn, spread
from ..harness.onranks import rows_from_ranks, timed_on_all
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import KINDS, SHARED, write_files

RANKS = 3
REPEAT = 20  # one is too short to be timed by itself


def measure(settings: Settings) -> list[Row]:
    """One small file for each rank, with the result in memory and with the result written."""
    folder = settings.folder / "tiny"
    rows = rows_from_ranks(
        RANKS,
        on_ranks,
        files=write_files(folder, KINDS[0], SHARED, "tiny", RANKS),
        output=str(folder / "coadd.g3"),
        rounds=settings.rounds,
    )
    shutil.rmtree(folder)
    return rows


def on_ranks(comm: Any, files: list[str], output: str, rounds: int) -> list[Row]:
    """Run by each rank."""
    import g3reduce

    def coadd(to: str | None) -> None:
        for _ in range(REPEAT):
            g3reduce.coadd_files(files, to, mpicomm=comm)

    def barriers() -> None:
        for _ in range(REPEAT):
            comm.Barrier()

    seconds = in_turn(
        {
            "memory": timed_on_all(comm, lambda: coadd(None)),
            "file": timed_on_all(comm, lambda: coadd(output)),
            "barrier": timed_on_all(comm, barriers),
        },
        rounds,
    )
    return [
        {
            "ranks": comm.size,
            **{f"{name} ms": spread([1e3 * s / REPEAT for s in t]) for name, t in seconds.items()},
        }
    ]


BENCHMARK = Benchmark(
    title="A small coadd on several ranks",
    measure=measure,
    reading=(
        "Milliseconds of one `coadd_files` of three small files on three ranks that run already, "
        "one file for each. Beside it one bare `MPI.Barrier`: with more ranks than cores, waiting "
        "for each other is what takes the time."
    ),
    tables=(
        Table(
            title="Milliseconds",
            index={"mpi": "MPI", "ranks": "ranks"},
            values={
                "memory ms": "coadd in memory, ms",
                "file ms": "coadd in a file, ms",
                "barrier ms": "a barrier, ms",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        panel="mpi",
        panel_title="{}",
        label="{ranks} ranks",
        series={
            "memory ms": "coadd in memory",
            "file ms": "coadd in a file",
            "barrier ms": "barrier",
        },
        unit="milliseconds",
    ),
)
