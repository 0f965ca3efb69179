"""Exchange of parts of arrays between all ranks, without copies of the whole.

In each round a rank sends to one other and receives from one other, as the pairwise algorithm of
``MPI_Alltoallv`` does. Parts may lie anywhere in larger arrays. Only a few pieces of some MiB are
under way at a time; each comes into a buffer that stays in the cache, and is copied from there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..limits import LIMITS

if TYPE_CHECKING:
    from mpi4py import MPI

Array = NDArray[Any]


def swap(
    comm: Any,
    outgoing: Callable[[int], Iterable[Array]],
    incoming: Callable[[int], Iterable[Array]],
) -> None:
    """Exchange pieces of arrays between all ranks. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    outgoing : callable
        ``outgoing(rank)`` gives the pieces for a rank, also for this one.
    incoming : callable
        ``incoming(rank)`` gives the places of the pieces from a rank: views of as many elements of
        the same dtypes, in the same order as that rank's `outgoing` has them. None of either is
        larger than `LIMITS.swap_piece`, unless it is one element.
    """
    for mine, place in zip(outgoing(comm.rank), incoming(comm.rank), strict=True):
        place[...] = mine
    for away in range(1, comm.size):
        to, source = (comm.rank + away) % comm.size, (comm.rank - away) % comm.size
        _Round(comm, to, source).run(iter(outgoing(to)), iter(incoming(source)))


class _Round:
    """Pieces for one rank, and from another.

    All ranks wait in the same order: for the first piece that comes, the first that goes, the
    second that comes, and so on, while the next ones are under way. So the one that is furthest
    behind can always go on, whether or not MPI buffers messages that are not received yet.
    """

    def __init__(self, comm: MPI.Intracomm, to: int, source: int):
        self._comm, self._to, self._source = comm, to, source
        self._coming: deque[tuple[Any, Array, Array]] = deque()
        self._going: deque[tuple[Any, Array]] = deque()
        self._number = self._gone = 0

    def run(self, outgoing: Iterator[Array], incoming: Iterator[Array]) -> None:
        """Send and receive all."""
        self._post(incoming)
        self._send(outgoing, 0)
        turn = 0
        while self._coming or self._going:
            turn += 1
            if self._coming:
                request, came, place = self._coming.popleft()
                request.Wait()
                if came is not place:
                    place[...] = came.reshape(place.shape)
                self._post(incoming)
            self._send(outgoing, turn)

    def _post(self, incoming: Iterator[Array]) -> None:
        while len(self._coming) < LIMITS.swap_incoming:
            place = next(incoming, None)
            if place is None:
                return
            came = place if place.flags.c_contiguous else self._scratch(place)
            self._coming.append((self._comm.Irecv(came, self._source), came, place))

    def _send(self, outgoing: Iterator[Array], turn: int) -> None:
        """Send more, once as many pieces have gone as there were turns."""
        while self._going:
            request = self._going[0][0]
            if not (request.Wait() if self._gone < turn else request.Test()):
                break
            self._going.popleft()
            self._gone += 1
        while len(self._going) < LIMITS.swap_outgoing:
            piece = next(outgoing, None)
            if piece is None:
                return
            piece = np.ascontiguousarray(piece)
            self._going.append((self._comm.Isend(piece, self._to), piece))

    def _scratch(self, place: Array) -> Array:
        self._number = (self._number + 1) % LIMITS.swap_incoming
        raw = buffer(f"swap {self._number}", max(LIMITS.swap_piece, place.nbytes))
        return raw[: place.nbytes].view(place.dtype)
