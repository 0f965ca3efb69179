"""What a reduction did."""

from __future__ import annotations

from dataclasses import dataclass

ONE_RANK = "none"
ON_NODE = "on-node"


@dataclass(frozen=True)
class Statistics:
    """What reductions did, as this rank saw it. Those of several can be added.

    Attributes
    ----------
    strategy : str
        How sums were joined: the name of the strategy, ``"on-node"`` if shared memory was all that
        it took, ``"none"`` if there was one rank.
    why : str
        Why this one.
    ranks, nodes : int
        How many there were.
    shared : bool
        Whether ranks of a node have joined their sums in shared memory.
    bytes_sent, bytes_received, messages : int
        By this rank, see `g3reduce.strategies.traffic.Traffic`.
    bytes_mapped : int
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
    shared: bool = False
    bytes_sent: int = 0
    bytes_received: int = 0
    messages: int = 0
    bytes_mapped: int = 0
    seconds: float = 0.0
    predicted: float = 0.0

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            strategy=_both(self.strategy, other.strategy, ", "),
            why=_both(self.why, other.why, "; "),
            ranks=max(self.ranks, other.ranks),
            nodes=max(self.nodes, other.nodes),
            shared=self.shared or other.shared,
            bytes_sent=self.bytes_sent + other.bytes_sent,
            bytes_received=self.bytes_received + other.bytes_received,
            messages=self.messages + other.messages,
            bytes_mapped=self.bytes_mapped + other.bytes_mapped,
            seconds=self.seconds + other.seconds,
            predicted=self.predicted + other.predicted,
        )

    def __str__(self) -> str:
        memory = "shared" if self.shared else "private"
        return (
            f"{self.strategy} on {self.ranks} ranks, {self.nodes} nodes, {memory} memory: "
            f"{self.seconds:.3g} s ({self.predicted:.3g} s predicted), "
            f"{_size(self.bytes_sent)} sent, {_size(self.bytes_received)} received in "
            f"{self.messages} messages, {_size(self.bytes_mapped)} mapped"
        )


def _both(first: str, second: str, separator: str) -> str:
    parts = dict.fromkeys([*first.split(separator), *second.split(separator)])
    return separator.join(parts)


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e6:.3g} MB"
