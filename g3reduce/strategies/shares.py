"""The union of rows in even shares, one for each rank, and back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ..arrays.blocks import Blocks, Rows
from .traffic import Traffic


def bounds_of(n_rows: int, size: int) -> Rows:
    """Where the shares begin, and where the last one ends: ``size + 1`` numbers.

    Shares are contiguous and differ by one row at most.
    """
    return np.arange(size + 1) * n_rows // size


def share_of(union: Rows, traffic: Traffic) -> Rows:
    """The rows of this rank's share."""
    bounds = bounds_of(len(union), traffic.size)
    return union[bounds[traffic.rank] : bounds[traffic.rank + 1]]


def bring(
    traffic: Traffic, shard: Blocks, blocks: Blocks, union: Rows, result: str, root: int
) -> Blocks | None:
    """Bring shares that are done to where the result goes. Collective.

    Parameters
    ----------
    shard : Blocks
        This rank's share of `union`.
    blocks : Blocks
        What this rank held before. The result is built there, where it is needed.
    result, root
        As in `Strategy.reduce`.
    """
    if result == "sharded":
        return shard
    if result == "root" and traffic.rank != root:
        for name in sorted(shard.planes):
            traffic.send(shard.planes[name], root)
        return None
    blocks.insert(union)
    bounds = bounds_of(len(union), traffic.size)
    parts = [slice(begin, end) for begin, end in pairwise(bounds.tolist())]
    for name, plane in blocks.planes.items():
        plane[parts[traffic.rank]] = shard.planes[name]
    if result == "root":
        for rank in range(traffic.size):
            for name in sorted(blocks.planes):
                if rank != root:
                    traffic.receive(blocks.planes[name][parts[rank]], rank)
        return blocks
    for name in sorted(blocks.planes):
        _pass_round(traffic, blocks, name, parts)
    return blocks


def _pass_round(traffic: Traffic, blocks: Blocks, name: str, parts: list[slice]) -> None:
    """Each rank passes on to its neighbour what it got last, until all have all."""
    plane, rank, size = blocks.planes[name], traffic.rank, traffic.size
    for step in range(size - 1):
        outgoing, incoming = parts[(rank - step) % size], parts[(rank - step - 1) % size]
        traffic.exchange(plane[outgoing], (rank + 1) % size, plane[incoming], (rank - 1) % size)
