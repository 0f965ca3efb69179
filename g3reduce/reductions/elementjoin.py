"""The join over all ranks of states that are combined element by element."""

from __future__ import annotations

import functools
import operator
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from .. import strategies
from ..arrays.blocks import Blocks
from ..arrays.exactness import join_grids
from ..choices import Result
from ..limits import LIMITS
from ..mpi.communicators import Comm
from .elements import ArrayShard, Elements, GroupSummary
from .held import DType, ElementwiseRules, Held, row_length
from .states import Array, Structure, array_leaves, put_together


class _Batch(NamedTuple):
    """Groups that are joined together, of one kind of number."""

    keys: list[Hashable]
    dtype: DType
    sizes: list[int]

    @property
    def length(self) -> int:
        return row_length(self.sizes)

    def rows(self) -> list[slice]:
        """The rows of each group."""
        counts = [-(-size // self.length) for size in self.sizes]
        ends = np.cumsum(counts).tolist()
        return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _batches(common: Mapping[Hashable, GroupSummary]) -> Iterator[_Batch]:
    """Batches, in the same order on all ranks: small groups together, large ones alone."""
    small: dict[DType, _Batch] = {}
    for key, summary in common.items():
        for dtype, size in sizes_of(summary.structure).items():
            if size * dtype.itemsize >= LIMITS.smallest_alone:
                yield _Batch([key], dtype, [size])
            elif size:
                batch = small.setdefault(dtype, _Batch([], dtype, []))
                batch.keys.append(key)
                batch.sizes.append(size)
    yield from small.values()


def join_elements(
    comm: Comm,
    mine: dict[Hashable, Elements],
    common: Mapping[Hashable, GroupSummary],
    rules: ElementwiseRules,
    strategy: str,
    *,
    result: Result,
    root: int,
) -> tuple[dict[Hashable, Any] | None, strategies.Statistics]:
    """Join the groups of all ranks. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    mine : dict of key to Elements
        What this rank holds. Its arrays are used up.
    common : dict of key to GroupSummary
        What `join_summaries` gives for each group of any rank, in the same order on all ranks.
    rules, strategy, result, root

    Returns
    -------
    states : dict of key to object, or None
        On the ranks that get the result; with ``result="sharded"`` they have an `ArrayShard`
        in the place of each array.
    statistics : Statistics
    """
    flat: dict[Hashable, dict[DType, Any]] = {key: {} for key in common}
    done = []
    for batch in _batches(common):
        dtype = batch.dtype
        there, statistics = strategies.reduce(
            comm,
            _blocks_of(batch, mine, common, rules),
            replace(rules.reduction, identity=rules.arithmetic(dtype).identity),
            strategy,
            result=result,
            root=root,
        )
        if there is not None:
            there.sort()
        done.append(statistics)
        for key, size, rows in zip(batch.keys, batch.sizes, batch.rows(), strict=True):
            if there is None:
                continue
            here = rows
            if result == "sharded":
                here = slice(*np.searchsorted(there.rows, (rows.start, rows.stop)).tolist())
            planes = {name: plane[here].reshape(-1) for name, plane in there.planes.items()}
            arithmetic = rules.arithmetic(dtype, common[key].grids.get(dtype))
            values = arithmetic.to_numbers(planes, rules.name)
            if result == "sharded":
                numbers = there.rows[here] - rows.start
                flat[key][dtype] = _shard(numbers, batch.length, values, size)
            else:
                flat[key][dtype] = values
    if not done:
        done.append(strategies.Statistics(why="there is nothing to join", ranks=comm.size))
    whole = functools.reduce(operator.add, done)
    if result == "root" and comm.rank != root:
        return None, whole
    unpack = _shards if result == "sharded" else _wholes
    return {key: unpack(summary.structure, flat[key]) for key, summary in common.items()}, whole


def _blocks_of(
    batch: _Batch,
    mine: Mapping[Hashable, Elements],
    common: Mapping[Hashable, GroupSummary],
    rules: ElementwiseRules,
) -> Blocks:
    """The blocks of this rank for a batch, with the same planes on all ranks."""
    dtype, rows = batch.dtype, batch.rows()
    grids = [common[key].grids.get(dtype) for key in batch.keys]
    exact = [grid for grid in grids if grid is not None]
    arithmetic = rules.arithmetic(dtype, join_grids(exact) if exact else None)
    blocks = Blocks(
        rows[-1].stop,
        batch.length * arithmetic.width,
        {},
        fill=arithmetic.identity,
    )
    arithmetic.begin(blocks, rules.name)
    held: list[tuple[Held, slice, int]] = []
    for key, at, size, grid in zip(batch.keys, rows, batch.sizes, grids, strict=True):
        if key in mine:
            here = mine[key].held[dtype]
            here.align(grid)
            held.append((here, at, size * arithmetic.width))
    if len(batch.keys) == 1 and held:
        whole = held[0][0].blocks
        blocks.replace(whole.rows, whole.planes)
        return blocks
    numbers = [np.arange(at.start, at.stop) for _, at, _ in held]
    blocks.insert(np.concatenate([np.arange(0), *numbers]))
    begin = 0
    for here, at, size in held:
        end = begin + at.stop - at.start
        for name, plane in here.blocks.planes.items():
            blocks.planes[name][begin:end].reshape(-1)[:size] = plane.reshape(-1)[:size]
        begin = end
    return blocks


def _shard(rows: Array, length: int, values: Array, size: int) -> ArrayShard:
    """The elements of a group that this rank owns: the values of these rows."""
    indices = (rows[:, None] * length + np.arange(length)).reshape(-1)
    inside = indices < size
    return ArrayShard(indices[inside], values[inside], (size,))


def _wholes(structure: Structure, flat: Mapping[DType, Array]) -> Any:
    empty = {dtype: np.empty(0, dtype) for dtype in sizes_of(structure)}
    return put_together(structure, views(structure, empty | dict(flat)))


def _shards(structure: Structure, flat: Mapping[DType, ArrayShard]) -> Any:
    at = dict.fromkeys(sizes_of(structure), 0)
    parts: list[Any] = []
    for leaf in array_leaves(structure):
        begin, at[leaf.dtype] = at[leaf.dtype], at[leaf.dtype] + prod(leaf.shape)
        nothing = ArrayShard(np.empty(0, np.int64), np.empty(0, leaf.dtype), (0,))
        shard = flat.get(leaf.dtype, nothing)
        first, last = np.searchsorted(shard.indices, (begin, at[leaf.dtype]))
        indices = shard.indices[first:last] - begin
        parts.append(ArrayShard(indices, shard.values[first:last], leaf.shape))
    return put_together(structure, parts, number=lambda part: part)


def sizes_of(structure: Structure) -> dict[DType, int]:
    """The number of elements of each kind of number."""
    sizes: dict[DType, int] = {}
    for leaf in array_leaves(structure):
        sizes[leaf.dtype] = sizes.get(leaf.dtype, 0) + prod(leaf.shape)
    return sizes


def views(structure: Structure, flat: Mapping[DType, Array]) -> list[Array]:
    """The arrays of a structure, as views of those in which they all lie."""
    at = dict.fromkeys(flat, 0)
    arrays = []
    for leaf in array_leaves(structure):
        begin, at[leaf.dtype] = at[leaf.dtype], at[leaf.dtype] + prod(leaf.shape)
        arrays.append(flat[leaf.dtype][begin : at[leaf.dtype]].reshape(leaf.shape))
    return arrays
