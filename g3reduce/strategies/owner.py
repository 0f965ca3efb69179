"""The strategy in which each row of the union has an owner, which gets it from all that hold it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.blocks import Blocks, Rows
from ..arrays.reduction import Reduction
from ..limits import LIMITS
from .costs import Profile
from .rows import (
    Scratch,
    bring_shards,
    combine_into,
    read,
    rows_of_shard,
    shard_bounds,
    union_of_rows,
)
from .traffic import Traffic


class Owner:
    """Each rank owns an even, contiguous shard of the union, and gets from the others its rows.

    So the bytes that travel are the sum of the footprints, not the union times the number of
    ranks. They come in rounds, and the owner combines them in the order of the ranks.
    """

    name: str = "owner"
    results: tuple[str, ...] = ("root", "all", "sharded")

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.Strategy.cost`."""
        return (
            # What others hold, and of each plane how many rows at a time.
            (2 + profile.planes) * profile.meeting
            # Copied into messages and combined out of them.
            + profile.picking(profile.largest)
            + profile.swapping(profile.largest)
            + profile.picking(profile.largest)
            + profile.cost_of_shard()
            + profile.cost_of_shards()
        )

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.Strategy.reduce`."""
        union = union_of_rows(traffic, blocks)
        plan = _Plan.of(traffic, blocks, union)
        shard = blocks.like()
        shard.insert(rows_of_shard(union, traffic))
        scratch = Scratch()
        for name in sorted(blocks.planes):
            plane, mine = blocks.planes[name], shard.planes[name]
            for rows, columns in plan.rounds(traffic, plane):
                _exchange(traffic, plan, plane, mine, reduction, scratch, rows, columns)
        return bring_shards(traffic, shard, blocks, union, result, root)


class _Plan(NamedTuple):
    """Who sends which rows to whom.

    Attributes
    ----------
    positions : list of int64 array
        The positions here of the rows of each rank's shard, -1 for those that are not held.
    held : bool array, shape (ranks, rows of this shard)
        Which ranks hold which rows of the shard of this rank.
    longest : int
        Rows in the longest shard.
    """

    positions: list[Rows]
    held: NDArray[np.bool_]
    longest: int

    @classmethod
    def of(cls, traffic: Traffic, blocks: Blocks, union: Rows) -> _Plan:
        """Learn what others hold of this rank's shard. Collective."""
        bounds = shard_bounds(len(union), traffic.size)
        lengths = np.diff(bounds)
        positions = np.split(blocks.locate(union), bounds[1:-1])
        mine = int(lengths[traffic.rank])
        outgoing = (np.concatenate(positions) >= 0).astype(np.uint8)
        incoming = np.empty((traffic.size, mine), np.uint8)
        traffic.alltoall(outgoing, lengths, incoming, np.full(traffic.size, mine))
        return cls(positions, incoming.view(bool), int(lengths.max()))

    def rounds(self, traffic: Traffic, plane: NDArray[np.generic]) -> Iterator[tuple[slice, slice]]:
        """Cut all shards so that what one rank sends or receives at a time fits. Collective.

        Yields
        ------
        rows, columns : slice
        """
        length = plane.shape[1]
        step = self._rows_at_once(length * plane.itemsize)
        step = min(traffic.comm.allgather(step))
        width = max(1, length)
        if step == 0:  # not even one row of each rank
            step, width = 1, max(1, LIMITS.scratch_part // plane.itemsize // traffic.size)
        for begin in range(0, self.longest, step):
            for column in range(0, length, width):
                columns = slice(column, min(column + width, length))
                yield slice(begin, begin + step), columns

    def _rows_at_once(self, nbytes: int) -> int:
        """The most rows of each shard of which what this rank sends and receives fits; or 0."""
        most = np.zeros((2, self.longest), np.int64)
        for positions in self.positions:
            most[0, : len(positions)] += positions >= 0
        most[1, : self.held.shape[1]] = self.held.sum(axis=0)
        step = self.longest
        while step:
            at_once = np.add.reduceat(most, np.arange(0, self.longest, step), axis=1).max()
            if at_once * nbytes <= LIMITS.scratch_part:
                break
            step //= 2
        return step


def _exchange(
    traffic: Traffic,
    plan: _Plan,
    plane: NDArray[np.generic],
    shard: NDArray[np.generic],
    reduction: Reduction,
    scratch: Scratch,
    rows: slice,
    columns: slice,
) -> None:
    """One round: send and combine these rows of every shard."""
    width = columns.stop - columns.start
    wanted = [positions[rows] for positions in plan.positions]
    wanted = [positions[positions >= 0] for positions in wanted]
    to = np.array([len(positions) for positions in wanted])
    outgoing = scratch.array("outgoing", (int(to.sum()), width), plane.dtype)
    ends = np.cumsum(to)
    for positions, end in zip(wanted, ends, strict=True):
        read(plane, positions, columns, None, outgoing[end - len(positions) : end])
    held = plan.held[:, rows]
    of = held.sum(axis=1)
    incoming = scratch.array("incoming", (int(of.sum()), width), plane.dtype)
    traffic.alltoall(outgoing, to * width, incoming, of * width)
    begin = 0
    for theirs in held:
        positions = np.flatnonzero(theirs) + rows.start
        values = incoming[begin : begin + len(positions)]
        combine_into(shard, positions, columns, values, reduction)
        begin += len(positions)
