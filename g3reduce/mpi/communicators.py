"""Communicators: which one a module works on, and how ranks agree.

Nothing here touches MPI at import. With one process MPI is never initialised at all, so the same
code runs on a login node where MPI must not start and on a machine that has none.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ..errors import G3ReduceError, RemoteError, UsageError, text_of
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
    """What is known of this process."""

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
            "mpicomm=g3reduce.mpi.communicators.OneProcess()."
        )
    if mpicomm is None:
        mpicomm = MPI.COMM_WORLD
    if mpicomm == MPI.COMM_WORLD:
        launchers.check_world(mpicomm.size, MPI.Get_library_version().splitlines()[0])
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
    kept: Any = comm.Get_attr(_keyval())
    if kept is None:
        waiting.meet(comm, "the making of a communicator")
        with meetings.first_meeting(comm):
            kept = Kept(comm.Dup())
        meetings.begin(kept.comm)
        comm.Set_attr(_keyval(), kept)
        # What works on the private communicator finds itself.
        kept.comm.Set_attr(_keyval(), kept)
    own: MPI.Intracomm = kept.comm
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


class Kept:
    """What is kept with a communicator.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
        The private duplicate.
    on_free : list of callable
        What else is to be freed with it, collectively, the last first.
    things : dict
        Anything that belongs to the communicator, by the name of whoever put it there.
    """

    def __init__(self, comm: MPI.Intracomm):
        self.comm = comm
        self.on_free: list[Callable[[], None]] = []
        self.things: dict[str, Any] = {}


def kept_with(comm: MPI.Intracomm) -> Kept:
    """What is kept with a communicator that `private` gave."""
    kept: Any = comm.Get_attr(_keyval())
    return kept  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=1)
def _keyval() -> int:
    from mpi4py import MPI

    def free(comm: MPI.Comm, keyval: int, kept: Kept) -> None:
        if comm == kept.comm:  # the duplicate itself, which is being freed here
            return
        for release in reversed(kept.on_free):
            release()
        meetings.end(kept.comm)
        kept.comm.Free()

    return MPI.Comm.Create_keyval(delete_fn=free)


def agree(comm: Comm, error: BaseException | None = None) -> None:
    """Raise on all ranks if there is an error on any. Collective over `comm`.

    This precedes the collective work in which ranks would wait for one that never comes.

    Parameters
    ----------
    comm : communicator
    error : BaseException, optional
        What went wrong on this rank.

    Raises
    ------
    Exception
        `error` itself on the ranks that have one. Its ``reporter`` is the first rank with the
        same text (its rank in the world), so that one message need not be shown by every rank.
    RemoteError
        On the ranks that have none.
    """
    if not any(meetings.come_together(comm, "an agreement", failed=error is not None)):
        return
    mine = None if error is None else (world_rank(), describe_error(error))
    told = comm.allgather(mine)
    failures = {rank: said[1] for rank, said in enumerate(told) if said is not None}
    reporters: dict[str, int] = {}
    for said in told:
        if said is not None:
            reporters.setdefault(said[1], said[0])
    if error is None:
        remote = RemoteError(failures)
        remote.reporter = next(iter(reporters.values()))
        raise remote
    if isinstance(error, G3ReduceError):
        error.reporter = reporters[describe_error(error)]
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
    text = _repr(value)
    meetings.come_together(comm, what[:1].lower() + what[1:])
    # A digest: lists of files may be long, and ranks many.
    digests = comm.allgather(hashlib.sha256(text.encode()).digest())
    rank = next((rank for rank, other in enumerate(digests) if other != digests[0]), None)
    if rank is None:
        return
    texts = comm.allgather(_shortened(text) if comm.rank in (0, rank) else "")
    agree(
        comm,
        UsageError(
            f"{what} must be the same on all ranks: it is {texts[0]} on rank 0, but "
            f"{texts[rank]} on rank {rank}."
        ),
    )


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # of somebody else's __repr__; the others must not wait
        return f"({type(value).__name__}: its __repr__ failed with {type(error).__name__})"


def _shortened(text: str, length: int = 500) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"


def world_rank() -> int:
    """The rank of this process in the world, by which messages and the command line name it."""
    if is_no_rank():
        return 0
    if launchers.size_of_running_mpi():
        return int(sys.modules["mpi4py.MPI"].COMM_WORLD.rank)
    started = launchers.launched()
    return started.rank if started else 0


def describe_error(error: BaseException) -> str:
    """How an error is told to other ranks."""
    text = text_of(error)
    return text if isinstance(error, G3ReduceError) else f"{type(error).__name__}: {text}"


def describe_rank(comm: Comm) -> str:
    """How messages name this rank: nothing at all where there is only one."""
    return f" on rank {comm.rank}" if comm.size > 1 else ""


def rank_of(root: Any, comm: Comm) -> int:
    """The rank that an argument ``root`` names.

    Raises
    ------
    UsageError
        If it names none.
    """
    try:
        rank = index(root)
    except TypeError:
        rank = -1
    if not 0 <= rank < comm.size:
        raise UsageError(f"root is {root!r}; expected a rank, 0 to {comm.size - 1}.")
    return rank
