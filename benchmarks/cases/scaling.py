"""Coadding files on more and more ranks, beside bare additions of the same bytes."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread
from ..harness.onranks import first_ranks, rows_from_ranks, timed_on_all, told_to_all
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import KINDS, SHARED, write_files

STRONG, WEAK = "the same files for all", "as many files for each rank"
BLOCK = 2**17  # numbers: 1 MiB, which stays in cache
REPEAT = 8  # bare additions take so little time that a hiccup would count


def measure(settings: Settings, kinds: Sequence[str] = (KINDS[1], KINDS[2])) -> list[Row]:
    """Strong and weak scaling, for a sparse and a dense kind of map."""
    rows = []
    most = max(settings.ranks)
    for number, kind in enumerate(kinds):
        folder = settings.folder / f"scaling-{number}"
        n_files = -(-settings.n_files // most) * most
        rows += rows_from_ranks(
            most,
            on_ranks,
            files=write_files(folder, kind, SHARED, settings.size, n_files),
            ranks=settings.ranks,
            rounds=settings.rounds,
            kind=kind,
        )
        shutil.rmtree(folder)
    return rows


def on_ranks(comm: Any, files: list[str], ranks: list[int], rounds: int, kind: str) -> list[Row]:
    """Run by each rank. All numbers of ranks are measured in turn."""
    # As many as this rank will ever add: with fewer, they would come from cache.
    share = max(-(-len(files) // n) for n in ranks if comm.rank < n)
    sources = [np.full(os.path.getsize(file) // 8, 1.0) for file in files[:share]]
    with ExitStack() as stack:
        parts = {n: stack.enter_context(first_ranks(comm, n)) for n in ranks}
        rows = []
        for scaling in (STRONG, WEAK):
            runs: dict[str, Run] = {}
            given: dict[int, list[str]] = {}
            for n, part in parts.items():
                given[n] = files if scaling == STRONG else files[: len(files) // max(ranks) * n]
                ours, bare = (None, None) if part is None else _runs(part, given[n], sources)
                runs |= {f"g3reduce {n}": told_to_all(comm, ours)}
                runs |= {f"bare {n}": told_to_all(comm, bare)}
            seconds = in_turn(runs, rounds)
            case: Row = {"kind": kind, "scaling": scaling}
            rows += [case | _row(n, min(ranks), given, seconds) for n in ranks]
        return rows


def _runs(comm: Any, files: list[str], sources: list[Any]) -> tuple[Run, Run]:
    import g3reduce

    total = np.ones_like(sources[0])
    mine = sources[: len(range(comm.rank, len(files), comm.size))]

    def add() -> None:
        for _, start in itertools.product(range(REPEAT), range(0, len(total), BLOCK)):
            stretch = total[start : start + BLOCK]
            for source in mine:
                np.add(stretch, source[start : start + BLOCK], out=stretch)

    bare = timed_on_all(comm, add)
    return (
        timed_on_all(comm, lambda: g3reduce.coadd_files(files, mpicomm=comm).frame),
        lambda: bare() / REPEAT,
    )


def _row(n: int, first: int, given: dict[int, list[str]], seconds: dict[str, list[float]]) -> Row:
    """What is measured on `n` ranks; speed-ups are of throughput, over that on `first` ranks."""
    row: Row = {"ranks": n, "files": len(given[n])}
    more = len(given[n]) / len(given[first]) * first
    speed_ups = {}
    for name in ("g3reduce", "bare"):
        mine, reference = seconds[f"{name} {n}"], seconds[f"{name} {first}"]
        speed_ups[name] = [more * a / b for a, b in zip(reference, mine, strict=True)]
        row[f"{name} s"] = spread(mine)
        row[f"{name} speed-up"] = spread(speed_ups[name])
    row["of the bare speed-up"] = ratio(speed_ups["g3reduce"], speed_ups["bare"])
    row["of the bare speed"] = ratio(seconds[f"bare {n}"], seconds[f"g3reduce {n}"])
    return row


BENCHMARK = Benchmark(
    title="More ranks",
    measure=measure,
    reading=(
        "`coadd_files` on more and more ranks of one machine, with the same files for all (strong "
        "scaling) or as many files for each rank (weak scaling). Beside it, the same ranks add as "
        "many bytes from memory to memory and do nothing else: with this, no program scales "
        "better where memory is the limit. A speed-up is the throughput over that of one rank. "
        "More ranks than cores cannot be faster."
    ),
    tables=(
        Table(
            title="Speed-up, and its part of what bare additions reach",
            index={"mpi": "MPI", "kind": "maps", "scaling": "scaling", "ranks": "ranks"},
            values={
                "g3reduce s": "s",
                "g3reduce speed-up": "speed-up",
                "bare speed-up": "bare speed-up",
                "of the bare speed-up": "ratio",
            },
        ),
    ),
    draw=lambda rows: pictures.lines(
        rows,
        x="ranks",
        y={"g3reduce speed-up": "g3reduce, {}", "bare speed-up": "bare additions, {}"},
        panel=("mpi", "kind"),
        by="scaling",
        x_label="ranks",
        y_label="speed-up",
        ideal=True,
    ),
)
