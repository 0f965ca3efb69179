"""Rows of blocks, in pieces and in shards: what strategies do with them, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..arrays.blocks import Blocks, Rows
from ..arrays.reduction import Reduction
from .traffic import Traffic

# Which rows ranks hold is exchanged as bits, unless there could be more rows than this.
_MOST_BITS = 2**24

Array = NDArray[np.generic]


class Scratch:
    """Buffers that are used again and again: fresh memory is slow."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A contiguous array, not initialised, in the memory of the last one of this name."""
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        if name not in self._buffers or self._buffers[name].nbytes < nbytes:
            self._buffers[name] = np.empty(nbytes, np.uint8)
        return self._buffers[name][:nbytes].view(dtype).reshape(shape)


def cuts(n_rows: int, plane: Array, nbytes: int) -> Iterator[tuple[slice, slice]]:
    """Cut `n_rows` rows like those of a plane into pieces of at most `nbytes` bytes.

    Yields
    ------
    rows, columns : slice
        Several whole rows, or, if a row is longer than a piece, a part of one: contiguous in a
        plane, either way.
    """
    length = plane.shape[1]
    at_once = max(1, nbytes // plane.itemsize)
    if at_once >= length:
        step = at_once // max(length, 1)
        for begin in range(0, n_rows, step):
            yield slice(begin, min(begin + step, n_rows)), slice(0, length)
        return
    for row in range(n_rows):
        for begin in range(0, length, at_once):
            yield slice(row, row + 1), slice(begin, min(begin + at_once, length))


def adjacent(positions: Rows) -> slice | None:
    """The slice that rising positions make up, if they are neighbours; else None."""
    if not len(positions):
        return slice(0, 0)
    begin, end = int(positions[0]), int(positions[-1]) + 1
    return slice(begin, end) if begin >= 0 and end - begin == len(positions) else None


def read(plane: Array, positions: Rows, columns: slice, identity: Any, out: Array) -> None:
    """Copy rows of a plane, and the identity where a position is -1 (the row is not held)."""
    run = adjacent(positions)
    if run is not None:
        out[:] = plane[run, columns]
        return
    held = positions >= 0
    out[~held] = identity
    out[held] = plane[positions[held], columns]


def combine_into(
    plane: Array, positions: Rows, columns: slice, values: Array, reduction: Reduction
) -> None:
    """Combine rows of a plane with values. The positions are rising."""
    run = adjacent(positions)
    if run is not None:
        mine = plane[run, columns]
        reduction.combine(mine, values, out=mine)
        return
    mine = plane[positions, columns]
    plane[positions, columns] = reduction.combine(mine, values, out=mine)


def union_of_rows(traffic: Traffic, blocks: Blocks) -> Rows:
    """The rows that any rank holds, in rising order. Collective."""
    if blocks.n_rows > _MOST_BITS:
        return _union_by_pairs(traffic, blocks.rows)
    held = np.zeros(blocks.n_rows, bool)
    held[blocks.rows] = True
    bits = np.packbits(held)
    traffic.allreduce(bits, "BOR")
    return np.flatnonzero(np.unpackbits(bits, count=blocks.n_rows))


def _union_by_pairs(traffic: Traffic, rows: Rows) -> Rows:
    """The same without a bit for each row that there could be."""
    count = np.empty(1, np.int64)
    sources, dest = traffic.tree()
    for source in sources:
        traffic.receive(count, source)
        theirs = np.empty(int(count[0]), np.int64)
        traffic.receive(theirs, source)
        rows = np.union1d(rows, theirs)
    count[0] = len(rows)
    if dest is not None:
        traffic.send(count, dest)
        traffic.send(rows, dest)
    traffic.broadcast(count)
    union = rows if traffic.rank == 0 else np.empty(int(count[0]), np.int64)
    traffic.broadcast(union)
    return union


def positions_of(held: Rows, rows: Rows) -> Rows:
    """Where rows are among those that are held, in whatever order; -1 for those that are not."""
    if not len(held):
        return np.full(len(rows), -1)
    order = np.argsort(held, kind="stable")
    at = order[np.minimum(np.searchsorted(held, rows, sorter=order), len(held) - 1)]
    return np.where(held[at] == rows, at, -1)


def shard_bounds(n_rows: int, size: int) -> Rows:
    """The first row of each shard, and the end of the last one: ``size + 1`` numbers.

    Shards are contiguous and differ by one row at most.
    """
    return np.arange(size + 1) * n_rows // size


def rows_of_shard(union: Rows, traffic: Traffic) -> Rows:
    """The rows of this rank's shard."""
    bounds = shard_bounds(len(union), traffic.size)
    return union[bounds[traffic.rank] : bounds[traffic.rank + 1]]


def bring_shards(
    traffic: Traffic, shard: Blocks, blocks: Blocks, union: Rows, result: str, root: int
) -> Blocks | None:
    """Bring shards that are done to where the result goes. Collective.

    Parameters
    ----------
    shard : Blocks
        This rank's shard of `union`.
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
    bounds = shard_bounds(len(union), traffic.size)
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
        _pass_on(traffic, blocks, name, parts)
    return blocks


def _pass_on(traffic: Traffic, blocks: Blocks, name: str, parts: list[slice]) -> None:
    """Each rank passes on to its neighbour what it got last, until all have all."""
    plane, rank, size = blocks.planes[name], traffic.rank, traffic.size
    for step in range(size - 1):
        outgoing, incoming = parts[(rank - step) % size], parts[(rank - step - 1) % size]
        traffic.exchange(plane[outgoing], (rank + 1) % size, plane[incoming], (rank - 1) % size)
