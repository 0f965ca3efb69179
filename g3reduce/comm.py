"""Communicators: which one a module works on, how ranks agree, and how a lost rank ends the job.

Nothing here touches MPI at import. With one process MPI is never initialised at all, so the same
code runs on a login node where MPI must not start and on a machine that has none.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from traceback import format_exception
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from .errors import G3ReduceError, RemoteError, UsageError

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")

# Environment variables by which launchers tell a process its rank and the number of processes.
_LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PALS_RANKID", "PALS_SIZE"),
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    # Not SLURM_NTASKS: a batch script has it, too, and is one process.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)

# How long a rank that is well waits for the one that failed to print its traceback first.
_GRACE_S = 2.0
# How long the launcher may take to pass on what was printed, before it ends the job.
_FORWARDING_S = 0.25


class OneProcess:
    """A communicator of one rank that needs no MPI.

    It has those methods of `mpi4py.MPI.Intracomm` which g3reduce calls outside of transfers of
    arrays; the latter never happen with one rank.
    """

    rank = 0
    size = 1

    def allgather(self, value: T) -> list[T]:
        """Return the values of all ranks: this one's."""
        return [value]

    def bcast(self, value: T, root: int = 0) -> T:
        """Return the value of `root`, which is this rank."""
        return value

    def Barrier(self) -> None:
        """Wait for nobody."""

    def Free(self) -> None:
        """Release nothing."""


Comm: TypeAlias = "MPI.Intracomm | OneProcess"


def launched() -> tuple[int, int] | None:
    """Rank and number of processes as the launcher told them, without touching MPI.

    Returns
    -------
    (rank, size) or None
        None where no MPI launcher started this process. ``G3REDUCE_MPI=0`` in the environment
        says that none did.
    """
    if os.environ.get("G3REDUCE_MPI") == "0":
        return None
    for rank, size in _LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return None


def resolve(mpicomm: Comm | None) -> Comm:
    """The communicator that an argument ``mpicomm`` stands for.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm, OneProcess or None
        None stands for the world if a launcher (mpirun, mpiexec, srun, ...) started several
        processes or if ``G3REDUCE_MPI=1`` is in the environment, else for one process without MPI.

    Raises
    ------
    UsageError
        If this is no communicator, or if the launcher and the MPI library do not know of each
        other, so that every process would do the whole work.
    """
    if isinstance(mpicomm, OneProcess):
        return mpicomm
    started = launched()
    if mpicomm is None:
        if os.environ.get("G3REDUCE_MPI") != "1" and (started is None or started[1] == 1):
            return OneProcess()
        from mpi4py import MPI

        mpicomm = MPI.COMM_WORLD
    from mpi4py import MPI

    if mpicomm == MPI.COMM_WORLD and started is not None and started[1] > 1 == mpicomm.size:
        raise UsageError(
            f"The launcher started {started[1]} processes, but each is alone in the world of the "
            f"MPI library that mpi4py found ({MPI.Get_library_version().splitlines()[0]}). Start "
            "them with the mpirun of that library, or point mpi4py at the launcher's "
            "(MPI4PY_LIBMPI)."
        )
    if not isinstance(mpicomm, MPI.Intracomm) or mpicomm == MPI.COMM_NULL:
        raise UsageError(
            f"mpicomm is {mpicomm!r} ({type(mpicomm).__name__}); expected an intracommunicator of "
            "mpi4py, or None."
        )
    return mpicomm


def duplicate(mpicomm: Comm | None) -> Comm:
    """A communicator of one's own over the same ranks. Collective over `mpicomm`.

    From the first call with several ranks on, an exception that nobody catches ends the whole
    job (see `end_job_on_exception`). The caller frees what it got with ``Free()``.
    """
    comm = resolve(mpicomm)
    if comm.size == 1:
        return OneProcess()
    end_job_on_exception()
    return comm.Dup()  # type: ignore[union-attr]


def agree(comm: Comm, error: Exception | None = None) -> None:
    """Raise on all ranks if there is an error on any. Collective over `comm`.

    This precedes the collective work in which ranks would wait for one that never comes.

    Parameters
    ----------
    comm : communicator
    error : Exception, optional
        What went wrong on this rank.

    Raises
    ------
    Exception
        `error` itself on the ranks that have one. Its ``reporter`` is the lowest rank with the
        same text, so that one message need not be shown by every rank.
    RemoteError
        On the ranks that have none.
    """
    texts = comm.allgather(None if error is None else _describe(error))
    failures = {rank: text for rank, text in enumerate(texts) if text is not None}
    if not failures:
        return
    if error is None:
        remote = RemoteError(failures)
        remote.reporter = min(failures)
        raise remote
    if isinstance(error, G3ReduceError):
        error.reporter = texts.index(_describe(error))
    raise error


def collectively(comm: Comm, work: Callable[[], T]) -> T:
    """Do `work` on each rank and raise on all if it failed on any. Collective over `comm`."""
    result, failure = None, None
    try:
        result = work()
    except Exception as error:  # whatever it is, the others must hear of it
        failure = error
    agree(comm, failure)
    return result  # type: ignore[return-value]


def from_rank(comm: Comm, root: int, work: Callable[[], T]) -> T:
    """Do `work` on one rank and bring its result to all, or its failure. Collective over `comm`."""
    mine = collectively(comm, lambda: work() if comm.rank == root else None)
    return comm.bcast(mine, root)  # type: ignore[return-value]


def same_everywhere(comm: Comm, what: str, value: object) -> None:
    """Raise `UsageError` on all ranks unless `value` is the same on all. Collective over `comm`."""
    text = repr(value)
    texts = comm.allgather(text)
    if any(other != texts[0] for other in texts):
        rank = next(rank for rank, other in enumerate(texts) if other != texts[0])
        agree(
            comm,
            UsageError(
                f"{what} must be the same on all ranks: it is {texts[0]} on rank 0, but "
                f"{texts[rank]} on rank {rank}."
            ),
        )


def end_job_on_exception() -> None:
    """Let an exception that nobody catches end the whole MPI job, with its traceback.

    Without it, the other ranks wait for the lost one until the queue's time is up. Ranks whose
    error was already told by another one leave the printing to that one. Installing it twice
    does nothing. Exceptions in threads and ``sys.exit`` do not pass here.
    """
    if getattr(sys.excepthook, "ends_job", False):
        return
    previous = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        from mpi4py import MPI

        if MPI.Is_finalized():
            previous(kind, error, traceback)
            return
        world = MPI.COMM_WORLD
        reporter = getattr(error, "reporter", None)
        if reporter is not None and reporter != world.rank:
            time.sleep(_GRACE_S)
        else:
            sys.stdout.flush()
            text = f"g3reduce: rank {world.rank} of {world.size} failed and ends the job:\n"
            if previous is sys.__excepthook__:
                text += "".join(format_exception(kind, error, traceback))
            # In one piece, so that the output of other ranks does not come in between.
            sys.stderr.write(text)
            if previous is not sys.__excepthook__:
                previous(kind, error, traceback)
            sys.stderr.flush()
            time.sleep(_FORWARDING_S)
        world.Abort(1)

    hook.ends_job = True  # type: ignore[attr-defined]
    sys.excepthook = hook


class SharedCounter:
    """Hands out 0, 1, 2, ... so that each number reaches one rank only. Collective over `comm`.

    The numbers lie in rank 0's memory and are fetched one-sidedly, so that rank 0 may compute
    meanwhile.
    """

    # Far above any number of files, far below overflow.
    _STOPPED = 2**40

    def __init__(self, comm: Comm):
        self._count = 0
        self._window: MPI.Win | None = None
        if not isinstance(comm, OneProcess):
            from mpi4py import MPI

            self._window = MPI.Win.Allocate(8 if comm.rank == 0 else 0, 8, comm=comm)
            if comm.rank == 0:
                self._window.tomemory()[:] = bytes(8)
            comm.Barrier()
            # One lock for good: asking for it each time would wait for rank 0 to enter MPI.
            self._window.Lock_all()

    def next(self) -> int:
        """Take the next number."""
        return self._fetch_and_add(1)

    def stop(self) -> None:
        """Let every rank's next number be out of any range, for example after an error."""
        self._fetch_and_add(self._STOPPED)

    def _fetch_and_add(self, increment: int) -> int:
        if self._window is None:
            self._count += increment
            return self._count - increment
        import numpy as np

        add, before = np.array([increment], dtype="i8"), np.empty(1, dtype="i8")
        self._window.Fetch_and_op(add, before, 0)
        self._window.Flush(0)
        return int(before[0])

    def close(self) -> None:
        """Release the memory. Collective over the communicator of the constructor."""
        if self._window is not None:
            self._window.Unlock_all()
            self._window.Free()
            self._window = None


def _describe(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, G3ReduceError) else f"{type(error).__name__}: {text}"


def describe_rank(comm: Comm) -> str:
    """How messages name this rank: nothing at all where there is only one."""
    return f" on rank {comm.rank}" if comm.size > 1 else ""
