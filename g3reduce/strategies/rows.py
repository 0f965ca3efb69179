"""Rows in pieces: how strategies go through planes with little memory of their own."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..arrays.blocks import Blocks, Rows
from ..arrays.reduction import Reduction
from .traffic import Traffic

if TYPE_CHECKING:
    from mpi4py import MPI

# What a strategy may use of memory besides the planes, in bytes, all its buffers together.
SCRATCH = 64 * 2**20

# Ranks tell each other by bits which rows they hold, unless there could be more rows than this.
_MOST_BITS = 2**24

Array = NDArray[np.generic]


class Scratch:
    """Buffers that are used again and again: fresh memory is slow."""

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[np.uint8]] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A contiguous array, with anything in it. It takes the place of the last of its name."""
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


def together(places: Rows) -> slice | None:
    """The stretch that rising places make up, if they are neighbours."""
    if not len(places):
        return slice(0, 0)
    begin, end = int(places[0]), int(places[-1]) + 1
    return slice(begin, end) if begin >= 0 and end - begin == len(places) else None


def read(plane: Array, places: Rows, columns: slice, identity: Any, out: Array) -> None:
    """Copy rows of a plane, and the identity where a place is -1 (the row is not held)."""
    stretch = together(places)
    if stretch is not None:
        out[:] = plane[stretch, columns]
        return
    held = places >= 0
    out[~held] = identity
    out[held] = plane[places[held], columns]


def combine_into(
    plane: Array, places: Rows, columns: slice, values: Array, reduction: Reduction
) -> None:
    """Combine rows of a plane with values. The places are rising."""
    stretch = together(places)
    if stretch is not None:
        mine = plane[stretch, columns]
        reduction.combine(mine, values, out=mine)
        return
    mine = plane[places, columns]
    plane[places, columns] = reduction.combine(mine, values, out=mine)


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
    step = 1
    while step < traffic.size:
        if traffic.rank % (2 * step) == step:
            count[0] = len(rows)
            traffic.send(count, traffic.rank - step)
            traffic.send(rows, traffic.rank - step)
            break
        if traffic.rank + step < traffic.size:
            traffic.receive(count, traffic.rank + step)
            theirs = np.empty(int(count[0]), np.int64)
            traffic.receive(theirs, traffic.rank + step)
            rows = np.union1d(rows, theirs)
        step *= 2
    count[0] = len(rows)
    traffic.broadcast(count)
    union = rows if traffic.rank == 0 else np.empty(int(count[0]), np.int64)
    traffic.broadcast(union)
    return union


def rows_on_each(node: MPI.Intracomm, blocks: Blocks) -> list[Rows]:
    """The rows that each rank of a node holds. Collective over `node`."""
    if blocks.n_rows > _MOST_BITS:
        return node.allgather(blocks.rows)
    held = np.zeros(blocks.n_rows, bool)
    held[blocks.rows] = True
    mine = np.packbits(held)
    bits = np.empty((node.size, len(mine)), np.uint8)
    node.Allgather(mine, bits)
    return [np.flatnonzero(np.unpackbits(theirs, count=blocks.n_rows)) for theirs in bits]
