"""Running a function on MPI ranks, from a process that has no MPI itself.

``python -m mpi4py -m benchmarks.harness.onranks MODULE FUNCTION FOLDER`` is what each rank runs: it
calls the function with the communicator and the arguments that lie in the folder, and rank 0
leaves the rows there. An exception on a rank ends all of them.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

from .inturn import Run
from .rows import Row

R = TypeVar("R")

ROOT = Path(__file__).parents[2]


def rows_from_ranks(
    n_ranks: int,
    function: Callable[..., list[Row]],
    *,
    meanwhile: Callable[[], None] | None = None,
    **arguments: Any,
) -> list[Row]:
    """Call a function of a module as ``function(comm, **arguments)`` on `n_ranks` ranks.

    Parameters
    ----------
    n_ranks : int
    function : callable
        At the top level of a module.
    meanwhile : callable, optional
        Called again and again, in this process, as long as the ranks run.
    **arguments
        Anything that JSON can tell.

    Returns
    -------
    list of dict
        What the function returned on rank 0.
    """
    with tempfile.TemporaryDirectory(prefix="g3reduce-benchmark-") as name:
        folder = Path(name)
        (folder / "arguments.json").write_text(json.dumps(arguments))
        on_rank = ["-m", "mpi4py", "-m", __name__, function.__module__, function.__name__, name]
        with (folder / "output").open("w+") as output:
            job = subprocess.Popen(
                mpirun_command(n_ranks, [sys.executable, *on_rank]),
                env=mpirun_environment(),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                while meanwhile is not None and job.poll() is None:
                    meanwhile()
                failed = job.wait()
            finally:
                if job.poll() is None:  # this process is being ended; mpirun passes it on
                    job.terminate()
                    job.wait()
            output.seek(0)
            if failed:
                raise RuntimeError(f"{function.__name__} on {n_ranks} ranks:\n{output.read()}")
        rows: list[Row] = json.loads((folder / "rows.json").read_text())
        return rows


def timed_on_all(
    comm: Any,
    work: Callable[..., R],
    prepare: Callable[[], tuple[Any, ...]] = tuple,
    check: Callable[[R], None] = lambda result: None,
) -> Run:
    """Time collective work, from when all ranks are there until the last one is done.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    work : callable
        Takes the arguments that `prepare` made.
    prepare, check : callable
        Before and after it, and not timed. `check` takes the result.
    """
    from mpi4py import MPI

    def run() -> float:
        prepared = prepare()
        comm.Barrier()
        start = time.perf_counter()
        result = work(*prepared)
        took = time.perf_counter() - start
        slowest: float = comm.allreduce(took, MPI.MAX)
        check(result)
        return slowest

    return run


@contextmanager
def first_ranks(comm: Any, n_ranks: int) -> Iterator[Any]:
    """A communicator of the first `n_ranks`; None on the others, which sleep until it is freed.

    So one job measures several numbers of ranks in turn, on cores that nobody else spins on.
    """
    part = comm.Create(comm.group.Incl(range(n_ranks)))
    yield part if comm.rank < n_ranks else None
    if comm.rank < n_ranks:
        part.Free()
    sleeping_barrier(comm)


def told_to_all(comm: Any, run: Run | None) -> Run:
    """What some of the ranks run (rank 0 among them), while the others, with None, sleep."""

    def on_all() -> float:
        seconds = run() if run is not None else 0.0
        sleeping_barrier(comm)
        return float(comm.bcast(seconds))

    return on_all


def sleeping_barrier(comm: Any) -> None:
    """A barrier that leaves the cores to those who still work."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.002)


def _main() -> None:
    from mpi4py import MPI

    module, function, name = sys.argv[1:]
    folder = Path(name)
    arguments = json.loads((folder / "arguments.json").read_text())
    rows = getattr(importlib.import_module(module), function)(MPI.COMM_WORLD, **arguments)
    if MPI.COMM_WORLD.rank == 0:
        (folder / "rows.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    _main()
