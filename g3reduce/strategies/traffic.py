"""What goes between ranks, and how much of it."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..mpi import transfer

if TYPE_CHECKING:
    from mpi4py import MPI

Array = NDArray[np.generic]


class Traffic:
    """A communicator that counts what goes through it. All arrays are contiguous.

    Collective calls count as what this rank hands to the library and gets from it; how often the
    library sends it on is its own business. Small numbers that say what comes are not counted.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
    rank, size : int
        Of `comm`.
    bytes_sent, bytes_received, messages : int
        The messages are those that were sent, in pieces, and the collective calls.
    """

    def __init__(self, comm: MPI.Intracomm):
        self.comm = comm
        self.rank: int = comm.rank
        self.size: int = comm.size
        self.bytes_sent = 0
        self.bytes_received = 0
        self.messages = 0

    def send(self, array: Array, dest: int) -> None:
        """Send an array to a rank that calls `receive` with one of its size."""
        for piece in transfer.pieces(array):
            self.comm.Send(piece, dest)
            self._count(piece, None)

    def receive(self, array: Array, source: int) -> None:
        """Receive what `send` sent."""
        for piece in transfer.pieces(array):
            self.comm.Recv(piece, source)
            self._count(None, piece)

    def exchange(self, outgoing: Array, dest: int, incoming: Array, source: int) -> None:
        """Send to one rank while receiving from another."""
        from mpi4py import MPI

        nothing: Array = np.empty(0, np.uint8)
        both = zip_longest(transfer.pieces(outgoing), transfer.pieces(incoming))
        for out, into in both:
            to = MPI.PROC_NULL if out is None else dest
            of = MPI.PROC_NULL if into is None else source
            out, into = nothing if out is None else out, nothing if into is None else into
            self.comm.Sendrecv(out, to, recvbuf=into, source=of)
            self._count(out, into)

    def broadcast(self, array: Array, root: int = 0) -> None:
        """Bring `root`'s array to all ranks. Collective."""
        for piece in transfer.pieces(array):
            self.comm.Bcast(piece, root)
            self._count(piece, None) if self.rank == root else self._count(None, piece)

    def allreduce(self, array: Array, operation: str) -> None:
        """Join an array in place, on all ranks. Collective."""
        from mpi4py import MPI

        for piece in transfer.pieces(array):
            self.comm.Allreduce(MPI.IN_PLACE, piece, _operation(operation))
            self._count(piece, piece)

    def reduce(self, array: Array, total: Array | None, operation: str, root: int) -> None:
        """Join arrays of at most one piece into `total`, which `root` has. Collective."""
        self.comm.Reduce(array, total, _operation(operation), root)
        self._count(array, total)

    def reduce_scatter(self, parts: Array, mine: Array, operation: str) -> None:
        """Join equal parts, of which each rank gets one. Collective."""
        self.comm.Reduce_scatter_block(parts, mine, _operation(operation))
        self._count(parts, mine)

    def alltoall(
        self, outgoing: Array, to: NDArray[np.int64], incoming: Array, of: NDArray[np.int64]
    ) -> None:
        """Send to every rank its part; the numbers of elements are given. Collective."""
        self.comm.Alltoallv(
            [outgoing.reshape(-1), _counts(to)], [incoming.reshape(-1), _counts(of)]
        )
        self._count(outgoing, incoming)

    def _count(self, out: Array | None, into: Array | None) -> None:
        self.messages += out is not None and out.size > 0
        self.bytes_sent += 0 if out is None else out.nbytes
        self.bytes_received += 0 if into is None else into.nbytes


def _operation(name: str) -> Any:
    from mpi4py import MPI

    return getattr(MPI, name)


def _counts(numbers: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Counts and displacements as MPI wants them."""
    return numbers.tolist(), (np.cumsum(numbers) - numbers).tolist()
