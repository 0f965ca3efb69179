"""Pairs of ranks join what they hold, then pairs of pairs: a binomial tree."""

from __future__ import annotations

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from . import exchange
from .costs import Profile
from .traffic import Traffic


class Tree:
    """Rank ``r`` combines with ``r + 1``, the sum of these with that of ``r + 2``, and so on.

    After ``log2(ranks)`` steps rank 0 holds all. Only rows that were touched travel, and each
    step works on rows of the union of a pair. Neighbours join first, so the order of ranks is
    kept, whatever the root.
    """

    name: str = "tree"
    results: tuple[str, ...] = ("root",)

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.registry.Strategy.cost`."""
        seconds, distance = 0.0, 1
        while distance < profile.ranks:
            # The last of the steps may join with a part of a tree only.
            there = profile.union_of(min(distance, profile.ranks - distance))
            here = profile.union_of(distance)
            both = profile.union_of(min(2 * distance, profile.ranks))
            latency, bandwidth = profile.link(distance)
            seconds += latency + there / bandwidth + profile.adding(there)
            if both > here:  # rows that are new here: what was held is copied to make room
                seconds += profile.adding(here)
            distance *= 2
        return seconds

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.registry.Strategy.reduce`."""
        distance = 1
        while distance < traffic.size:
            if traffic.rank & distance:
                exchange.send(traffic, blocks, traffic.rank - distance)
                break
            if traffic.rank + distance < traffic.size:
                exchange.receive_into(traffic, blocks, traffic.rank + distance, reduction)
            distance *= 2
        if root == 0:
            return blocks if traffic.rank == 0 else None
        if traffic.rank == 0:
            exchange.send(traffic, blocks, root)
        elif traffic.rank == root:
            total = blocks.like()
            exchange.receive_into(traffic, total, 0, reduction)
            return total
        return None
