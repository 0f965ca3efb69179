"""Pairs of ranks join what they hold, then pairs of pairs: a binomial tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks import Blocks
from ..reductions import Reduction
from . import exchange

if TYPE_CHECKING:
    from mpi4py import MPI


class Tree:
    """Rank ``r`` combines with ``r + 1``, the sum of these with that of ``r + 2``, and so on.

    After ``log2(ranks)`` steps rank 0 holds all. Only rows that were touched travel, and each
    step works on rows of the union of a pair. Neighbours join first, so the order of ranks is
    kept, whatever the root.
    """

    name: str = "tree"
    results: tuple[str, ...] = ("root",)

    def reduce(
        self, comm: MPI.Intracomm, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.registry.Strategy.reduce`."""
        distance = 1
        while distance < comm.size:
            if comm.rank & distance:
                exchange.send(comm, blocks, comm.rank - distance)
                break
            if comm.rank + distance < comm.size:
                exchange.receive_into(comm, blocks, comm.rank + distance, reduction)
            distance *= 2
        if root == 0:
            return blocks if comm.rank == 0 else None
        if comm.rank == 0:
            exchange.send(comm, blocks, root)
        elif comm.rank == root:
            total = blocks.like()
            exchange.receive_into(comm, total, 0, reduction)
            return total
        return None
