"""The cost of a reduction: the figures of a machine, and the profile of what is to be joined.

Each strategy computes its `cost` from a profile. The models are simple (a latency for each message,
a bandwidth for its bytes, the time of adding): good enough to compare strategies, and anyone can
follow why one was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..limits import LIMITS

# To join less than this for each rank never takes long, so that the machine need not be measured.
WORTH_MEASURING = 2**20


@dataclass(frozen=True)
class Machine:
    """The figures of a machine. The default ones are those of a usual cluster.

    Attributes
    ----------
    latency_between, latency_within : float
        Seconds that a message takes by itself, between nodes and inside a node.
    meeting : float or None
        Seconds in which all ranks that take part in a strategy meet: more than a few messages
        take where there are more ranks than cores. None: as a tree of messages takes.
    bandwidth_between, bandwidth_within : float
        Bytes per second: of one node's link to the others; of each rank inside a node, while all
        others send, too.
    alone_within : float
        Bytes per second of a message inside a node while no other one is under way.
    adding : float
        Bytes per second that each rank adds to others, while all ranks do.
    fresh : float
        Bytes per second of memory that is new to the process, to be filled.
    direct : float
        Bytes per second that each rank reads from the memory of another one of its node.
    reducing, allreducing, scattering, swapping : float or None
        Bytes per second, of what each rank hands to the library's ``MPI_Reduce``,
        ``MPI_Allreduce``, ``MPI_Reduce_scatter_block`` and ``MPI_Alltoallv`` on these ranks. None:
        as known algorithms take with the figures above.
    """

    latency_between: float = 5e-6
    latency_within: float = 2e-6
    meeting: float | None = None
    bandwidth_between: float = 8e9
    bandwidth_within: float = 4e9
    alone_within: float = 8e9
    adding: float = 4e9
    fresh: float = 4e9
    direct: float = 4e9
    reducing: float | None = None
    allreducing: float | None = None
    scattering: float | None = None
    swapping: float | None = None


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
    planes : int
        How many there are: each is joined for itself.
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
    planes: int = 1
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
        if self.nodes > 1:
            return self.bandwidth / self.ranks_per_node
        return self.machine.bandwidth_within

    def link(self, distance: int, pairs: int = 1) -> tuple[float, float]:
        """Latency and bandwidth between ranks that are `distance` apart.

        Parameters
        ----------
        distance : int
        pairs : int
            How many of them have a message under way at a time.
        """
        machine = self.machine
        if distance < self.ranks_per_node:
            if pairs <= self.nodes:
                return machine.latency_within, machine.alone_within
            # Only one of each pair sends, which leaves twice as much as while all do.
            return machine.latency_within, min(machine.alone_within, 2 * machine.bandwidth_within)
        return machine.latency_between, machine.bandwidth_between

    @property
    def meeting(self) -> float:
        """Seconds in which all ranks meet."""
        if self.machine.meeting is not None:
            return self.machine.meeting
        return 2 * math.log2(max(self.ranks, 2)) * self.latency

    def calls(self, nbytes: float, piece: int) -> float:
        """How many messages bytes of all planes take, in pieces."""
        return max(float(self.planes), nbytes / piece)

    def messages(self, nbytes: float, pairs_apart: int = 0) -> float:
        """Seconds that messages with so many bytes of rows take, beside those of their bytes."""
        latency = self.link(pairs_apart or self.ranks - 1)[0]
        return (2 + self.calls(nbytes, LIMITS.message_piece)) * latency  # 2: which rows they are

    def adding(self, nbytes: float) -> float:
        """Seconds to add, or to copy, that many bytes."""
        return nbytes / self.machine.adding

    def picking(self, nbytes: float) -> float:
        """Seconds to copy rows in another order, or to add them to where they belong."""
        # Where others hold other rows, the own ones are not neighbours.
        return self.adding(nbytes) * (1 if self.same else 2)

    def fresh(self, nbytes: float) -> float:
        """Seconds to fill memory that was not used before."""
        return nbytes / self.machine.fresh

    def growing(self, held: float, union: float) -> float:
        """Seconds to make room for the rows of a union beside those that are held."""
        return 0.0 if union <= held else self.fresh(union)

    @property
    def same(self) -> bool:
        """Whether all ranks hold the same rows."""
        return self.held >= self.union

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
        step, bandwidth = self.latency, self.bandwidth
        if self.result == "all":  # each passes on what it got, so all wait for the slowest
            step = max(step, self.machine.meeting or 0.0)
            # Of the ranks of a node, one passes it on to the next node.
            bandwidth = self.bandwidth if self.nodes > 1 else self.machine.bandwidth_within
        return (
            others * self.calls(self.union / self.ranks, LIMITS.message_piece) * step
            + others / self.ranks * self.union / bandwidth
            + self.growing(self.held, self.union)
            + self.adding(self.union / self.ranks)
        )

    def cost_of_shard(self) -> float:
        """Seconds to make room for a shard of the result."""
        return self.fresh(self.union / self.ranks)

    def reducing(self, nbytes: float) -> float:
        """Seconds of ``MPI_Reduce`` of so many bytes on each rank, in pieces."""
        return self._in_pieces(nbytes, self.machine.reducing)

    def allreducing(self, nbytes: float) -> float:
        """Seconds of ``MPI_Allreduce`` of so many bytes on each rank, in pieces."""
        return self._in_pieces(nbytes, self.machine.allreducing)

    def _in_pieces(self, nbytes: float, measured: float | None) -> float:
        seconds = self.calls(nbytes, LIMITS.message_piece) * self.meeting
        if measured:
            return seconds + nbytes / measured
        # As good as known algorithms for long messages: scatter the sum, then collect it.
        others = (self.ranks - 1) / self.ranks
        return seconds + 2 * others * nbytes / self.bandwidth + self.adding(others * nbytes)

    def scattering(self, nbytes: float) -> float:
        """Seconds of ``MPI_Reduce_scatter_block`` of so many bytes on each rank, in rounds."""
        seconds = self.calls(nbytes, LIMITS.scratch_part) * self.meeting
        if self.machine.scattering:
            return seconds + nbytes / self.machine.scattering
        others = (self.ranks - 1) / self.ranks
        return seconds + others * nbytes / self.bandwidth_of_all + self.adding(others * nbytes)

    def swapping(self, nbytes: float) -> float:
        """Seconds of ``MPI_Alltoallv`` of so many bytes on each rank, in rounds."""
        others = self.ranks - 1
        rounds = self.calls(nbytes, LIMITS.scratch_part)
        seconds = rounds * max(others * self.latency, self.meeting)
        if self.machine.swapping:
            return seconds + nbytes / self.machine.swapping
        return seconds + others / self.ranks * nbytes / self.bandwidth_of_all

    def cost_on_node(self) -> float:
        """Seconds in which the ranks of each node join their sums in each other's memory."""
        union = self.union if self.node_union is None else self.node_union
        # Each reads its slice from all, adds it, and writes it to one or all.
        here = min(self.ranks_per_node, self.ranks)
        written = union if self.result == "all" else union / here
        return (
            (self.held + written) / self.machine.direct
            + self.adding(self.held)
            + (self.fresh(written) if union > self.held else 0.0)
            + 2 * self.ranks_per_node * self.machine.latency_within
        )

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
