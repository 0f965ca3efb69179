"""Each row of the union has an owner, to whom ranks send the rows that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.blocks import Blocks, Rows
from ..arrays.reduction import Reduction
from .costs import Profile
from .rows import (
    SCRATCH,
    Scratch,
    bring_shards,
    combine_into,
    read,
    rows_of_shard,
    shard_bounds,
    union_of_rows,
)
from .traffic import Traffic

# What is sent and what is received in a round, each; the rest of the scratch is for combining.
_ROUND = SCRATCH // 4


class Owner:
    """Ranks own even, contiguous shares of the union, and get from each other what is held of them.

    So the bytes that travel are the sum of the footprints, not the union times the number of
    ranks. They come in rounds, and the owner combines them in the order of the ranks.
    """

    name: str = "owner"
    results: tuple[str, ...] = ("root", "all", "sharded")

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.Strategy.cost`."""
        others = profile.ranks - 1
        rounds = max(1.0, profile.largest / _ROUND)
        return (
            others * profile.latency * rounds
            + others / profile.ranks * profile.largest / profile.bandwidth_of_all
            # Copied into messages and combined out of them.
            + profile.adding(2 * profile.largest)
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
            for begin, end, columns in plan.rounds(traffic, blocks.planes[name]):
                _work(
                    traffic, plan, blocks.planes[name], shard.planes[name], reduction, scratch,
                    slice(begin, end), columns,
                )  # fmt: skip
        return bring_shards(traffic, shard, blocks, union, result, root)


class _Plan(NamedTuple):
    """Who sends which rows to whom.

    Attributes
    ----------
    places : list of int64 array
        Where the rows of each rank's share stand here, -1 for those that are not held.
    held : bool array, shape (ranks, rows of my share)
        Which ranks hold which rows of the share of this rank.
    longest : int
        Rows in the longest share.
    """

    places: list[Rows]
    held: NDArray[np.bool_]
    longest: int

    @classmethod
    def of(cls, traffic: Traffic, blocks: Blocks, union: Rows) -> _Plan:
        """Learn what others hold of this rank's share. Collective."""
        bounds = shard_bounds(len(union), traffic.size)
        lengths = np.diff(bounds)
        places = np.split(blocks.locate(union), bounds[1:-1])
        mine = int(lengths[traffic.rank])
        outgoing = (np.concatenate(places) >= 0).astype(np.uint8)
        incoming = np.empty((traffic.size, mine), np.uint8)
        traffic.alltoall(outgoing, lengths, incoming, np.full(traffic.size, mine))
        return cls(places, incoming.view(bool), int(lengths.max()))

    def rounds(
        self, traffic: Traffic, plane: NDArray[np.generic]
    ) -> Iterator[tuple[int, int, slice]]:
        """Cut the shares so that what one rank sends or receives at a time fits. Collective."""
        length = plane.shape[1]
        step = self._rows_at_once(length * plane.itemsize)
        step = min(traffic.comm.allgather(step))
        width = max(1, length)
        if step == 0:  # not even one row of each rank
            step, width = 1, max(1, _ROUND // plane.itemsize // traffic.size)
        for begin in range(0, self.longest, step):
            for column in range(0, length, width):
                yield begin, begin + step, slice(column, min(column + width, length))

    def _rows_at_once(self, nbytes: int) -> int:
        """The most rows of each share of which what this rank sends and receives fits; or 0."""
        most = np.zeros((2, self.longest), np.int64)
        for places in self.places:
            most[0, : len(places)] += places >= 0
        most[1, : self.held.shape[1]] = self.held.sum(axis=0)
        step = self.longest
        while step:
            at_once = np.add.reduceat(most, np.arange(0, self.longest, step), axis=1).max()
            if at_once * nbytes <= _ROUND:
                break
            step //= 2
        return step


def _work(
    traffic: Traffic,
    plan: _Plan,
    plane: NDArray[np.generic],
    shard: NDArray[np.generic],
    reduction: Reduction,
    scratch: Scratch,
    rows: slice,
    columns: slice,
) -> None:
    """One round: these rows of every share."""
    width = columns.stop - columns.start
    wanted = [places[rows] for places in plan.places]
    wanted = [places[places >= 0] for places in wanted]
    to = np.array([len(places) for places in wanted])
    outgoing = scratch.array("outgoing", (int(to.sum()), width), plane.dtype)
    ends = np.cumsum(to)
    for places, end in zip(wanted, ends, strict=True):
        read(plane, places, columns, None, outgoing[end - len(places) : end])
    held = plan.held[:, rows]
    of = held.sum(axis=1)
    incoming = scratch.array("incoming", (int(of.sum()), width), plane.dtype)
    traffic.alltoall(outgoing, to * width, incoming, of * width)
    begin = 0
    for theirs in held:
        places = np.flatnonzero(theirs) + rows.start
        values = incoming[begin : begin + len(places)]
        combine_into(shard, places, columns, values, reduction)
        begin += len(places)
