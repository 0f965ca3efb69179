"""Messages by which readers send frames to workers, in an order that keeps metadata in place.

A worker that wants data sends a ticket to a reader, and the reader answers with one frame, as
serialized bytes. So frames go to the worker that is free, and no more of them than there are
tickets are under way.

All other frames are metadata, which go to every worker. A reader sends them only when its earlier
data have gone. The first reader sends the frame itself, the others a mark in its place, and a
worker goes on when it has reached that point in all streams. So every data frame comes between
the same metadata as in the input. Messages between a pair of ranks keep their order::

    from the first reader   DATA DATA METADATA DATA ... METADATA END
    from another one        DATA      MARK     DATA DATA MARK     END
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import G3ReduceError, MismatchError
from ..mpi import transfer, waiting

if TYPE_CHECKING:
    from mpi4py import MPI

DATA, METADATA, MARK, END = "data", "metadata", "mark", "end"

# Tags of the messages of readers, and of those of workers.
_STREAM, _REQUEST = 1, 2
# Messages of workers: a request for one data frame, and that they have received the end, after data
# of any reader or after none.
_TICKET, _AT_END, _AT_END_WITHOUT = 1, 2, 3

# Frames up to this size travel inside their header, in one message.
_SMALL = 32 * 2**10

# How long a worker without a frame waits for the readers it has asked before it asks another.
_ASK_ANOTHER_S = 2e-3


@dataclass(frozen=True)
class Parcel:
    """A message from a reader to a worker.

    Attributes
    ----------
    what : str
        `DATA`, `METADATA`, `MARK` or `END`.
    unit : object
        Of a frame: its unit.
    content : bytes or bytearray
        Of a frame: its serialized bytes.
    name : str
        Of metadata and their marks: the name of the frame, which must be the same from all readers.
    count : int
        Of an end: how many data frames the reader has sent to this worker.
    """

    what: str
    unit: Any = None
    content: bytes | bytearray = b""
    name: str = ""
    count: int = 0


@dataclass(frozen=True)
class _UnderWay:
    """A parcel that MPI may not have delivered yet, and the buffers that must live until then."""

    worker: int
    what: str
    requests: list[Any]
    buffers: list[Any]


class Sender:
    """Sends the frames of one reader to the workers.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Readers first, then workers.
    n_readers : int
        How many of its ranks are readers.
    read_ahead : int
        The most data frames that wait here until workers ask for them.
    metadata_ahead : int
        The most metadata frames that are on their way to one worker.

    Attributes
    ----------
    data_came : bool
        At the end: whether data of any reader have come to any worker.
    """

    def __init__(
        self, comm: MPI.Intracomm, n_readers: int, read_ahead: int = 2, metadata_ahead: int = 4
    ):
        self._comm = comm
        self._workers = list(range(n_readers, comm.size))
        self._read_ahead = read_ahead
        self._metadata_ahead = metadata_ahead
        self._queue: deque[Parcel] = deque()
        self._tickets: deque[int] = deque()
        self._under_way: list[_UnderWay] = []
        self._at_end: set[int] = set()
        self.data_came = False
        self.sent = dict.fromkeys(self._workers, 0)

    def data(self, content: bytes, unit: Any) -> None:
        """Send a data frame to the next worker that asks. Waits while too many are queued."""
        self._queue.append(Parcel(DATA, unit, content))
        self._serve_until(lambda: len(self._queue) <= self._read_ahead, "workers to ask for frames")

    def flush(self) -> None:
        """Wait until workers have asked for all data so far."""
        self._serve_until(lambda: not self._queue, "workers to ask for the last frames")

    def metadata(self, content: bytes | None, unit: Any, name: str) -> None:
        """Send a metadata frame to all workers, behind all data so far.

        All readers call this in the same order; one of them gives the content. Waits for workers
        that are far behind.
        """
        self.flush()
        parcel = Parcel(MARK, name=name)
        if content is not None:
            parcel = Parcel(METADATA, unit, content, name)
        for worker in self._workers:
            self._wait_for_room(worker)
            self._send(worker, parcel)

    def end(self) -> None:
        """End all streams, and wait until every worker has come to its end."""
        self.flush()
        for worker in self._workers:
            self._send(worker, Parcel(END, count=self.sent[worker]))
        self._serve_until(
            lambda: len(self._at_end) == len(self._workers) and not self._under_way,
            "workers to end",
        )

    def _serve_until(self, enough: Callable[[], bool], what: str) -> None:
        def served() -> bool:
            self._serve()
            return enough()

        waiting.wait(served, what)

    def _serve(self) -> None:
        """Send what workers have asked for, without waiting, and forget what was delivered."""
        self._take_requests()
        while self._queue and self._tickets:
            worker = self._tickets.popleft()
            self.sent[worker] += 1
            self._send(worker, self._queue.popleft())
        self._under_way = [
            parcel for parcel in self._under_way if not all(r.Test() for r in parcel.requests)
        ]

    def _take_requests(self) -> None:
        from mpi4py import MPI

        status, kind = MPI.Status(), bytearray(1)
        while self._comm.Iprobe(MPI.ANY_SOURCE, _REQUEST, status):
            self._comm.Recv(kind, status.source, _REQUEST)
            if kind[0] == _TICKET:
                self._tickets.append(status.source)
            else:
                self._at_end.add(status.source)
                self.data_came |= kind[0] == _AT_END

    def _send(self, worker: int, parcel: Parcel) -> None:
        size = len(parcel.content)
        inside = parcel.content if size <= _SMALL else b""
        header = pickle.dumps((parcel.what, parcel.unit, inside, parcel.name, parcel.count, size))
        # Metadata count as under way until the worker begins to take them.
        send = self._comm.Issend if parcel.what == METADATA else self._comm.Isend
        requests = [send(header, worker, _STREAM)]
        if size > _SMALL:
            content = np.frombuffer(parcel.content, np.uint8)
            requests += [
                self._comm.Isend(piece, worker, _STREAM) for piece in transfer.pieces(content)
            ]
        self._under_way.append(_UnderWay(worker, parcel.what, requests, [header, parcel.content]))
        waiting.moved()

    def _wait_for_room(self, worker: int) -> None:
        def has_room() -> bool:
            ahead = [p for p in self._under_way if p.worker == worker and p.what == METADATA]
            return len(ahead) < self._metadata_ahead

        self._serve_until(has_room, f"rank {worker} to take metadata")


class Receiver:
    """Receives the frames of all readers on one worker.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Readers first, then workers.
    n_readers : int
        How many of its ranks are readers.
    ahead : int
        Data frames that are asked for while the worker works on another.
    """

    def __init__(self, comm: MPI.Intracomm, n_readers: int, ahead: int = 1):
        self._comm = comm
        self._readers = list(range(n_readers))
        self._ahead = ahead
        self._ready: deque[Parcel] = deque()
        self._asked = dict.fromkeys(self._readers, False)
        # By reader: the metadata, mark or end up to which its stream was received. Nothing more is
        # received from it until the others have reached the same point.
        self._reached: dict[int, Parcel] = {}
        self._turn = comm.rank  # so that workers do not all begin with the same reader
        self.received = dict.fromkeys(self._readers, 0)

    def next(self) -> Parcel | None:
        """The next frame, data or metadata; None when all readers have ended.

        Raises
        ------
        G3ReduceError
            If frames were lost on the way.
        MismatchError
            If readers do not see the same metadata.
        """
        while True:
            if self._ready:
                parcel = self._ready.popleft()
                # The one after it may come while this one is worked on.
                if len(self._ready) + sum(self._asked.values()) < self._ahead:
                    self._ask()
                return parcel
            if len(self._reached) == len(self._readers):
                return self._go_on()
            self._wait_for_parcel()

    def _wait_for_parcel(self) -> None:
        if not any(self._asked[reader] for reader in self._running()):
            self._ask()
        asked_at = time.monotonic()

        def take_or_ask() -> bool:
            nonlocal asked_at
            if self._take_any():
                return True
            if time.monotonic() - asked_at > _ASK_ANOTHER_S:
                asked_at = time.monotonic()
                self._ask()
            return False

        waiting.wait(take_or_ask, "frames from readers")

    def _running(self) -> list[int]:
        return [reader for reader in self._readers if reader not in self._reached]

    def _take_any(self) -> bool:
        """Receive one message, if any, from a reader that has not reached the next point."""
        for reader in self._running():
            if self._comm.Iprobe(reader, _STREAM):
                parcel = self._receive(reader)
                if parcel.what == DATA:
                    self._asked[reader] = False
                    self.received[reader] += 1
                    self._ready.append(parcel)
                else:
                    self._reached[reader] = parcel
                return True
        return False

    def _go_on(self) -> Parcel | None:
        """Go on behind the point that all readers have reached; return the metadata there."""
        reached = dict(self._reached)
        self._reached.clear()
        first = reached[self._readers[0]]
        for reader, parcel in reached.items():
            if parcel.name != first.name:
                raise MismatchError(
                    f"Readers do not see the same metadata: where rank {self._readers[0]} has "
                    f"{first.name or 'its end'}, rank {reader} has {parcel.name or 'its end'}. "
                    "Give all readers the same files, and let modules on readers add or remove the "
                    "same metadata frames on all of them."
                )
        if first.what != END:
            return first
        for reader, parcel in reached.items():
            if parcel.count != self.received[reader]:
                raise G3ReduceError(
                    f"Rank {reader} sent {parcel.count} data frames to rank {self._comm.rank}, "
                    f"which received {self.received[reader]}. Frames were lost on the way; please "
                    "report this."
                )
        answer = _AT_END if any(self.received.values()) else _AT_END_WITHOUT
        for reader in reached:
            self._comm.Send(bytes([answer]), reader, _REQUEST)
        return None

    def _receive(self, reader: int) -> Parcel:
        from mpi4py import MPI

        status = MPI.Status()
        self._comm.Probe(reader, _STREAM, status)
        header = bytearray(status.Get_count(MPI.BYTE))
        self._comm.Recv(header, reader, _STREAM)
        what, unit, content, name, count, size = pickle.loads(header)
        if size > _SMALL:
            content = bytearray(size)
            transfer.receive(self._comm, np.frombuffer(content, np.uint8), reader, _STREAM)
        waiting.moved()
        return Parcel(what, unit, content, name, count)

    def _ask(self) -> None:
        """Send a ticket to the next reader that may have data and was not asked yet."""
        for _ in self._readers:
            reader = self._readers[self._turn % len(self._readers)]
            self._turn += 1
            if reader not in self._reached and not self._asked[reader]:
                self._asked[reader] = True
                self._comm.Send(bytes([_TICKET]), reader, _REQUEST)
                return


__all__ = ["DATA", "END", "MARK", "METADATA", "Parcel", "Receiver", "Sender"]
