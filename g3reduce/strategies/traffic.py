"""A communicator that counts what goes through it, and the account of a reduction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..mpi import transfer, waiting
from ..progress.htmltables import table_of

if TYPE_CHECKING:
    from mpi4py import MPI

Array = NDArray[np.generic]

# Names for what was done where no strategy was needed; see `Statistics.strategy`.
ONE_RANK = "none"
ON_NODE = "on-node"

# Why a strategy was taken; see `Statistics.why`.
NAMED = "named by the user"

_FIGURES = r"\d[\d.]*(e[+-]\d+)?"


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

    def tree(self) -> tuple[list[int], int | None]:
        """The links of this rank in a binomial tree, whose root is rank 0.

        Returns
        -------
        sources : list of int
            The ranks from which it gets something, in the order of ranks.
        dest : int or None
            The rank to which it sends something then; None for rank 0.
        """
        sources: list[int] = []
        distance = 1
        while distance < self.size:
            if self.rank & distance:
                return sources, self.rank - distance
            if self.rank + distance < self.size:
                sources.append(self.rank + distance)
            distance *= 2
        return sources, None

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
        waiting.moved()
        self.messages += out is not None and out.size > 0
        self.bytes_sent += 0 if out is None else out.nbytes
        self.bytes_received += 0 if into is None else into.nbytes


@dataclass(frozen=True)
class Statistics:
    """The account of a reduction, as this rank saw it. Those of several can be added.

    Attributes
    ----------
    strategy : str
        How sums were joined: the name of the strategy, ``"on-node"`` if the ranks of one node have
        joined them in their memory, ``"none"`` if there was one rank.
    why : str
        Why this one. Of several reasons that differ in figures alone, the first.
    ranks, nodes : int
        How many there were.
    direct : bool
        Whether ranks of a node have joined their sums in each other's memory.
    bytes_sent, bytes_received, messages : int
        By this rank, see `g3reduce.strategies.Traffic`.
    bytes_direct : int
        Bytes of other ranks' memory that this rank has read or written.
    seconds : float
        Of the joining itself, from the choice of the strategy on.
    predicted : float
        The seconds that the cost model gave.
    """

    strategy: str = ONE_RANK
    why: str = "there is one rank"
    ranks: int = 1
    nodes: int = 1
    direct: bool = False
    bytes_sent: int = 0
    bytes_received: int = 0
    messages: int = 0
    bytes_direct: int = 0
    seconds: float = 0.0
    predicted: float = 0.0

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            strategy=_both(self.strategy, other.strategy, ", "),
            why=_reasons(self.why, other.why),
            ranks=max(self.ranks, other.ranks),
            nodes=max(self.nodes, other.nodes),
            direct=self.direct or other.direct,
            bytes_sent=self.bytes_sent + other.bytes_sent,
            bytes_received=self.bytes_received + other.bytes_received,
            messages=self.messages + other.messages,
            bytes_direct=self.bytes_direct + other.bytes_direct,
            seconds=self.seconds + other.seconds,
            predicted=self.predicted + other.predicted,
        )

    def __str__(self) -> str:
        how = "in the memory of nodes" if self.direct else "by messages"
        return (
            f"{self.strategy} (ranks: {self.ranks}, nodes: {self.nodes}, {how}): "
            f"{self.seconds:.3g} s ({self.predicted:.3g} s predicted), "
            f"{_size(self.bytes_sent)} sent, {_size(self.bytes_received)} received in "
            f"{self.messages} messages, {_size(self.bytes_direct)} directly"
        )

    def _repr_html_(self) -> str:
        """The same as a small table, for notebooks."""
        facts = {
            "ranks": f"{self.ranks}",
            "nodes": f"{self.nodes}",
            "joined": "in the memory of nodes" if self.direct else "by messages",
            "seconds": f"{self.seconds:.3g}",
            "predicted": f"{self.predicted:.3g}",
            "sent": _size(self.bytes_sent),
            "received": _size(self.bytes_received),
            "messages": f"{self.messages}",
            "directly": _size(self.bytes_direct),
            "why": self.why,
        }
        return table_of(("strategy", self.strategy), list(facts.items()), "How sums were joined")


def _both(first: str, second: str, separator: str) -> str:
    parts = dict.fromkeys([*first.split(separator), *second.split(separator)])
    return separator.join(parts)


def _reasons(first: str, second: str) -> str:
    """Both reasons, each once: as many coadds are joined, as many figures would be listed."""
    told = first.split("; ")
    known = {re.sub(_FIGURES, "", one) for one in told}
    for one in second.split("; "):
        without = re.sub(_FIGURES, "", one)
        if without not in known:
            known.add(without)
            told.append(one)
    return "; ".join(told)


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e6:.3g} MB"


def _operation(name: str) -> Any:
    from mpi4py import MPI

    return getattr(MPI, name)


def _counts(numbers: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Counts and displacements as MPI wants them."""
    return numbers.tolist(), (np.cumsum(numbers) - numbers).tolist()
