"""The distributor: how much passes through it, and how well it shares out work."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread
from ..harness.onranks import rows_from_ranks
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings

FRAME_BYTES = 2**20
N_WORKERS = 3
N_FRAMES = 120
SECONDS_OF_A_FRAME = 0.02


def measure(settings: Settings) -> list[Row]:
    """All cases, with one reader and with two."""
    if settings.size == "tiny":
        return distribute(settings.folder, 1, 1, n_frames=4, rounds=settings.rounds)
    return [
        row
        for n_io in (1, 2)
        for row in distribute(settings.folder, n_io, N_WORKERS, rounds=settings.rounds)
    ]


def distribute(
    folder: Path, n_io: int, n_workers: int, *, n_frames: int = N_FRAMES, rounds: int = 3
) -> list[Row]:
    """Frames from readers to workers, that do nothing with them or sleep for each.

    spt3g's distributor loses frames with two readers and more, so it is run with one only.
    """
    return rows_from_ranks(
        n_io + n_workers,
        on_ranks,
        folder=str(folder),
        n_io=n_io,
        n_frames=n_frames,
        rounds=rounds,
    )


def on_ranks(comm: Any, folder: str, n_io: int, n_frames: int, rounds: int) -> list[Row]:
    """Run by each rank."""
    rng = random.Random(1)
    costs = {
        "equal": [SECONDS_OF_A_FRAME] * n_frames,
        "heavy-tailed": [min(0.01 * rng.paretovariate(1.2), 0.5) for _ in range(n_frames)],
    }
    content = np.random.default_rng(0).normal(size=FRAME_BYTES // 8)
    files = _write(comm, Path(folder) / f"frames-{n_io}", [content] * n_frames, 2 * n_io)
    seconds = in_turn(_runs(comm, n_io, files, lambda frame: None, n_frames), rounds)
    rows = [_row("frames of 1 MiB", n_io, comm.size, seconds, FRAME_BYTES * n_frames)]
    for kind, of_frames in costs.items():
        where = Path(folder) / f"{kind}-{n_io}"
        files = _write(comm, where, [[cost] for cost in of_frames], 2 * n_io)
        seconds = in_turn(_runs(comm, n_io, files, _sleep, n_frames), rounds)
        bound = max(sum(of_frames) / (comm.size - n_io), max(of_frames))
        rows.append(_row(f"makespan, {kind} costs", n_io, comm.size, seconds))
        for name, times in seconds.items():
            rows[-1][f"{name} over the bound"] = spread([s / bound for s in times])
    return rows


def _sleep(frame: Any) -> None:
    if "Content" in frame:
        time.sleep(frame["Content"][0])


def _row(
    case: str, n_io: int, n_ranks: int, seconds: dict[str, list[float]], n_bytes: int = 0
) -> Row:
    row: Row = {"case": case, "readers": n_io, "workers": n_ranks - n_io}
    row |= {f"{name} s": spread(times) for name, times in seconds.items()}
    if n_bytes:
        row |= {
            f"{name} MB/s": spread([n_bytes / 1e6 / s for s in times])
            for name, times in seconds.items()
        }
    if "spt3g" in seconds:
        row["against spt3g"] = ratio(seconds["spt3g"], seconds["g3reduce"])
    return row


def _write(comm: Any, folder: Path, contents: list[Any], n_files: int) -> list[str]:
    """Files of scan frames, all in a parallel block."""
    from spt3g import core

    files = [str(folder / f"{i}.g3") for i in range(n_files)]
    if comm.rank == 0:
        folder.mkdir()
        for i, file in enumerate(files):
            with core.G3Writer(file) as writer:
                for content in contents[i::n_files]:
                    frame = core.G3Frame(core.G3FrameType.Scan)
                    frame["Content"] = core.G3VectorDouble(content)
                    writer(frame)
    comm.Barrier()
    return files


def _runs(
    comm: Any, n_io: int, files: list[str], work: Callable[[Any], None], n_frames: int
) -> dict[str, Run]:
    from spt3g.mpi import MPIFileIO

    import g3reduce

    distributors = {"g3reduce": g3reduce.MPIIODistributor}
    if n_io == 1:
        distributors["spt3g"] = MPIFileIO.MPIIODistributor
    return {
        name: partial(_run, comm, name, distributor, n_io, files, work, n_frames)
        for name, distributor in distributors.items()
    }


def _run(
    comm: Any,
    name: str,
    distributor: Any,
    n_io: int,
    files: list[str],
    work: Callable[[Any], None],
    n_frames: int,
) -> float:
    from spt3g import core

    arrived = 0

    def count(frame: Any) -> None:
        nonlocal arrived
        arrived += frame.type == core.G3FrameType.Scan

    pipe = core.G3Pipeline()
    pipe.Add(distributor, mpicomm=comm, n_io=n_io, files=[list(files)])
    pipe.Add(count)
    pipe.Add(work)
    comm.Barrier()
    start = time.perf_counter()
    pipe.Run()
    comm.Barrier()
    seconds = time.perf_counter() - start
    on_all = comm.allreduce(arrived)
    if on_all != n_frames:
        raise RuntimeError(f"{name}: {on_all} of {n_frames} frames arrived")
    return seconds


_INDEX = {"mpi": "MPI", "case": "case", "readers": "readers", "workers": "workers"}

BENCHMARK = Benchmark(
    title="Frames to workers",
    measure=measure,
    reading=(
        "Readers hand frames to workers, one by one. First frames of 1 MiB on which no work is "
        "done; then frames whose work is to sleep, for equal times or for times of which a few "
        "are very long. No schedule can beat the bound, which is the whole work over the number "
        "of workers, or the longest frame. spt3g's distributor loses frames with two readers, so "
        "it is run with one only."
    ),
    tables=(
        Table(
            title="Throughput",
            index=_INDEX,
            values={
                "g3reduce MB/s": "g3reduce MB/s",
                "spt3g MB/s": "spt3g MB/s",
                "against spt3g": "times as fast",
            },
            where=lambda row: "g3reduce MB/s" in row,
        ),
        Table(
            title="Time over the bound",
            index=_INDEX,
            values={"g3reduce over the bound": "g3reduce", "spt3g over the bound": "spt3g"},
        ),
    ),
    draw=lambda rows: pictures.bars(
        [row for row in rows if "g3reduce over the bound" in row],
        panel="mpi",
        label="{case}\n{readers} reading, {workers} working",
        series={"g3reduce over the bound": "g3reduce", "spt3g over the bound": "spt3g"},
        unit="time over the least possible",
        limit=(1.0, "no schedule can beat this"),
    ),
)
