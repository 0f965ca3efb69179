"""Strategies that leave the work to reductions of the MPI library, on the union of all rows."""

from __future__ import annotations

import numpy as np

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from ..limits import LIMITS
from .costs import Profile
from .rows import (
    Scratch,
    adjacent,
    bring_shards,
    cuts,
    read,
    rows_of_shard,
    shard_bounds,
    union_of_rows,
)
from .traffic import Traffic


class Allreduce:
    """``MPI_Allreduce`` in pieces; ``MPI_Reduce`` where only one rank gets the result.

    All of the union goes through every rank, whatever it holds of it.
    """

    name: str = "allreduce"
    results: tuple[str, ...] = ("root", "all")

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.Strategy.cost`."""
        union, grows = profile.union, profile.growing(profile.held, profile.union)
        if profile.result == "all":
            return profile.meeting + profile.allreducing(union) + grows
        # On the root copied out of messages; on the others into them where rows are missing.
        copied = profile.picking(union)
        return profile.meeting + profile.reducing(union) + copied + grows

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.Strategy.reduce`."""
        operation = str(reduction.operation)
        union = union_of_rows(traffic, blocks)
        gets_it = result == "all" or traffic.rank == root
        if gets_it:
            blocks.insert(union)
        positions, scratch = blocks.locate(union), Scratch()
        for name in sorted(blocks.planes):
            plane = blocks.planes[name]
            if result == "all":
                traffic.allreduce(plane, operation)
                continue
            for rows, columns in cuts(len(union), plane, LIMITS.message_piece):
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                run = adjacent(positions[rows])
                if run is not None:
                    piece = plane[run, columns]
                else:
                    piece = scratch.array("mine", shape, plane.dtype)
                    read(plane, positions[rows], columns, reduction.identity, piece)
                # Not in place: that is the slow way in some libraries.
                total = scratch.array("total", shape, plane.dtype) if gets_it else None
                traffic.reduce(piece, total, operation, root)
                if total is not None:
                    plane[rows, columns] = total
        return blocks if gets_it else None


class ReduceScatter:
    """``MPI_Reduce_scatter_block`` in rounds, in each of which every rank gets a part of its shard.

    All of the union goes through every rank, whatever it holds of it.
    """

    name: str = "reduce_scatter"
    results: tuple[str, ...] = ("root", "all", "sharded")

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.Strategy.cost`."""
        return (
            profile.meeting
            # Copied into the order of the shards.
            + profile.adding(profile.union)
            + profile.scattering(profile.union)
            + profile.cost_of_shard()
            + profile.cost_of_shards()
        )

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.Strategy.reduce`."""
        union = union_of_rows(traffic, blocks)
        bounds = shard_bounds(len(union), traffic.size)
        longest = int(np.diff(bounds).max())
        shard = blocks.like()
        shard.insert(rows_of_shard(union, traffic))
        positions, scratch = blocks.locate(union), Scratch()
        for name in sorted(blocks.planes):
            plane, mine = blocks.planes[name], shard.planes[name]
            for rows, columns in cuts(longest, plane, LIMITS.scratch_part // traffic.size):
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                parts = scratch.array("parts", (traffic.size, *shape), plane.dtype)
                for part, begin, end in zip(parts, bounds, bounds[1:], strict=False):
                    theirs = positions[begin:end][rows]
                    read(plane, theirs, columns, reduction.identity, part[: len(theirs)])
                    part[len(theirs) :] = reduction.identity
                total = scratch.array("total", shape, plane.dtype)
                traffic.reduce_scatter(parts, total, str(reduction.operation))
                mine[rows, columns] = total[: len(mine[rows])]
        return bring_shards(traffic, shard, blocks, union, result, root)
