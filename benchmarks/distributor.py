"""The distributor: how much passes through it, and how well it shares out work.

``python -m benchmarks.distributor`` starts its ranks itself. Ours and spt3g's run in turn in the
same job; numbers are medians over the rounds, and ratios are medians of the ratios of a round.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from g3reduce.launch import mpirun_command, mpirun_environment

Row = dict[str, Any]

FRAME_BYTES = 2**20


def throughput(
    n_io: int = 1, n_workers: int = 3, *, n_frames: int = 200, rounds: int = 7
) -> list[Row]:
    """Frames of 1 MiB from readers to workers that do nothing with them.

    spt3g's distributor loses frames with two readers and more, so it is run with one only.
    """
    return _on_ranks("throughput", n_io, n_workers, n_frames, rounds)


def makespan(
    n_io: int = 1, n_workers: int = 3, *, n_frames: int = 120, rounds: int = 3
) -> list[Row]:
    """The time for frames that cost equal or heavy-tailed amounts of (slept) work.

    Compared with what no schedule can beat: max(total / workers, longest frame).
    """
    return _on_ranks("makespan", n_io, n_workers, n_frames, rounds)


CASES: dict[str, Callable[..., list[Row]]] = {"throughput": throughput, "makespan": makespan}


def _on_ranks(case: str, n_io: int, n_workers: int, n_frames: int, rounds: int) -> list[Row]:
    numbers = list(map(str, (n_io, n_frames, rounds)))
    with tempfile.TemporaryDirectory(prefix="g3reduce-benchmark-") as folder:
        command = [sys.executable, "-m", __spec__.name, "--rank", case, *numbers, folder]
        subprocess.run(
            mpirun_command(n_io + n_workers, command),
            env=mpirun_environment(),
            cwd=Path(__file__).parent.parent,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        rows: list[Row] = json.loads((Path(folder) / "rows.json").read_text())
        return rows


# What runs on the ranks.


def _rank(case: str, n_io: int, n_frames: int, rounds: int, folder: Path) -> None:
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    measure = {"throughput": _measure_throughput, "makespan": _measure_makespan}[case]
    rows = measure(comm, n_io, n_frames, rounds, folder)
    if comm.rank == 0:
        (folder / "rows.json").write_text(json.dumps(rows))


def _measure_throughput(
    comm: Any, n_io: int, n_frames: int, rounds: int, folder: Path
) -> list[Row]:
    import numpy as np

    content = np.random.default_rng(0).normal(size=FRAME_BYTES // 8)
    files = _write(comm, folder, [content] * n_frames, 2 * n_io)
    rates: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, run in _in_turn(number, n_io):
            seconds, arrived = run(comm, n_io, files, lambda frame: None)
            _expect(arrived, n_frames, name)
            if number:  # the first is for warming up
                rates.setdefault(name, []).append(n_frames * FRAME_BYTES / 1e6 / seconds)
    return _rows("throughput", "MB/s", n_io, comm.size - n_io, rates)


def _measure_makespan(comm: Any, n_io: int, n_frames: int, rounds: int, folder: Path) -> list[Row]:
    rng = random.Random(1)
    n_workers = comm.size - n_io
    costs = {
        "equal": [0.03] * n_frames,
        "heavy-tailed": [min(0.01 * rng.paretovariate(1.2), 1.0) for _ in range(n_frames)],
    }

    def work(frame: Any) -> None:
        if "Content" in frame:
            time.sleep(frame["Content"][0])

    rows = []
    for kind, of_frames in costs.items():
        (folder / kind).mkdir(exist_ok=True)
        files = _write(comm, folder / kind, [[cost] for cost in of_frames], 2 * n_io)
        bound = max(sum(of_frames) / n_workers, max(of_frames))
        times: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            for name, run in _in_turn(number, n_io):
                seconds, arrived = run(comm, n_io, files, work)
                _expect(arrived, n_frames, name)
                if number:
                    times.setdefault(name, []).append(seconds / bound)
        rows += _rows(f"makespan, {kind}", "of the bound", n_io, n_workers, times)
    return rows


def _rows(
    case: str, unit: str, n_io: int, n_workers: int, found: dict[str, list[float]]
) -> list[Row]:
    row: Row = {"case": case, "readers": n_io, "workers": n_workers, "unit": unit}
    row |= {name: statistics.median(values) for name, values in found.items()}
    if "spt3g" in found:
        both = zip(found["g3reduce"], found["spt3g"], strict=True)
        row["ratio"] = statistics.median(mine / theirs for mine, theirs in both)
    return [row]


def _write(comm: Any, folder: Path, contents: list[Any], n_files: int) -> list[str]:
    """Files of scan frames, all in a parallel block."""
    from spt3g import core

    files = [str(folder / f"{i}.g3") for i in range(n_files)]
    if comm.rank == 0:
        for i, file in enumerate(files):
            with core.G3Writer(file) as writer:
                for content in contents[i::n_files]:
                    frame = core.G3Frame(core.G3FrameType.Scan)
                    frame["Content"] = core.G3VectorDouble(content)
                    writer(frame)
    comm.Barrier()
    return files


def _in_turn(number: int, n_io: int) -> list[tuple[str, Callable[..., tuple[float, int]]]]:
    runs = [("g3reduce", _run_ours), ("spt3g", _run_theirs)][: 2 if n_io == 1 else 1]
    return runs if number % 2 else runs[::-1]


def _run_ours(comm: Any, n_io: int, files: list[str], work: Any) -> tuple[float, int]:
    import g3reduce

    return _timed(comm, g3reduce.MPIIODistributor, n_io, files, work)


def _run_theirs(comm: Any, n_io: int, files: list[str], work: Any) -> tuple[float, int]:
    from spt3g.mpi import MPIFileIO

    return _timed(comm, MPIFileIO.MPIIODistributor, n_io, files, work)


def _timed(
    comm: Any, distributor: Any, n_io: int, files: list[str], work: Any
) -> tuple[float, int]:
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
    return time.perf_counter() - start, comm.allreduce(arrived)


def _expect(arrived: int, n_frames: int, name: str) -> None:
    if arrived != n_frames:
        raise RuntimeError(f"{name}: {arrived} of {n_frames} frames arrived")


def report(rows: list[Row]) -> str:
    """Rows as a table."""
    lines = [f"{'':24}{'readers':>8}{'workers':>8}{'g3reduce':>10}{'spt3g':>10}{'ratio':>8}"]
    for row in rows:
        theirs, ratio = (f"{row[k]:.2f}" if k in row else "" for k in ("spt3g", "ratio"))
        lines.append(
            f"{row['case']:24}{row['readers']:8}{row['workers']:8}{row['g3reduce']:10.2f}"
            f"{theirs:>10}{ratio:>8}  {row['unit']}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run all cases and print their rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distributor", description=__doc__)
    parser.add_argument("--rank", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank:
        case, *numbers, folder = arguments.rank
        _rank(case, *map(int, numbers), Path(folder))  # type: ignore[call-arg, arg-type]
        return
    rows = [row for n_io in (1, 2) for row in throughput(n_io)]
    rows += [row for n_io in (1, 2) for row in makespan(n_io)]
    print(report(rows))


if __name__ == "__main__":
    main()
