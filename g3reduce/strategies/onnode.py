"""Sums of the ranks of a node, joined in shared memory: each rank adds one slice, in rank order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import memory
from ..arrays.blocks import Blocks, Rows, distinct
from ..arrays.memory import Stretch
from ..arrays.reduction import Reduction
from ..errors import G3ReduceError
from ..limits import LIMITS
from ..mpi.agreement import collectively
from .nodes import SHARED_MEMORY, Nodes
from .rows import Scratch, combine_into, cuts, rows_on_each, shard_bounds

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger(__name__)

T = TypeVar("T")
Array = NDArray[np.generic]


class OnNode:
    """The work of one reduction on a node. Collective over the ranks of all nodes.

    Parameters
    ----------
    nodes : Nodes
        Of a communicator whose ranks share memory.
    blocks : Blocks
        What this rank holds. It is used up.
    first : int
        The rank in the node that takes the sum, where one does.

    Attributes
    ----------
    union : int64 array
        The rows that any rank of the node holds.
    first_has_all : bool
        Whether the rank that takes the sum holds all of them.
    bytes_mapped : int
        Bytes of other ranks' memory that were read or written.
    """

    def __init__(self, nodes: Nodes, blocks: Blocks, first: int):
        self._comm = nodes.comm
        self._node: MPI.Intracomm = nodes.node
        self._blocks = blocks
        self._first = first
        self.bytes_mapped = 0
        everyone = rows_on_each(self._node, blocks)
        self.union: Rows = distinct(np.concatenate(everyone), blocks.n_rows)
        self._slice = self._slice_of(self.union)
        rows = self.union[self._slice]
        # For each rank: the positions of rows of this slice in its planes, and in the slice.
        self._there: list[slice] = []
        self._here: list[Rows] = []
        for held in everyone:
            begin = int(np.searchsorted(held, rows[0])) if len(rows) else 0
            end = int(np.searchsorted(held, rows[-1], side="right")) if len(rows) else 0
            self._there.append(slice(begin, end))
            self._here.append(np.searchsorted(rows, held[begin:end]))
        # Then its planes take the sum; else it needs new ones.
        self.first_has_all = len(everyone[first]) == len(self.union)

    def sum_up(self, reduction: Reduction, *, keep: bool) -> Blocks | None:
        """Join the sums of the node on its first rank.

        Parameters
        ----------
        keep : bool
            Leave the other ranks their planes, for `spread` to write to.

        Returns
        -------
        Blocks or None
            The sums, on the first rank.
        """
        takes_it, planes = self._node.rank == self._first, self._blocks.planes
        done: dict[str, Any] = {}
        # Where rank 0 of the node takes the sum, the others are added to what is there.
        start = 1 if self._first == 0 and self.first_has_all else 0
        for name in list(planes):  # one by one: what was joined is freed at once
            mine, target = _unless_refused(self._prepare, planes.pop(name)) or (None, None)
            everyone = self._node.allgather((_stretch_of(mine), _stretch_of(target)))
            parts, out = self._or_fail_on_all(self._map_parts_and_sum, mine, target, everyone)
            self._add(parts, out, reduction, start)
            shape, dtype = out.shape, out.dtype
            del parts, out
            self._node.Barrier()  # all have read and written before anything is freed
            done[name] = target if takes_it else mine if keep else np.empty((0, shape[1]), dtype)
        rows = self._blocks.rows if keep else self._blocks.rows[:0]
        self._blocks.replace(self.union if takes_it else rows, done)
        return self._blocks if takes_it else None

    def own_slice(self, reduction: Reduction) -> Blocks:
        """Join the sums of the node so that each rank gets a slice of them, in private memory."""
        shard = self._blocks.like(memory.PRIVATE)
        shard.insert(self.union[self._slice])
        planes = self._blocks.planes
        for name in list(planes):
            mine = _unless_refused(_in_shared_memory, planes.pop(name))
            stretches = self._node.allgather(_stretch_of(mine))
            parts = self._or_fail_on_all(self._map_parts, mine, stretches)
            self._add(parts, shard.planes[name], reduction)
            del parts
            self._node.Barrier()
        return shard

    def spread(self, total: Blocks | None, *, result: str) -> Blocks:
        """Bring blocks of the first rank to all ranks of the node: whole, or to each a slice.

        Parameters
        ----------
        total : Blocks or None
            Those of the first rank.
        result : {"all", "sharded"}
            What each rank gets.
        """
        rows = self._node.bcast(None if total is None else total.rows, self._first)
        part = self._slice_of(rows) if result == "sharded" else slice(0, len(rows))
        if result == "sharded":
            mine = self._blocks.like(memory.PRIVATE)
        else:
            mine = self._blocks if total is None else total
        mine.insert(rows[part])
        for name in sorted(mine.planes):
            plane = mine.planes[name]
            source = None
            if total is not None:
                source = _unless_refused(_in_shared_memory, total.planes[name])
            stretch = self._node.bcast(_stretch_of(source), self._first)
            seen = self._or_fail_on_all(self._map_rows, source, stretch, part, plane)
            if mine is not total:
                plane[:] = seen
            del seen
            self._node.Barrier()
        return mine

    def _slice_of(self, rows: Rows) -> slice:
        bounds = shard_bounds(len(rows), self._node.size)
        return slice(int(bounds[self._node.rank]), int(bounds[self._node.rank + 1]))

    def _prepare(self, plane: Array) -> tuple[Array, Array | None]:
        """This rank's plane in shared memory; on the first rank also the one that takes the sum."""
        mine = _in_shared_memory(plane)
        if self._node.rank != self._first:
            return mine, None
        if self.first_has_all:
            return mine, mine
        shape = (len(self.union), self._blocks.row_length)
        return mine, memory.shared().require(shape, plane.dtype)

    def _map_parts_and_sum(
        self,
        mine: Array,
        target: Array | None,
        everyone: list[tuple[Stretch | None, Stretch | None]],
    ) -> tuple[list[Array], Array]:
        """Map the part of each rank in this rank's slice, and the part of the plane for its sum."""
        parts = self._map_parts(mine, [stretch for stretch, _ in everyone])
        out = self._map_rows(target, everyone[self._first][1], self._slice, mine, writable=True)
        return parts, out

    def _map_parts(self, mine: Array, stretches: list[Stretch | None]) -> list[Array]:
        """Map the part of each rank in this rank's slice."""
        return [
            self._map_rows(mine if rank == self._node.rank else None, stretch, there, mine)
            for rank, (stretch, there) in enumerate(zip(stretches, self._there, strict=True))
        ]

    def _map_rows(
        self,
        mine: Array | None,
        stretch: Stretch | None,
        rows: slice,
        like: Array,
        *,
        writable: bool = False,
    ) -> Array:
        """Rows of this rank's plane, or of one in another rank's memory."""
        if stretch is None or like is None:
            raise OSError("a rank got no memory to share")
        if mine is not None:
            return mine[rows]
        nbytes = like.shape[1] * like.itemsize
        begin, end = rows.start * nbytes, rows.stop * nbytes
        self.bytes_mapped += end - begin
        seen = memory.attach(stretch, begin, end, writable=writable)
        return seen.view(like.dtype).reshape(-1, like.shape[1])

    def _add(self, parts: list[Array], out: Array, reduction: Reduction, start: int = 0) -> None:
        """Combine the parts of all ranks from `start` on into `out`, piece by piece."""
        scratch = Scratch()
        for rows, columns in cuts(len(out), out, LIMITS.node_piece):
            total = out[rows, columns]
            if start == 0:
                # Not in `out` itself: it may be what one of the later ranks holds.
                total = scratch.array("total", total.shape, out.dtype)
                total[:] = reduction.identity
            for part, here in zip(parts[start:], self._here[start:], strict=True):
                if len(here) == len(out):  # all rows of the slice
                    reduction.combine(total, part[rows, columns], out=total)
                    continue
                begin, end = np.searchsorted(here, (rows.start, rows.stop))
                values = part[begin:end, columns]
                combine_into(total, here[begin:end] - rows.start, slice(None), values, reduction)
            if start == 0:
                out[rows, columns] = total

    def _or_fail_on_all(self, work: Callable[..., T], *arguments: object) -> T:
        """Do some work that the system may refuse on one rank, and raise on all ranks if it did."""

        def attempt() -> T:
            try:
                return work(*arguments)
            except OSError as error:
                raise G3ReduceError(
                    f"Memory of a node cannot be shared: {error}. With {SHARED_MEMORY}=0 in the "
                    "environment the ranks exchange messages instead."
                ) from error

        return collectively(self._comm, attempt)


def _unless_refused(work: Callable[..., T], *arguments: object) -> Any:
    """The outcome of some work; None if the system refuses, and then all fail when they map it."""
    try:
        return work(*arguments)
    except (OSError, MemoryError) as error:
        logger.warning("Memory of this rank cannot be shared: %s", error)
        return None


def _in_shared_memory(plane: Array) -> Array:
    """The plane itself if it is in shared memory, else a copy that is."""
    if memory.shared().stretch_of(plane) is not None:
        return plane
    copy = memory.shared().require(plane.shape, plane.dtype)
    copy[:] = plane
    return copy


def _stretch_of(plane: Array | None) -> Stretch | None:
    """The location of a plane in shared memory, if it is there."""
    return None if plane is None else memory.shared().stretch_of(plane)
