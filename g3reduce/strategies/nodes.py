"""The nodes of a communicator: which ranks share one, and whether these use each other's memory."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..mpi import waiting
from ..mpi.agreement import collectively
from ..mpi.communicators import cache_of
from ..spt3glog import unit_logger
from .peers import Peers, find_peers

if TYPE_CHECKING:
    from mpi4py import MPI

logger = unit_logger(__name__)

# Variables of the environment: with 0, messages are all that ranks use; n > 0 means at most n ranks
# on a node.
DIRECT_MEMORY = "G3REDUCE_DIRECT_MEMORY"
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
    peers : Peers
        The processes of the ranks of this node.
    why : str
        Why ranks of a node do not use each other's memory; empty if they do. The same on all ranks.
    """

    comm: MPI.Intracomm
    node: MPI.Intracomm
    numbers: tuple[int, ...]
    peers: Peers
    why: str
    _first_ranks: dict[int, MPI.Intracomm | None] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of nodes."""
        return max(self.numbers) + 1

    @property
    def direct(self) -> bool:
        """Whether ranks of a node read and write each other's memory."""
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
        collectively(comm, check_environment)
        waiting.meet(comm, "a look at the nodes")
        cache.entries["nodes"] = found = _find(comm, _ranks_per_node())
        cache.on_free.append(found.free)
    nodes: Nodes = cache.entries["nodes"]
    return nodes


def check_environment() -> None:
    """Check what the environment says of nodes; modules do it before anything is read.

    Raises
    ------
    UsageError
        If it cannot be used.
    """
    _ranks_per_node()
    _messages_only()


def _ranks_per_node() -> int:
    text = os.environ.get(RANKS_PER_NODE, "") or "0"
    if not text.isdecimal():
        raise UsageError(f"{RANKS_PER_NODE}={text} in the environment; expected a number of ranks.")
    return int(text)


def _messages_only() -> bool:
    text = os.environ.get(DIRECT_MEMORY, "")
    if text not in ("", "0", "1"):
        raise UsageError(
            f"{DIRECT_MEMORY}={text} in the environment; expected 0 for messages only, or 1."
        )
    return text == "0"


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
    most = max(Counter(numbers).values())
    peers, why = find_peers(node)
    why = _why_not(comm, most, why)
    nodes = Nodes(comm, node, numbers, peers, why)
    if comm.rank == 0:
        how = f"messages only ({why})" if why else "large sums are joined in the memory of a node"
        there = f"{nodes.count} node{'s' if nodes.count > 1 else ''}"
        logger.info("%d ranks on %s: %s", comm.size, there, how)
    return nodes


def _why_not(comm: MPI.Intracomm, most: int, refused: str) -> str:
    """Why ranks of a node are not to use each other's memory, on any. Collective over `comm`."""
    why = f"rank {comm.rank}: {refused}" if refused else ""
    if _messages_only():
        why = f"{DIRECT_MEMORY}=0"
    if most == 1:
        why = "one rank on each node"
    return next((reason for reason in comm.allgather(why) if reason), "")
