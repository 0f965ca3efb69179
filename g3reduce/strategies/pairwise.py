"""Strategies that send blocks from rank to rank: along a tree, or all to one rank."""

from __future__ import annotations

from itertools import pairwise, starmap

import numpy as np

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from ..limits import LIMITS
from .costs import Profile
from .rows import Scratch, combine_into, cuts
from .traffic import Traffic


class Tree:
    """A binomial tree: rank ``r`` combines with ``r + 1``, their sum with that of ``r + 2``, ...

    After ``log2(ranks)`` steps rank 0 holds all. Only rows that were touched travel, and each
    step works on rows of the union of a pair. Neighbours join first, so the order of ranks is
    kept, whatever the root.
    """

    name: str = "tree"
    results: tuple[str, ...] = ("root",)

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.Strategy.cost`."""
        seconds, distance = 0.0, 1
        while distance < profile.ranks:
            # The last of the steps may join with a part of a tree only.
            there = profile.union_of(min(distance, profile.ranks - distance))
            here = profile.union_of(distance)
            both = profile.union_of(min(2 * distance, profile.ranks))
            _, bandwidth = profile.link(distance, -(-profile.ranks // (2 * distance)))
            seconds += profile.messages(there, distance) + there / bandwidth
            seconds += profile.picking(there)
            seconds += profile.growing(here, both)
            distance *= 2
        return seconds

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.Strategy.reduce`."""
        sources, dest = traffic.tree()
        for source in sources:
            receive_into(traffic, blocks, source, reduction)
        if traffic.rank == root == 0:
            return blocks
        send(traffic, blocks, root if dest is None else dest)
        if traffic.rank != root:
            return None
        total = blocks.like()
        receive_into(traffic, total, 0, reduction)
        return total


class Gather:
    """The root takes the blocks of one rank after another and combines them, in rank order.

    The naive way, kept for comparison: its time grows with the number of ranks, and all of it is
    spent on the root.
    """

    name: str = "gather"
    results: tuple[str, ...] = ("root",)

    def cost(self, profile: Profile) -> float:
        """See `g3reduce.strategies.Strategy.cost`."""
        others = profile.ranks - 1
        held = profile.held
        each = profile.messages(held) + held / profile.bandwidth + profile.picking(held)
        unions = [profile.union_of(ranks) for ranks in range(1, profile.ranks + 1)]
        return others * each + sum(starmap(profile.growing, pairwise(unions)))

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """See `g3reduce.strategies.Strategy.reduce`."""
        if traffic.rank != root:
            send(traffic, blocks, root)
            return None
        total = blocks if root == 0 else blocks.like()
        for rank in range(traffic.size):
            if rank != root:
                receive_into(traffic, total, rank, reduction)
            elif total is not blocks:
                total.insert(blocks.rows)
                positions = total.locate(blocks.rows)
                for name, plane in total.planes.items():
                    combine_into(plane, positions, slice(None), blocks.planes[name], reduction)
        return total


def send(traffic: Traffic, blocks: Blocks, dest: int) -> None:
    """Send blocks to a rank that calls `receive_into`."""
    traffic.comm.send(len(blocks.rows), dest)
    traffic.send(blocks.rows, dest)
    for name in sorted(blocks.planes):
        plane = blocks.planes[name]
        for rows, columns in cuts(len(blocks.rows), plane, LIMITS.message_piece):
            traffic.send(plane[rows, columns], dest)


def receive_into(traffic: Traffic, blocks: Blocks, source: int, reduction: Reduction) -> None:
    """Combine blocks with those that another rank sends, piece by piece as they come."""
    rows_there = np.empty(traffic.comm.recv(source=source), np.int64)
    traffic.receive(rows_there, source)
    blocks.insert(rows_there)
    positions = blocks.locate(rows_there)
    scratch = Scratch()
    for name in sorted(blocks.planes):
        plane = blocks.planes[name]
        for rows, columns in cuts(len(positions), plane, LIMITS.message_piece):
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            theirs = scratch.array("theirs", shape, plane.dtype)
            traffic.receive(theirs, source)
            combine_into(plane, positions[rows], columns, theirs, reduction)
