"""The MPI library's ``Reduce_scatter_block``: each rank gets a share of the union of rows."""

from __future__ import annotations

from math import log2

import numpy as np

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from . import shares
from .costs import Profile
from .rows import SCRATCH, Scratch, cuts, read, union_of_rows
from .traffic import Traffic

# What is handed to the library in a round. Fresh memory is slow, so that more does not pay.
_ROUND = SCRATCH // 4


class ReduceScatter:
    """``MPI_Reduce_scatter_block`` in rounds, in each of which every rank gets a part of its share.

    All of the union goes through every rank, whatever it holds of it.
    """

    name: str = "reduce_scatter"
    results: tuple[str, ...] = ("root", "all", "sharded")

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.registry.Strategy.cost`."""
        share = (profile.ranks - 1) / profile.ranks
        rounds = max(1.0, profile.union / _ROUND)
        return (
            log2(max(profile.ranks, 2)) * profile.latency * rounds
            + share * profile.union / profile.bandwidth_of_all
            # Copied into the order of the shares, then combined.
            + profile.adding((1 + share) * profile.union)
            + profile.cost_of_shares()
        )

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.registry.Strategy.reduce`."""
        union = union_of_rows(traffic, blocks)
        bounds = shares.bounds_of(len(union), traffic.size)
        longest = int(np.diff(bounds).max())
        shard = blocks.like()
        shard.insert(shares.share_of(union, traffic))
        places, scratch = blocks.locate(union), Scratch()
        for name in sorted(blocks.planes):
            plane, mine = blocks.planes[name], shard.planes[name]
            for rows, columns in cuts(longest, plane, _ROUND // traffic.size):
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                parts = scratch.array("parts", (traffic.size, *shape), plane.dtype)
                for part, begin, end in zip(parts, bounds, bounds[1:], strict=False):
                    theirs = places[begin:end][rows]
                    read(plane, theirs, columns, reduction.identity, part[: len(theirs)])
                    part[len(theirs) :] = reduction.identity
                total = scratch.array("total", shape, plane.dtype)
                traffic.reduce_scatter(parts, total, str(reduction.operation))
                mine[rows, columns] = total[: len(mine[rows])]
        return shares.bring(traffic, shard, blocks, union, result, root)
