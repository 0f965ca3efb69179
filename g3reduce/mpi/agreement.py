"""Agreements between ranks: an error on one of them is raised on all, arguments are compared."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import index
from typing import Any, NoReturn, TypeVar

from ..errors import G3ReduceError, RemoteError, UsageError, text_of
from . import launchers, meetings
from .communicators import Comm, OneProcess, is_no_rank

T = TypeVar("T")

# The arguments inside of `arguments_together`, by the handle of the communicator.
_compared_later: dict[int, dict[str, str]] = {}


def agree(
    comm: Comm,
    error: BaseException | None = None,
    what: str = "an agreement",
    when_met: Callable[[], None] | None = None,
) -> None:
    """Raise on all ranks if there is an error on any. Collective over `comm`.

    It is one small exchange; texts of errors are exchanged in a second one, if there are any.
    This precedes the collective work in which ranks would wait for one that never comes.

    Parameters
    ----------
    comm : communicator
    error : BaseException, optional
        What went wrong on this rank.
    what : str
        The place, as messages put it after "is at".
    when_met : callable, optional
        Called as soon as all ranks have come, whether there are errors or not.

    Raises
    ------
    Exception
        `error` itself on the ranks that have one. Its ``reporter`` is the first rank with the
        same text (its rank in the world), so that one message need not be shown by every rank.
    RemoteError
        On the ranks that have none.
    """
    answers = meetings.come_together(comm, what, failed=error is not None)
    if when_met is not None:
        when_met()
    if any(answers.failed):
        raise_together(comm, error)


def raise_together(comm: Comm, error: BaseException | None) -> NoReturn:
    """Raise on all ranks what has failed on some. Collective over `comm`."""
    mine = None if error is None else (world_rank(), describe_error(error))
    everywhere = comm.allgather(mine)
    failures = {rank: failed[1] for rank, failed in enumerate(everywhere) if failed is not None}
    reporters: dict[str, int] = {}
    for failed in everywhere:
        if failed is not None:
            reporters.setdefault(failed[1], failed[0])
    if error is None:
        remote = RemoteError(failures)
        remote.reporter = next(iter(reporters.values()))
        raise remote
    with contextlib.suppress(Exception):  # there are exceptions with slots, and worse
        error.reporter = reporters[mine[1]]  # type: ignore[attr-defined, index]
    raise error


def collectively(
    comm: Comm, work: Callable[[], T], when_met: Callable[[], None] | None = None
) -> T:
    """Do `work` on each rank and raise on all if it failed on any. Collective over `comm`.

    The work must be local: ranks that wait for each other in it would wait for ever if one failed.
    Collective work of other libraries is for `foreign.together`. `when_met` is as in `agree`.
    """
    result, failure = None, None
    try:
        result = work()
    except Exception as error:  # of any kind: all ranks raise together
        failure = error
    agree(comm, failure, when_met=when_met)
    return result  # type: ignore[return-value]


def from_all(comm: Comm, work: Callable[[], T]) -> list[T]:
    """Do work on each rank and bring all results to all, or a failure. Collective over `comm`."""
    return comm.allgather(collectively(comm, work))


def gather_packed(comm: Comm, mine: T, pack: Callable[[T], bytes]) -> list[T]:
    """The objects of all ranks, by rank. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    mine : object
        That of this rank.
    pack : callable
        Pickles it. If that fails on any rank, all raise. With one rank it is not called.
    """
    if comm.size == 1:
        return [mine]
    everywhere = from_all(comm, lambda: pack(mine))
    return collectively(comm, lambda: [pickle.loads(theirs) for theirs in everywhere])


def from_rank(comm: Comm, root: int, work: Callable[[], T]) -> T:
    """Do `work` on one rank and bring its result to all, or its failure. Collective over `comm`."""
    mine = collectively(comm, lambda: work() if comm.rank == root else None)
    return comm.bcast(mine, root)  # type: ignore[return-value]


def agreed_arguments(
    comm: Comm, what: str, check: Callable[[], tuple[T, Mapping[str, object]]]
) -> T:
    """Check arguments on each rank and compare them with those of the others, in one exchange.

    Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    what : str
        Whose arguments, as a sentence begins: "The arguments of coadd_files".
    check : callable
        Checks the arguments of this rank. It returns what is made of them, and by name the values
        that must be the same on all ranks.

    Returns
    -------
    object
        What `check` made of the arguments.

    Raises
    ------
    Exception
        Where `check` raised it; `RemoteError` on the other ranks.
    UsageError
        On all ranks, if a value is not the same on all.
    """
    with arguments_together(comm, what) as values:
        result, same = check()
        values.update({name: _repr(value) for name, value in same.items()})
    return result


@contextmanager
def arguments_together(comm: Comm, what: str) -> Iterator[dict[str, str]]:
    """Let `agreed_arguments` inside of this context be one exchange, at its end.

    Collective over `comm`. Inside, ranks must not wait for each other otherwise.

    Parameters
    ----------
    comm, what
        As in `agreed_arguments`.

    Yields
    ------
    dict of str to str
        What is to be compared.

    Raises
    ------
    Exception, UsageError
        As `agreed_arguments`.
    """
    handle = 0 if isinstance(comm, OneProcess) else comm.handle
    if handle in _compared_later:
        yield _compared_later[handle]
        return
    values: dict[str, str] = {}
    failure = None
    if handle:
        _compared_later[handle] = values
    try:
        yield values
    except Exception as error:  # of any kind: all ranks raise together
        failure = error
    finally:
        _compared_later.pop(handle, None)
    answers = meetings.come_together(
        comm, what[0].lower() + what[1:], failed=failure is not None, number=_digest(repr(values))
    )
    if any(answers.failed):
        raise_together(comm, failure)
    if len(set(answers.numbers)) > 1:
        raise_together(comm, _difference(comm, what, values))


def same_everywhere(comm: Comm, what: str, value: object) -> None:
    """Raise `UsageError` on all ranks unless `value` is the same on all. Collective over `comm`."""
    agreed_arguments(comm, what, lambda: (None, {"it": value}))


def _difference(comm: Comm, what: str, values: Mapping[str, str]) -> UsageError:
    """The error that names the first value that differs, and two ranks. Collective over `comm`."""
    # Only digests of all: lists of files may be long, and ranks many.
    everywhere = comm.allgather([_digest(text) for text in values.values()])
    name, rank = next(
        (name, rank)
        for number, name in enumerate(values)
        for rank, digests in enumerate(everywhere)
        if digests[number] != everywhere[0][number]
    )
    texts = comm.allgather(_shortened(values[name]) if comm.rank in (0, rank) else "")
    return UsageError(
        f"{what} must be the same on all ranks: {name} is {texts[0]} on rank 0, but {texts[rank]} "
        f"on rank {rank}."
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # of somebody else's __repr__; the others must not wait
        return f"({type(value).__name__}: its __repr__ failed with {type(error).__name__})"


def _shortened(text: str, length: int = 500) -> str:
    return text if len(text) <= length else f"{text[:length]}... ({len(text)} characters)"


def world_rank() -> int:
    """The rank of this process in the world; messages and the command line use it."""
    if is_no_rank():
        return 0
    if launchers.size_of_running_mpi():
        return int(sys.modules["mpi4py.MPI"].COMM_WORLD.rank)
    started = launchers.launched()
    return started.rank if started else 0


def describe_error(error: BaseException) -> str:
    """The text of an error, as other ranks get it."""
    text = text_of(error)
    return text if isinstance(error, G3ReduceError) else f"{type(error).__name__}: {text}"


def describe_rank(comm: Comm) -> str:
    """The words for this rank in messages; empty where there is only one."""
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
