"""Agreements between ranks: an error on one of them is raised on all, arguments are compared."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from operator import index
from typing import Any, TypeVar

from ..errors import G3ReduceError, RemoteError, UsageError, text_of
from . import launchers, meetings
from .communicators import Comm, is_no_rank

T = TypeVar("T")


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
