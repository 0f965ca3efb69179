"""States that are combined element by element: sums of arrays, and their like.

What a group (a key of ``by=``) holds lies from its first frame on in one array for each kind of
number, cut into rows as strategies want them and in memory that the ranks of a node can share, so
that nothing large is copied before it is joined. Small groups are joined together.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

from . import strategies
from .blocks import Blocks
from .comm import Comm
from .errors import MismatchError
from .memory import SMALLEST, Memory
from .reductions import Reduction
from .states import Array, ArrayLeaf, Structure, array_leaves, leaves_of, put_together, take_apart

_MOST_ROWS = 4096


class Part(NamedTuple):
    """The share that a rank holds of an array after ``result="sharded"``.

    Attributes
    ----------
    indices : int64 array
        Which elements of the flattened array.
    values : array
        These elements.
    shape : tuple of int
        Of the whole array.
    """

    indices: np.ndarray[Any, np.dtype[np.int64]]
    values: Array
    shape: tuple[int, ...]


class Whereabouts(NamedTuple):
    """What the other ranks are told of a group: its structure, and the frame that it is from."""

    structure: Structure
    where: str


class Elements:
    """The running state of one group on this rank.

    Parameters
    ----------
    reduction : Reduction
        An elementwise one.
    state : object
        That of the first frame. It is copied.
    where : str
        How messages name that frame.
    memory : Memory
        Where the arrays are to lie.
    """

    def __init__(self, reduction: Reduction, state: Any, where: str, memory: Memory):
        structure, arrays = take_apart(state, elementwise=True)
        _require_numbers(reduction, structure, where)
        self.told = Whereabouts(structure, where)
        self._reduction = reduction
        self.flat: dict[np.dtype[Any], Array] = {}
        for dtype, size in sizes_of(structure).items():
            length = row_length((size,))
            flat = memory.zeros((-(-size // length), length), dtype).reshape(-1)
            if flat.size > size:
                flat[size:] = reduction.identity_of(dtype)
            self.flat[dtype] = flat
        self._arrays = views(structure, self.flat)
        for mine, array in zip(self._arrays, arrays, strict=True):
            mine[...] = array

    def combine(self, state: Any, where: str) -> None:
        """Combine with the state of another frame.

        Raises
        ------
        MismatchError
            If it is of another kind, shape or dtype.
        """
        structure, arrays = take_apart(state, elementwise=True)
        if structure != self.told.structure:
            _require_numbers(self._reduction, structure, where)
            raise mismatch(self._reduction, self.told, Whereabouts(structure, where))
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
            for mine, array in zip(self._arrays, arrays, strict=True):
                self._reduction.combine(mine, array, out=mine)


def mismatch(reduction: Reduction, first: Whereabouts, second: Whereabouts) -> MismatchError:
    """The error that two states cannot be combined."""
    return MismatchError(
        f"The reduction {reduction.name!r} cannot combine {first.structure} (from {first.where}) "
        f"and {second.structure} (from {second.where}): it works element by element, so all "
        "states must have the same shapes and kinds of numbers."
    )


def _require_numbers(reduction: Reduction, structure: Structure, where: str) -> None:
    for leaf in leaves_of(structure):
        if isinstance(leaf, ArrayLeaf) and reduction.takes(leaf.dtype):
            continue
        raise MismatchError(
            f"extract of the reduction {reduction.name!r} returned {leaf} (from {where}); the "
            f"operation {reduction.operation} takes numbers on which it is defined, arrays of "
            "them, and dictionaries, lists, tuples and dataclasses of these."
        )


def sizes_of(structure: Structure) -> dict[np.dtype[Any], int]:
    """How many elements of each kind of number there are."""
    sizes: dict[np.dtype[Any], int] = {}
    for leaf in array_leaves(structure):
        sizes[leaf.dtype] = sizes.get(leaf.dtype, 0) + prod(leaf.shape)
    return sizes


def views(structure: Structure, flat: Mapping[np.dtype[Any], Array]) -> list[Array]:
    """The arrays of a structure, as views of those in which they all lie."""
    at = dict.fromkeys(flat, 0)
    arrays = []
    for leaf in array_leaves(structure):
        begin, at[leaf.dtype] = at[leaf.dtype], at[leaf.dtype] + prod(leaf.shape)
        arrays.append(flat[leaf.dtype][begin : at[leaf.dtype]].reshape(leaf.shape))
    return arrays


def row_length(sizes: Sequence[int]) -> int:
    """Elements in a row, for arrays of these sizes of which each begins with a row."""
    return 1 << max(0, (sum(sizes) // max(len(sizes), _MOST_ROWS)).bit_length() - 1)


class _Batch(NamedTuple):
    """Groups that are joined together, and the kind of number."""

    keys: list[Hashable]
    dtype: np.dtype[Any]
    sizes: list[int]

    @property
    def length(self) -> int:
        return row_length(self.sizes)

    def rows(self) -> list[slice]:
        """The rows of each group."""
        counts = [-(-size // self.length) for size in self.sizes]
        ends = np.cumsum(counts).tolist()
        return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _batches(structures: Mapping[Hashable, Structure]) -> Iterator[_Batch]:
    """All groups in an order that is the same on all ranks: large ones alone."""
    small: dict[np.dtype[Any], _Batch] = {}
    for key, structure in structures.items():
        for dtype, size in sizes_of(structure).items():
            if size * dtype.itemsize >= SMALLEST:
                yield _Batch([key], dtype, [size])
            elif size:
                batch = small.setdefault(dtype, _Batch([], dtype, []))
                batch.keys.append(key)
                batch.sizes.append(size)
    yield from small.values()


def join_elements(
    comm: Comm,
    mine: dict[Hashable, Elements],
    structures: Mapping[Hashable, Structure],
    reduction: Reduction,
    strategy: str,
    *,
    result: str,
    root: int,
    memory: Memory,
) -> tuple[dict[Hashable, Any] | None, strategies.Statistics]:
    """Join the groups of all ranks. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    mine : dict of key to Elements
        What this rank holds. Its arrays are used up.
    structures : dict of key to Structure
        Those of all groups that there are, in the same order on all ranks.
    reduction, strategy, result, root, memory

    Returns
    -------
    states : dict of key to object, or None
        On the ranks that get the result; with ``result="sharded"`` they have a `Part` in the place
        of each array.
    statistics : Statistics
    """
    flat: dict[Hashable, dict[np.dtype[Any], Any]] = {key: {} for key in structures}
    done = []
    for batch in _batches(structures):
        blocks = _blocks_of(batch, mine, reduction, memory)
        there, statistics = strategies.reduce(
            comm,
            blocks,
            replace(reduction, identity=reduction.identity_of(batch.dtype)),
            strategy,
            result=result,
            root=root,
        )
        done.append(statistics)
        for key, size, rows in zip(batch.keys, batch.sizes, batch.rows(), strict=True):
            if there is not None and result == "sharded":
                flat[key][batch.dtype] = _share(there, rows, size)
            elif there is not None:
                flat[key][batch.dtype] = there.planes["all"][rows].reshape(-1)
    if not done:
        done.append(strategies.Statistics(why="there is nothing to join", ranks=comm.size))
    whole = functools.reduce(operator.add, done)
    if result == "root" and comm.rank != root:
        return None, whole
    unpack = _parts if result == "sharded" else _wholes
    return {key: unpack(structure, flat[key]) for key, structure in structures.items()}, whole


def _blocks_of(
    batch: _Batch, mine: Mapping[Hashable, Elements], reduction: Reduction, memory: Memory
) -> Blocks:
    """What this rank holds of a batch."""
    dtype, rows = batch.dtype, batch.rows()
    fill = reduction.identity_of(dtype)
    blocks = Blocks(rows[-1].stop, batch.length, {"all": dtype}, fill=fill, memory=memory)
    everything = zip(batch.keys, rows, batch.sizes, strict=True)
    held = [(mine[key], at, size) for key, at, size in everything if key in mine]
    if len(batch.keys) == 1 and held:
        plane = held[0][0].flat[dtype].reshape(-1, batch.length)
        blocks.replace(np.arange(blocks.n_rows), {"all": plane})
        return blocks
    numbers = [np.arange(at.start, at.stop) for _, at, _ in held]
    blocks.insert(np.concatenate([np.arange(0), *numbers]))
    begin = 0
    for elements, at, size in held:
        end = begin + at.stop - at.start
        blocks.planes["all"][begin:end].reshape(-1)[:size] = elements.flat[dtype][:size]
        begin = end
    return blocks


def _share(blocks: Blocks, rows: slice, size: int) -> Part:
    """What is here of the elements of a group."""
    first, last = np.searchsorted(blocks.rows, (rows.start, rows.stop))
    numbers = (blocks.rows[first:last] - rows.start)[:, None] * blocks.row_length
    indices = (numbers + np.arange(blocks.row_length)).reshape(-1)
    values = blocks.planes["all"][first:last].reshape(-1)
    inside = indices < size
    return Part(indices[inside], values[inside], (size,))


def _wholes(structure: Structure, flat: Mapping[np.dtype[Any], Array]) -> Any:
    empty = {dtype: np.empty(0, dtype) for dtype in sizes_of(structure)}
    return put_together(structure, views(structure, empty | dict(flat)))


def _parts(structure: Structure, flat: Mapping[np.dtype[Any], Part]) -> Any:
    at = dict.fromkeys(sizes_of(structure), 0)
    parts: list[Any] = []
    for leaf in array_leaves(structure):
        begin, at[leaf.dtype] = at[leaf.dtype], at[leaf.dtype] + prod(leaf.shape)
        nothing = Part(np.empty(0, np.int64), np.empty(0, leaf.dtype), (0,))
        share = flat.get(leaf.dtype, nothing)
        first, last = np.searchsorted(share.indices, (begin, at[leaf.dtype]))
        parts.append(Part(share.indices[first:last] - begin, share.values[first:last], leaf.shape))
    return put_together(structure, parts, number=lambda part: part)
