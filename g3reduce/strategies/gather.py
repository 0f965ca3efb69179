"""All ranks send what they hold to one: the naive way, kept for comparison."""

from __future__ import annotations

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from . import exchange
from .costs import Profile
from .rows import combine_into
from .traffic import Traffic


class Gather:
    """The root takes the blocks of one rank after another and combines them, in rank order.

    Its time grows with the number of ranks, and all of it is spent on the root.
    """

    name: str = "gather"
    results: tuple[str, ...] = ("root",)

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.registry.Strategy.cost`."""
        others = profile.ranks - 1
        return others * (profile.latency + profile.held / profile.bandwidth) + profile.adding(
            others * profile.held
        )

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.registry.Strategy.reduce`."""
        if traffic.rank != root:
            exchange.send(traffic, blocks, root)
            return None
        total = blocks if root == 0 else blocks.like()
        for rank in range(traffic.size):
            if rank != root:
                exchange.receive_into(traffic, total, rank, reduction)
            elif total is not blocks:
                _take(total, blocks, reduction)
        return total


def _take(total: Blocks, blocks: Blocks, reduction: Reduction) -> None:
    """Combine blocks of the same rank."""
    total.insert(blocks.rows)
    places = total.locate(blocks.rows)
    for name, plane in total.planes.items():
        combine_into(plane, places, slice(None), blocks.planes[name], reduction)
