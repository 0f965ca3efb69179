"""The nodes of a communicator: which ranks share one, and whether they can share memory."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import memory
from ..errors import UsageError
from ..mpi import waiting
from ..mpi.agreement import collectively
from ..mpi.communicators import Comm, OneProcess, cache_of

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger(__name__)

# Variables of the environment: 0 keeps all memory private; n > 0 means at most n ranks on a node.
SHARED_MEMORY = "G3REDUCE_SHARED_MEMORY"
RANKS_PER_NODE = "G3REDUCE_RANKS_PER_NODE"


@dataclass
class Nodes:
    """The nodes of a communicator.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
        All ranks.
    node : mpi4py.MPI.Intracomm
        The ranks of this node, in their order.
    numbers : tuple of int
        The number of its node, for each rank of `comm`.
    memory : Memory
        Where sums have to lie so that the ranks of a node can join them: shared on all ranks, or
        private on all.
    why : str
        Why it is not shared; empty if it is.
    """

    comm: MPI.Intracomm
    node: MPI.Intracomm
    numbers: tuple[int, ...]
    memory: memory.Memory
    why: str
    _first_ranks: dict[int, MPI.Intracomm | None] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of nodes."""
        return max(self.numbers) + 1

    @property
    def shared(self) -> bool:
        """Whether ranks of a node share memory."""
        return not self.why

    def first_rank(self, root: int) -> int:
        """The rank in `node` that takes the sums of this node: the first, or `root` on its node."""
        mine = self.numbers[self.comm.rank]
        if self.numbers[root] != mine:
            return 0
        return sum(number == mine for number in self.numbers[:root])

    def first_ranks(self, root: int) -> MPI.Intracomm | None:
        """The `first_rank` of each node, in the order of nodes; None elsewhere. Collective."""
        from mpi4py import MPI

        if root not in self._first_ranks:
            first = self.node.rank == self.first_rank(root)
            color, key = 0 if first else MPI.UNDEFINED, self.numbers[self.comm.rank]
            made: Any = self.comm.Split(color, key)
            self._first_ranks[root] = None if made == MPI.COMM_NULL else made
        return self._first_ranks[root]

    def free(self) -> None:
        """Free the communicators. Collective."""
        for made in self._first_ranks.values():
            if made is not None:
                made.Free()
        self._first_ranks.clear()
        self.node.Free()


def nodes_of(comm: MPI.Intracomm) -> Nodes:
    """The nodes of a communicator from `communicators.private`, found once. Collective."""
    cache = cache_of(comm)
    if "nodes" not in cache.entries:
        limit = collectively(comm, _ranks_per_node)
        waiting.meet(comm, "a look at the nodes")
        cache.entries["nodes"] = found = _find(comm, limit)
        cache.on_free.append(found.free)
    nodes: Nodes = cache.entries["nodes"]
    return nodes


def memory_for(comm: Comm) -> memory.Memory:
    """The memory for sums that ranks of this communicator will join. Collective over `comm`."""
    return memory.PRIVATE if isinstance(comm, OneProcess) else nodes_of(comm).memory


def _ranks_per_node() -> int:
    text = os.environ.get(RANKS_PER_NODE, "0")
    if not text.isdecimal():
        raise UsageError(f"{RANKS_PER_NODE}={text} in the environment; expected a number of ranks.")
    return int(text)


def _find(comm: MPI.Intracomm, limit: int) -> Nodes:
    from mpi4py import MPI

    # Not owned by a guard: they belong to the communicator, which outlives it.
    node: Any = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    limit = node.bcast(limit)
    if limit:
        whole = node
        node = whole.Split(whole.rank // limit, comm.rank)
        whole.Free()
    first_ranks = comm.allgather(node.bcast(comm.rank))
    order = {first: number for number, first in enumerate(sorted(set(first_ranks)))}
    numbers = tuple(order[first] for first in first_ranks)
    shared, why = _shared_memory(comm, node, max(Counter(numbers).values()))
    nodes = Nodes(comm, node, numbers, shared, why)
    if comm.rank == 0:
        how = f"private memory ({why})" if why else "shared memory on each"
        logger.info("%d ranks on %d nodes: %s", comm.size, nodes.count, how)
    return nodes


def _shared_memory(
    comm: MPI.Intracomm, node: MPI.Intracomm, most: int
) -> tuple[memory.Memory, str]:
    """Shared memory if all ranks can have it; else private memory, and why."""
    if most == 1:
        return memory.PRIVATE, "one rank on each node"
    why, mine = "", None
    token: Any = np.empty(0)
    if os.environ.get(SHARED_MEMORY) == "0":
        why = f"{SHARED_MEMORY}=0"
    else:
        try:
            mine = memory.shared()
            token = mine.require((1,), np.float64)
            token[0] = np.random.default_rng().random()
        except OSError as error:
            why = f"rank {comm.rank}: {error}"
    tokens = node.allgather((mine.stretch_of(token), float(token[0])) if mine and not why else None)
    for theirs in tokens:
        if theirs is None or why:
            continue
        stretch, number = theirs
        try:
            seen = float(memory.attach(stretch, 0, 8).view(np.float64)[0])
        except OSError as error:
            why = f"rank {comm.rank}: {error}"
        else:  # the same number may name another process, in another container
            why = "" if seen == number else f"rank {comm.rank} cannot see ranks of its node"
    reasons = [reason for reason in comm.allgather(why) if reason]  # all have read
    if reasons or mine is None:
        return memory.PRIVATE, reasons[0]
    return mine, ""
