"""The communicator that strategies get on simulated ranks: it carries, and lets time pass."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g3reduce.limits import LIMITS
from g3reduce.mpi import transfer
from g3reduce.strategies.traffic import Traffic

from .miniature import PAYLOAD, Bill
from .ranks import Ranks
from .wires import Wires

Array = NDArray[np.generic]

SMALL = 64  # bytes of a Python object that says what comes
LIMITS_SMALL = 2**16  # bytes that a meeting carries along


class Exchange:
    """What all ranks share: messages that wait, and meetings that are going on.

    Parameters
    ----------
    ranks : Ranks
    wires : Wires
    bill : Bill
    """

    def __init__(self, ranks: Ranks, wires: Wires, bill: Bill):
        self.ranks = ranks
        self.wires = wires
        self.bill = bill
        self._sent: dict[tuple[int, int], deque[list[Any]]] = defaultdict(deque)
        self._wanted: set[tuple[int, int]] = set()
        self._met: list[tuple[int, Any]] = []
        self._answers: list[Any] = []

    def send(self, dest: int, value: Any, nbytes: float, *, wait: bool = True) -> None:
        """Send something; go on when it is there."""
        ranks, mine = self.ranks, self.ranks.current
        link = mine, dest
        message = [value, nbytes, ranks.clocks[mine], wait]
        self._sent[link].append(message)
        if link in self._wanted:
            self._wanted.discard(link)
            ranks.wake(dest, ranks.clocks[dest])
        if wait:
            ranks.wait()

    def receive(self, source: int) -> Any:
        """Take what the other rank sends, as soon as it does."""
        ranks, mine = self.ranks, self.ranks.current
        link = source, mine
        while not self._sent[link]:
            self._wanted.add(link)
            ranks.wait()
        value, nbytes, since, waits = self._sent[link].popleft()
        end = self.wires.carry(source, mine, nbytes, max(since, ranks.clocks[mine]))
        ranks.clocks[mine] = end
        if waits:
            ranks.wake(source, max(end, ranks.clocks[source]))
        else:  # it swaps, and goes on when it has sent, too
            ranks.clocks[source] = max(end, ranks.clocks[source])
        return value

    def meet(self, value: Any, join: Callable[[list[Any]], tuple[list[Any], float]]) -> Any:
        """Bring values of all ranks together; the last one to come joins them.

        Parameters
        ----------
        value : object
            Of this rank.
        join : callable
            From the values of all, to what each gets, and the seconds that it takes.
        """
        ranks, mine = self.ranks, self.ranks.current
        self._met.append((mine, value))
        if len(self._met) < ranks.size:
            ranks.wait()
            return self._answers[mine]
        values = [one for _, one in sorted(self._met, key=lambda item: item[0])]
        self._met = []
        self._answers, seconds = join(values)
        end = max(ranks.clocks) + seconds
        for rank in range(ranks.size):
            if rank == mine:
                ranks.clocks[rank] = end
            else:
                ranks.wake(rank, end)
        return self._answers[mine]


class _Comm:
    """What strategies use of a communicator beside its counting."""

    def __init__(self, exchange: Exchange, rank: int):
        self._exchange = exchange
        self.rank, self.size = rank, exchange.ranks.size

    def send(self, value: Any, dest: int) -> None:
        self._exchange.send(dest, value, SMALL)

    def recv(self, source: int) -> Any:
        return self._exchange.receive(source)

    def allgather(self, value: Any) -> list[Any]:
        meeting = self._exchange.wires.profile.meeting
        found: list[Any] = self._exchange.meet(value, lambda all_: ([all_] * self.size, meeting))
        return found


class SimulatedTraffic(Traffic):
    """As `g3reduce.strategies.Traffic`, between simulated ranks.

    Parameters
    ----------
    exchange : Exchange
    rank : int
    """

    def __init__(self, exchange: Exchange, rank: int):
        comm: Any = _Comm(exchange, rank)
        super().__init__(comm)
        self._exchange = exchange
        self._bill = exchange.bill

    def send(self, array: Array, dest: int) -> None:
        """As `Traffic.send`."""
        for piece in self._pieces(array):
            self._exchange.send(dest, piece, self._bill.bytes_of(piece))
            self._count(piece, None)

    def receive(self, array: Array, source: int) -> None:
        """As `Traffic.receive`."""
        for piece in self._pieces(array):
            np.copyto(piece, self._exchange.receive(source))
            self._count(None, piece)

    def exchange(self, outgoing: Array, dest: int, incoming: Array, source: int) -> None:
        """As `Traffic.exchange`."""
        for piece in self._pieces(outgoing):
            self._exchange.send(dest, piece.copy(), self._bill.bytes_of(piece), wait=False)
            self._count(piece, None)
        for piece in self._pieces(incoming):
            np.copyto(piece, self._exchange.receive(source))
            self._count(None, piece)

    def broadcast(self, array: Array, root: int = 0) -> None:
        """As `Traffic.broadcast`."""

        def join(values: list[Any]) -> tuple[list[Any], float]:
            return [
                values[root]
            ] * self.size, self._exchange.wires.profile.meeting / 2 + self._tree(array)

        got = self._exchange.meet(array.copy() if self.rank == root else None, join)
        np.copyto(array, got)
        self._count(array, None) if self.rank == root else self._count(None, array)

    def allreduce(self, array: Array, operation: str) -> None:
        """As `Traffic.allreduce`."""
        combine = np.bitwise_or if operation == "BOR" else np.add
        for piece in self._pieces(array):
            nbytes = self._bill.bytes_of(piece)

            def join(values: list[Any], nbytes: float = nbytes) -> tuple[list[Any], float]:
                total = combine.reduce(values, dtype=values[0].dtype)
                seconds = self._exchange.wires.profile.allreducing(nbytes)
                if nbytes < LIMITS_SMALL:
                    seconds = self._exchange.wires.profile.meeting
                return [total] * self.size, seconds

            np.copyto(piece, self._exchange.meet(piece.copy(), join))
            self._count(piece, piece)

    def reduce(self, array: Array, total: Array | None, operation: str, root: int) -> None:
        """As `Traffic.reduce`."""
        nbytes = self._bill.bytes_of(array)

        def join(values: list[Any]) -> tuple[list[Any], float]:
            joined = np.add.reduce(values, dtype=values[0].dtype)
            return [joined] * self.size, self._exchange.wires.profile.reducing(nbytes)

        got = self._exchange.meet(array.copy(), join)
        if total is not None:
            np.copyto(total, got)
        self._count(array, total)

    def reduce_scatter(self, parts: Array, mine: Array, operation: str) -> None:
        """As `Traffic.reduce_scatter`."""
        nbytes = self._bill.bytes_of(parts)

        def join(values: list[Any]) -> tuple[list[Any], float]:
            joined = np.add.reduce(values, dtype=values[0].dtype)
            return list(joined), self._exchange.wires.profile.scattering(nbytes)

        np.copyto(mine, self._exchange.meet(parts.copy(), join))
        self._count(parts, mine)

    def alltoall(
        self, outgoing: Array, to: NDArray[np.int64], incoming: Array, of: NDArray[np.int64]
    ) -> None:
        """As `Traffic.alltoall`."""
        ends = np.cumsum(to)
        flat = outgoing.reshape(-1).copy()
        parts = [flat[end - count : end] for end, count in zip(ends, to, strict=True)]

        def join(values: list[Any]) -> tuple[list[Any], float]:
            size = len(values)
            sizes = np.array([[self._bill.bytes_of(part) for part in row] for row in values])
            np.fill_diagonal(sizes, 0)  # what a rank keeps takes next to no time
            most = max(sizes.sum(axis=0).max(), sizes.sum(axis=1).max())
            nbytes = float(most) * size / (size - 1)  # as if all parts were equal
            return list(zip(*values, strict=True)), self._exchange.wires.profile.swapping(nbytes)

        got = self._exchange.meet(parts, join)
        np.concatenate(got, out=incoming.reshape(-1))
        self._count(outgoing, incoming)

    def _tree(self, array: Array) -> float:
        return float(self._bill.bytes_of(array) / self._exchange.wires.profile.bandwidth)

    def _pieces(self, array: Array) -> Any:
        """Planes are cut by the limit for miniatures, whatever else by the real one."""
        if array.dtype == PAYLOAD:
            return transfer.pieces(array)
        return transfer.pieces(array, LIMITS.message_piece * self._bill.row_bytes)

    def _count(self, out: Array | None, into: Array | None) -> None:
        self.messages += out is not None and out.size > 0
        self.bytes_sent += 0 if out is None else int(self._bill.bytes_of(out))
        self.bytes_received += 0 if into is None else int(self._bill.bytes_of(into))
