"""All ranks send what they hold to one: the naive way, kept for comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..blocks import Blocks
from ..reductions import Reduction
from . import exchange

if TYPE_CHECKING:
    from mpi4py import MPI


class Gather:
    """The root takes the blocks of one rank after another and combines them, in rank order.

    Its time grows with the number of ranks, and all of it is spent on the root.
    """

    name: str = "gather"
    results: tuple[str, ...] = ("root",)

    def reduce(
        self, comm: MPI.Intracomm, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.registry.Strategy.reduce`."""
        if comm.rank != root:
            exchange.send(comm, blocks, root)
            return None
        total = blocks if root == 0 else blocks.like()
        for rank in range(comm.size):
            if rank != root:
                exchange.receive_into(comm, total, rank, reduction)
            elif total is not blocks:
                combine_into(total, blocks, reduction)
        return total


def combine_into(total: Blocks, blocks: Blocks, reduction: Reduction) -> None:
    """Combine blocks of the same rank."""
    total.insert(blocks.rows)
    places = total.locate(blocks.rows)
    for name, plane in total.planes.items():
        plane[places] = reduction.combine(plane[places], blocks.planes[name])
