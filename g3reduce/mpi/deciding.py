"""One rank decides for all: reports go to it alone, and all hear what it has decided, or why not.

So no other rank's memory grows with the number of ranks. Reports go from each rank to that one, in
the order of the ranks, one at a time; what it has decided comes back down a tree. All of it is
messages between two ranks. Inside of a guard all ranks meet first, in a wait that can be ended;
then none leaves before all is done: a message that it did not take would be taken for the next one.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from ..errors import G3ReduceError
from . import meetings, transfer, waiting
from .agreement import raise_together, world_rank
from .communicators import Comm

R = TypeVar("R")
D = TypeVar("D")

_REPORT, _DECISION = 31, 32

# The bytes of the length before a report; and what stands there if it could not be made.
_HEAD, _FAILED = 8, -1


def decide_at(
    comm: Comm,
    root: int,
    report: R,
    decide: Callable[[Sequence[R]], D],
    *,
    what: str,
    pack: Callable[[R], bytes] = pickle.dumps,
    unpack: Callable[[bytes], R] = pickle.loads,
    told: Callable[[D], object] = lambda decision: decision,
) -> D:
    """Let one rank decide on the reports of all. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    root : int
        The rank that decides.
    report : object
        That of this rank.
    decide : callable
        Called on `root` with the reports of all ranks, in their order; returns what it decides.
    what : str
        The occasion, as messages put it after "waiting for".
    pack, unpack : callable
        Make bytes of a report, and a report of bytes; neither is called for that of `root`.
    told : callable
        What the other ranks are told of what `decide` has returned.

    Returns
    -------
    object
        On `root` what `decide` has returned, elsewhere what is `told` of it.

    Raises
    ------
    G3ReduceError
        If `decide` has raised it: on all ranks, one like it.
    Exception
        Any other, where it was raised; `RemoteError` on the other ranks.
    """
    if comm.size == 1:
        return decide([report])
    waiting.meet(comm, "a comparison")
    decision, failure, message = None, None, b""
    with meetings.counted_on(comm, "a comparison"):
        if comm.rank == root:
            try:
                reports = list(_reports(comm, report, unpack, what))
                try:
                    decision = decide(reports)
                except Exception as error:  # of any kind: all ranks raise together
                    failure, message = error, _bad_news(error)
                else:
                    message = pickle.dumps((True, told(decision)), protocol=5)
            except Exception as error:
                failure = None if isinstance(error, _NotMade) else error
                message = pickle.dumps((False, None))
        else:
            failure = _send_report(comm, root, report, pack, what)
        message = _down_the_tree(comm, root, message, what)
    good, heard = pickle.loads(message)
    if good:
        return heard if comm.rank != root else decision  # type: ignore[return-value]
    if heard is None:
        raise_together(comm, failure)
    raise heard if comm.rank != root or failure is None else failure


def _bad_news(error: Exception) -> bytes:
    """What others are told in place of a decision: an error to raise, if it can be sent."""
    if isinstance(error, G3ReduceError):
        error.reporter = world_rank()
        try:
            message = pickle.dumps((False, error), protocol=5)
            pickle.loads(message)
        except Exception:  # of a class that somebody else has derived
            error.reporter = None
        else:
            return message
    return pickle.dumps((False, None))


def _reports(comm: Comm, mine: R, unpack: Callable[[bytes], R], what: str) -> Iterator[R]:
    """The reports of all ranks, in their order; all are received, also if one is no good."""
    failed: Exception | None = None
    for rank in range(comm.size):
        if rank == comm.rank:
            yield mine
            continue
        packed = _receive(comm, rank, _REPORT, what)
        if packed is None:
            failed = failed or _NotMade()
        elif failed is None:
            try:
                yield unpack(packed)
            except Exception as error:  # the others are to be received all the same
                failed = error
    if failed is not None:
        raise failed


class _NotMade(Exception):
    """Some rank has no report, and says itself why."""


def _send_report(
    comm: Comm, root: int, report: R, pack: Callable[[R], bytes], what: str
) -> Exception | None:
    """Send the report of this rank; return why it could not be made, if so."""
    try:
        packed = pack(report)
    except Exception as error:  # of any kind: all ranks raise together
        _send(comm, None, root, _REPORT, what)
        return error
    _send(comm, packed, root, _REPORT, what)
    return None


def _down_the_tree(comm: Comm, root: int, message: bytes, what: str) -> bytes:
    """Bring bytes from `root` to all ranks, each of which passes them on."""
    place, size = (comm.rank - root) % comm.size, comm.size
    step = 1
    while step < size and not place & step:
        step *= 2
    if place:
        above = (place - step + root) % size
        message = _receive(comm, above, _DECISION, what) or b""
    while (step := step // 2) > 0:
        if place + step < size:
            _send(comm, message, (place + step + root) % size, _DECISION, what)
    return message


def _send(comm: Any, content: bytes | None, dest: int, tag: int, what: str) -> None:
    """Send bytes, or that there are none; their length stands before them."""
    length = _FAILED if content is None else len(content)
    buffer = np.frombuffer(length.to_bytes(_HEAD, "little", signed=True) + (content or b""), "u1")
    requests = [comm.Isend(piece, dest, tag) for piece in transfer.pieces(buffer)]
    for request in requests:
        waiting.wait_out(request.Test, what)


def _receive(comm: Any, source: int, tag: int, what: str) -> bytes | None:
    """What `_send` has sent."""
    from mpi4py import MPI

    status = MPI.Status()
    received = bytearray()
    whole = _HEAD
    while len(received) < whole:
        waiting.wait_out(lambda: comm.Iprobe(source, tag, status), what)
        piece = np.empty(status.Get_count(MPI.BYTE), np.uint8)
        comm.Recv(piece, source, tag)
        received += piece.data
        whole = _HEAD + int.from_bytes(received[:_HEAD], "little", signed=True)
    return bytes(memoryview(received)[_HEAD:]) if whole >= _HEAD else None
