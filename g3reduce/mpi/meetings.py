"""Meetings of ranks: one small exchange tells where each rank is, and whether its work has failed.

Ranks that are at different places get an error that says so, instead of taking each other's
messages for their own. Ranks that wait for one that has come to the end of its script get one, too.
The exchange is not blocking, and each rank learns the words of every other, so that one exchange is
enough for all of this.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..errors import G3ReduceError, UsageError
from ..limits import LIMITS
from . import jobend, ownership, waiting

# The place of a rank that has come to the end of its script.
_THE_END = 0


class ApartError(UsageError):
    """Ranks are at different places, so that there is nothing more that they could do together."""


class Answers(NamedTuple):
    """The outcome of a meeting, by rank.

    Attributes
    ----------
    failed : list of bool
        Which ranks have failed.
    numbers : list of int
        The numbers that the ranks brought.
    """

    failed: list[bool]
    numbers: list[int]


class _Exchange(NamedTuple):
    """An exchange under way; its buffers must live as long as MPI may use them."""

    request: Any
    mine: Any
    everywhere: Any


# By their handles: communicators on which others may wait for this process; those on which there
# are no meetings any more, and why; of these the ones on which a meeting was left by an exception.
# And what is under way on the last.
_met: dict[int, Any] = {}
_over: dict[int, str] = {}
_left: dict[int, Any] = {}
_under_way: list[_Exchange] = []


def begin(comm: Any) -> None:
    """Take note of a communicator of our own: others may wait on it until this process ends."""
    _answer_at_end()
    end(comm)  # handles come again
    _met[comm.handle] = comm


def end(comm: Any) -> None:
    """Forget a communicator that is being freed."""
    for known in (_met, _over, _left):
        known.pop(comm.handle, None)


def come_together(comm: Any, what: str, *, failed: bool = False, number: int = 0) -> Answers:
    """Meet at a place. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    what : str
        The place, as messages put it after "is at".
    failed : bool
        Whether the work of this rank has failed.
    number : int
        Of 64 bits, for any use: the other ranks get it.

    Returns
    -------
    Answers

    Raises
    ------
    ApartError
        If the others are at another place, or one has come to its end. On all ranks that are not.
    """
    if comm.size == 1:
        return Answers([failed], [number])
    if comm.handle in _over:
        raise ApartError(_over[comm.handle])
    waiting.meet(comm, what)
    exchange = _say(comm, _number_of(what), failed, number)
    with counted_on(comm, what):
        try:
            _wait(exchange)
        except BaseException:  # what was said cannot be taken back
            _under_way.append(exchange)
            raise
    places = exchange.everywhere[:, 0].tolist()
    if places.count(places[0]) < len(places):
        _refuse(comm, what, places)
    failures, numbers = exchange.everywhere[:, 1:].T.tolist()
    return Answers([bool(each) for each in failures], numbers)


@contextlib.contextmanager
def counted_on(comm: Any, what: str) -> Iterator[None]:
    """Let this rank not meet others any more if it leaves work in which these count on it.

    A signal may bring it out of there, or a lack of memory. Then it ends the job at its own end, if
    the others are still there. What all ranks raise together is no such error.

    Parameters
    ----------
    comm : communicator
        On another one than `private` gave there are no meetings, and this does nothing.
    what : str
        As of `come_together`.
    """
    try:
        yield
    except BaseException as error:
        common = isinstance(error, G3ReduceError) or getattr(error, "reporter", None) is not None
        if not common and comm.handle in _met:
            _left[comm.handle] = comm
            _give_up(comm, f"Rank {comm.rank} did not wait for the others at {what}.")
        raise


@contextlib.contextmanager
def first_meeting(comm: Any) -> Iterator[None]:
    """Print a message if collective work in which no rank can be woken takes long."""
    timer = threading.Timer(
        LIMITS.first_meeting_message_s, _print_that_ranks_are_missing, (comm.rank, comm.size)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _print_that_ranks_are_missing(rank: int, size: int) -> None:
    sys.stderr.write(
        f"g3reduce: rank {rank} of {size} has waited {LIMITS.first_meeting_message_s:g} s for the "
        "others to make their first module or guard on this communicator. Does each rank do so?\n"
    )
    sys.stderr.flush()


def _say(comm: Any, place: int, failed: bool = False, number: int = 0) -> _Exchange:
    mine = np.array([place, failed, number], np.int64)
    everywhere = np.empty((comm.size, len(mine)), np.int64)
    return _Exchange(comm.Iallgather(mine, everywhere), mine, everywhere)


def _wait(exchange: _Exchange) -> None:
    pause = waiting.pauses()
    while not exchange.request.Test():
        pause()


@functools.cache
def _number_of(what: str) -> int:
    return int.from_bytes(hashlib.sha256(what.encode()).digest()[:7], "little") + 1


def _give_up(comm: Any, why: str) -> None:
    """Refuse further meetings on a communicator: not all ranks would come, or not to the same."""
    if _met.pop(comm.handle, None) is not None:
        _over[comm.handle] = why


def _refuse(comm: Any, what: str, places: list[int]) -> None:
    ended = [rank for rank, place in enumerate(places) if place == _THE_END]
    here = [rank for rank, place in enumerate(places) if place != _THE_END]
    all_alike = "All ranks must make the same modules and do the same work together."
    if ended:
        text = (
            f"Rank {', '.join(map(str, ended))} has come to its end, while rank {comm.rank} waits "
            f"for it at {what}. {all_alike}"
        )
        _give_up(comm, text)
    else:
        places = comm.allgather(what)
        others = next(rank for rank, place in enumerate(places) if place != places[0])
        text = f"Rank 0 is at {places[0]}, but rank {others} is at {places[others]}. {all_alike}"
    error = ApartError(text)
    error.reporter = ownership.world_ranks(comm)[min(here)]
    raise error


@functools.cache
def _answer_at_end() -> None:
    """Tell ranks that wait for this process of its end; also where a script ends MPI itself."""
    from mpi4py import MPI

    def before_finalize(comm: Any, keyval: int, value: object) -> None:
        jobend.run_at_end()

    jobend.at_end(_answer, first=True)
    MPI.COMM_SELF.Set_attr(MPI.Comm.Create_keyval(delete_fn=before_finalize), True)


def _answer() -> None:
    """Tell all ranks that this process has come to its end, and wait until they know.

    Collective, but other ranks may be anywhere.
    """
    exchanges = [_say(comm, _THE_END) for comm in _met.values()]
    doubtful = [(_say(comm, _THE_END), _over[handle]) for handle, comm in _left.items()]
    _met.clear()
    _left.clear()
    for exchange in exchanges:
        _wait(exchange)
    end = time.monotonic() + LIMITS.meeting_end_s
    for exchange, why in doubtful:
        pause = waiting.pauses()
        while not exchange.request.Test():
            # They may be in work in which they cannot receive this, and wait for this rank.
            if time.monotonic() > end:
                jobend.end_job(f"g3reduce: {why} It has come to its end, and ends the job.")
            pause()
