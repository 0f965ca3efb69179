"""Frames on their way from readers to workers: who sends what, when, and to whom.

A worker that wants data sends a ticket to a reader, and the reader answers with one frame, as
serialized bytes. So frames go to the worker that is free, and no more of them than there are
tickets are under way.

All else goes to every worker, and each reader sends it only when its data so far have gone. Where
the first reader has a metadata frame in its stream to a worker, the others have a mark, and a
worker goes on when it has come to that place in all streams. So every data frame comes between
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

# Tags: what readers send, and what workers send (a ticket, or that they have come to the end).
_STREAM, _REQUEST = 1, 2
_TICKET, _FAREWELL = 1, 2

# Frames up to this size travel inside their header, in one message.
_SMALL = 32 * 2**10

# How long a worker without a frame waits for the readers it has asked before it asks another.
_IMPATIENCE_S = 2e-3


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
        Of a frame: what it is when serialized.
    name : str
        Of metadata and their marks: by which readers agree that they stand at the same place.
    count : int
        Of an end: the data frames that the reader has sent to this worker.
    """

    what: str
    unit: Any = None
    content: bytes | bytearray = b""
    name: str = ""
    count: int = 0


@dataclass(frozen=True)
class _UnderWay:
    """A parcel that MPI may not have delivered yet, and what must stay in memory until then."""

    worker: int
    what: str
    requests: list[Any]
    buffers: list[Any]


class Sender:
    """The reader's side.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Readers first, then workers.
    n_readers : int
        How many of its ranks are readers.
    read_ahead : int
        Frames that wait here, at most, for workers to ask for them.
    metadata_ahead : int
        Metadata frames on their way to one worker, at most.
    """

    def __init__(
        self, comm: MPI.Intracomm, n_readers: int, read_ahead: int = 2, metadata_ahead: int = 4
    ):
        self._comm = comm
        self._workers = list(range(n_readers, comm.size))
        self._read_ahead = read_ahead
        self._metadata_ahead = metadata_ahead
        self._shelf: deque[Parcel] = deque()
        self._tickets: deque[int] = deque()
        self._under_way: list[_UnderWay] = []
        self._at_end: set[int] = set()
        self.sent = dict.fromkeys(self._workers, 0)

    def data(self, content: bytes, unit: Any) -> None:
        """Give a data frame to one worker, when it asks. Waits while too many do not."""
        self._shelf.append(Parcel(DATA, unit, content))
        self._serve_until(lambda: len(self._shelf) <= self._read_ahead, "workers to ask for frames")

    def flush(self) -> None:
        """Wait until workers have asked for all data so far."""
        self._serve_until(lambda: not self._shelf, "workers to ask for the last frames")

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
        """Do what can be done at once."""
        self._take_requests()
        while self._shelf and self._tickets:
            worker = self._tickets.popleft()
            self.sent[worker] += 1
            self._send(worker, self._shelf.popleft())
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
    """The worker's side.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        Readers first, then workers.
    n_readers : int
        How many of its ranks are readers.
    ahead : int
        Data frames that are asked for before the one at hand is done.
    """

    def __init__(self, comm: MPI.Intracomm, n_readers: int, ahead: int = 1):
        self._comm = comm
        self._readers = list(range(n_readers))
        self._ahead = ahead
        self._ready: deque[Parcel] = deque()
        self._asked = dict.fromkeys(self._readers, False)
        # Readers whose data are not to be taken before the others stand at the same place.
        self._standing: dict[int, Parcel] = {}
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
            if len(self._standing) == len(self._readers):
                return self._go_on()
            self._wait_for_parcel()

    def _wait_for_parcel(self) -> None:
        if not any(self._asked[reader] for reader in self._running()):
            self._ask()
        asked_at = time.monotonic()

        def something() -> bool:
            nonlocal asked_at
            if self._take_any():
                return True
            if time.monotonic() - asked_at > _IMPATIENCE_S:
                asked_at = time.monotonic()
                self._ask()
            return False

        waiting.wait(something, "frames from readers")

    def _running(self) -> list[int]:
        return [reader for reader in self._readers if reader not in self._standing]

    def _take_any(self) -> bool:
        """Take one message of a reader from which one may come."""
        for reader in self._running():
            if self._comm.Iprobe(reader, _STREAM):
                parcel = self._receive(reader)
                if parcel.what == DATA:
                    self._asked[reader] = False
                    self.received[reader] += 1
                    self._ready.append(parcel)
                else:
                    self._standing[reader] = parcel
                return True
        return False

    def _go_on(self) -> Parcel | None:
        """Go on behind the place at which all readers stand; return the metadata there."""
        standing = dict(self._standing)
        self._standing.clear()
        first = standing[self._readers[0]]
        for reader, parcel in standing.items():
            if parcel.name != first.name:
                raise MismatchError(
                    f"Readers do not see the same metadata: where rank {self._readers[0]} has "
                    f"{first.name or 'its end'}, rank {reader} has {parcel.name or 'its end'}. "
                    "Give all readers the same files, and let no module on a reader make or take "
                    "out metadata frames that it does not on the others."
                )
        if first.what != END:
            return first
        for reader, parcel in standing.items():
            if parcel.count != self.received[reader]:
                raise G3ReduceError(
                    f"Rank {reader} sent {parcel.count} data frames to rank {self._comm.rank}, "
                    f"which received {self.received[reader]}. Frames were lost on the way; please "
                    "report this."
                )
            self._comm.Send(bytes([_FAREWELL]), reader, _REQUEST)
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
            if reader not in self._standing and not self._asked[reader]:
                self._asked[reader] = True
                self._comm.Send(bytes([_TICKET]), reader, _REQUEST)
                return


__all__ = ["DATA", "END", "MARK", "METADATA", "Parcel", "Receiver", "Sender"]
