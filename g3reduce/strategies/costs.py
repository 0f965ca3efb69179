"""The cost of a reduction: the figures of a machine, and the profile of what is to be joined.

Each strategy computes its `cost` from a profile. The models are simple (a latency for each message,
a bandwidth for its bytes, the time of adding): good enough to compare strategies, and anyone can
follow why one was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# To join less than this for each rank never takes long, so that the machine need not be measured.
WORTH_MEASURING = 2**20


@dataclass(frozen=True)
class Machine:
    """The figures of a machine. The default ones are those of a usual cluster.

    Attributes
    ----------
    latency_between, latency_within : float
        Seconds that a message takes by itself, between nodes and inside a node.
    bandwidth_between, bandwidth_within : float
        Bytes per second: of one node's link to the others; of each rank inside a node, while all
        others send, too.
    adding : float
        Bytes per second that each rank adds to others, while all ranks do.
    """

    latency_between: float = 5e-6
    latency_within: float = 2e-6
    bandwidth_between: float = 8e9
    bandwidth_within: float = 4e9
    adding: float = 4e9


@dataclass(frozen=True)
class Profile:
    """The sizes of a reduction: what is joined, and where the result goes.

    Attributes
    ----------
    ranks, ranks_per_node : int
        How many there are.
    held, largest : float
        Bytes that a rank holds: the mean, and the most.
    union : float
        Bytes of the rows that any rank holds.
    result : str
        Where the result goes: ``"root"``, ``"all"`` or ``"sharded"``.
    direct : bool
        Whether the ranks of a node join their sums in each other's memory first.
    node_union : float or None
        Bytes of the rows that any rank of a node holds, at most. None: as `union_of` estimates.
    machine : Machine
        How fast it is.
    """

    ranks: int
    ranks_per_node: int
    held: float
    largest: float
    union: float
    result: str = "root"
    direct: bool = False
    node_union: float | None = None
    machine: Machine = Machine()

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return -(-self.ranks // self.ranks_per_node)

    @property
    def latency(self) -> float:
        """Seconds that a message takes by itself."""
        return self.link(self.ranks - 1)[0]

    @property
    def bandwidth(self) -> float:
        """Bytes per second while few ranks of each node send."""
        return self.link(self.ranks - 1)[1]

    @property
    def bandwidth_of_all(self) -> float:
        """Bytes per second of each rank while all send to all, and share the link of their node."""
        return self.bandwidth / (self.ranks_per_node if self.nodes > 1 else 1)

    def link(self, distance: int) -> tuple[float, float]:
        """Latency and bandwidth between ranks that are `distance` apart."""
        machine = self.machine
        if distance < self.ranks_per_node:
            return machine.latency_within, machine.bandwidth_within
        return machine.latency_between, machine.bandwidth_between

    def adding(self, nbytes: float) -> float:
        """Seconds to add, or to copy, that many bytes."""
        return nbytes / self.machine.adding

    def union_of(self, ranks: int) -> float:
        """Bytes of the union of what some of the ranks hold.

        A power of their number that is right for one rank and for all of them: so it is right for
        footprints that are disjoint, and for those that are all the same.
        """
        if self.ranks == 1 or not self.held:
            return self.union
        growth = math.log(max(1.0, self.union / self.held)) / math.log(self.ranks)
        return float(min(self.union, self.held * ranks**growth))

    def cost_of_shards(self) -> float:
        """Seconds to bring shards of the result, which are done, to where it goes."""
        if self.result == "sharded":
            return 0.0
        others = self.ranks - 1
        return (
            others * self.latency
            + others / self.ranks * self.union / self.bandwidth
            + self.adding(self.union)
        )

    def cost_on_node(self) -> float:
        """Seconds in which the ranks of each node join their sums in each other's memory."""
        union = self.union if self.node_union is None else self.node_union
        # Each reads its slice from all, adds it, and writes it to one or all.
        moved = 2 * self.held + union * (1.0 if self.result == "all" else 1 / self.ranks_per_node)
        return self.adding(moved) + 2 * self.ranks_per_node * self.machine.latency_within

    def of_first_ranks(self) -> Profile:
        """The profile of the first ranks of all nodes, which hold the sums of their nodes."""
        held = self.union_of(min(self.ranks_per_node, self.ranks))
        if self.node_union is not None:
            held = self.node_union
        return replace(
            self,
            ranks=self.nodes,
            ranks_per_node=1,
            held=held,
            largest=held,
            direct=False,
            node_union=None,
        )
