"""Communicators: which one a module works on, and what is kept with it.

Nothing here touches MPI at import. With one process MPI is never initialised at all, so the same
code runs on a login node where MPI must not start and on a machine that has none.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import UsageError
from . import launchers, meetings, ownership, waiting
from .jobend import end_job_on_exception

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")


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

    def Free(self) -> None:
        """Release nothing."""


Comm: TypeAlias = "MPI.Intracomm | OneProcess"


class _Process:
    """Facts about this process."""

    forked_off_mpi = False  # from a rank: MPI is of no use here


def _note_fork() -> None:
    mpi = sys.modules.get("mpi4py.MPI")
    _Process.forked_off_mpi |= mpi is not None and mpi.Is_initialized()


os.register_at_fork(after_in_child=_note_fork)


def is_no_rank() -> bool:
    """Whether this process was begun by another one, of a pool for example, and not by a launcher.

    It may have the launcher's variables in its environment, and, if it was forked off, MPI in its
    memory. But messages would be those of the process that began it.
    """
    pools = sys.modules.get("multiprocessing.process")
    return _Process.forked_off_mpi or (pools is not None and pools.parent_process() is not None)


def require_rank(comm: Comm) -> None:
    """Refuse to use a communicator of several ranks where `is_no_rank`.

    Raises
    ------
    UsageError
        If it cannot be used here.
    """
    if not isinstance(comm, OneProcess) and is_no_rank() and comm.size > 1:
        raise UsageError(
            f"The process {os.getpid()} was begun by another one (by fork, or multiprocessing) and "
            "is no rank of MPI: with a communicator of several ranks it would take the messages "
            "of that process, and change its sums. Work with mpicomm=None and new objects here, "
            "and bring results back to the rank that began it."
        )


def resolve(mpicomm: Comm | None) -> Comm:
    """The communicator that an argument ``mpicomm`` stands for.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm, OneProcess or None
        None stands for the world if a launcher (mpirun, mpiexec, srun, ...) started several
        processes, if MPI is running with several ranks, or if ``G3REDUCE_MPI=1`` is in the
        environment, else for one process without MPI: also in processes that a rank has begun, see
        `is_no_rank`.

    Raises
    ------
    UsageError
        If this is no communicator, MPI is not running, the launcher and the MPI library do not
        know of each other, so that every process would do the whole work, or if this process is no
        rank.
    """
    if isinstance(mpicomm, OneProcess):
        return mpicomm
    if mpicomm is None and (is_no_rank() or not launchers.several()):
        return OneProcess()
    from mpi4py import MPI

    if not MPI.Is_initialized() or MPI.Is_finalized():
        raise UsageError(
            "MPI is not running: mpi4py was told not to start it (mpi4py.rc.initialize), or it was "
            "finalized. Call MPI.Init() before, or give "
            "mpicomm=g3reduce.mpi.OneProcess()."
        )
    if mpicomm is None:
        mpicomm = MPI.COMM_WORLD
    if mpicomm == MPI.COMM_WORLD:
        launchers.check_world(mpicomm.size, launchers.named(MPI.Get_library_version()))
    if not isinstance(mpicomm, MPI.Intracomm) or mpicomm == MPI.COMM_NULL:
        raise UsageError(
            f"mpicomm is {mpicomm!r} ({type(mpicomm).__name__}); expected an intracommunicator of "
            "mpi4py, or None."
        )
    require_rank(mpicomm)
    return mpicomm


def private(mpicomm: Comm | None) -> Comm:
    """A communicator of our own over the same ranks. Collective over `mpicomm`.

    It is made once for each communicator, kept with it, and freed with it. So nothing leaks,
    however many modules there are and however they end.

    From the first call with several ranks on, a rank that is lost ends the whole job: see
    `end_job_on_exception`.
    """
    comm = resolve(mpicomm)
    if isinstance(comm, OneProcess) or comm.size == 1:
        return OneProcess()
    end_job_on_exception()
    cache: Any = comm.Get_attr(_keyval())
    if cache is None:
        waiting.meet(comm, "the making of a communicator")
        with meetings.first_meeting(comm):
            cache = CommCache(comm.Dup())
        meetings.begin(cache.comm)
        comm.Set_attr(_keyval(), cache)
        # The duplicate of a private communicator is that communicator itself.
        cache.comm.Set_attr(_keyval(), cache)
    own: MPI.Intracomm = cache.comm
    return own


def duplicate(mpicomm: Comm | None) -> Comm:
    """A communicator for one module alone, over the same ranks. Collective over `mpicomm`.

    For modules whose messages may still be under way when they end by an error. The caller frees
    it with ``Free()``; a guard does so after an error.
    """
    comm = resolve(mpicomm)
    if isinstance(comm, OneProcess) or comm.size == 1:
        return OneProcess()
    # The user's communicator is not one on which ranks could say where they are.
    meetings.come_together(private(comm), "the making of a reader, a distributor or a guard")
    waiting.meet(comm, "the making of a communicator")
    mine: Comm = ownership.own(comm.Dup())
    waiting.made(mine.key)  # type: ignore[union-attr]
    return mine


def split(comm: Comm, color: int) -> Any:
    """A communicator of those ranks of `comm` that give the same `color`; as `duplicate`."""
    if isinstance(comm, OneProcess):
        return comm
    part = ownership.own(comm.Split(color, comm.rank))
    waiting.made(part.key)
    return part


class CommCache:
    """Objects that are made once for a communicator and freed with it.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
        The private duplicate.
    on_free : list of callable
        Frees what else there is, collectively, the last first.
    entries : dict
        By names that their makers choose.
    """

    def __init__(self, comm: MPI.Intracomm):
        self.comm = comm
        self.on_free: list[Callable[[], None]] = []
        self.entries: dict[str, Any] = {}


def cache_of(comm: MPI.Intracomm) -> CommCache:
    """The cache of a communicator that `private` gave."""
    cache: Any = comm.Get_attr(_keyval())
    return cache  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=1)
def _keyval() -> int:
    from mpi4py import MPI

    def free(comm: MPI.Comm, keyval: int, cache: CommCache) -> None:
        if comm == cache.comm:  # the duplicate itself, which is being freed here
            return
        for release in reversed(cache.on_free):
            release()
        meetings.end(cache.comm)
        cache.comm.Free()

    return MPI.Comm.Create_keyval(delete_fn=free)
