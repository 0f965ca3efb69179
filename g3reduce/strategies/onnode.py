"""Sums of the ranks of a node, joined in their own memory: each rank adds one slice of the rows.

A rank reads its slice from all others, piece by piece, so that a piece is in the cache while it is
added, and writes the sum of each to where it goes. Each row is read and written by one rank only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import memory
from ..arrays.blocks import Blocks, Rows, distinct
from ..arrays.reduction import Reduction
from ..errors import G3ReduceError
from ..limits import LIMITS
from ..mpi import waiting
from ..mpi.agreement import collectively
from .nodes import DIRECT_MEMORY, Nodes
from .peers import Extents, address_of
from .rows import Scratch, combine_into, cuts, positions_of, shard_bounds
from .slices import Piece, extents_of, pieces_of

if TYPE_CHECKING:
    from mpi4py import MPI

T = TypeVar("T")
Array = NDArray[np.generic]
Planes = dict[str, Array]

# Planes that others may read and write, and where. They are kept until all ranks are done: also if
# this one is interrupted, or told of a failure, while others are still at work.
_lent: list[tuple[Nodes, Planes]] = []


class OnNode:
    """The work of one reduction on a node. Collective over the ranks of all nodes.

    Parameters
    ----------
    nodes : Nodes
        Of a communicator whose ranks use each other's memory.
    blocks : Blocks
        What this rank holds. It is used up.
    first : int
        The rank in the node that takes the sum, where one does.

    Attributes
    ----------
    held : list of int64 array
        The rows that each rank of the node holds.
    union : int64 array
        Those that any of them holds.
    bytes_direct : int
        Bytes of other ranks' memory that were read or written.
    """

    def __init__(self, nodes: Nodes, blocks: Blocks, first: int):
        self._nodes = nodes
        self._comm = nodes.comm
        self._node: MPI.Intracomm = nodes.node
        self._rank: int = nodes.node.rank
        self._peers = nodes.peers
        self._blocks = blocks
        self._first = first
        self._scratch = Scratch()
        self.bytes_direct = 0
        self.held: list[Rows] = self._node.allgather(blocks.rows)
        self._take_back()  # what was lent before: all have come from there
        self.union: Rows = distinct(np.concatenate(self.held), blocks.n_rows)

    def sum_up(self, reduction: Reduction, *, result: str) -> Blocks | None:
        """Join the sums of the node.

        Parameters
        ----------
        reduction : Reduction
        result : {"root", "all", "sharded"}
            Where on the node they go: to the first rank, to all, or to each rank a slice of them.

        Returns
        -------
        Blocks or None
            The sums, on the ranks that get any.
        """
        blocks, everyone = self._blocks, range(self._node.size)
        part = self.union[self._slice_of(self.union)]
        rows: dict[int, Rows] = {}  # on the ranks that take sums of this slice
        if result == "sharded":
            rows[self._rank] = part
        else:
            for rank in everyone if result == "all" else [self._first]:
                rows[rank] = _and_missing(self.held[rank], self.union)
        mine = rows.get(self._rank, part[:0])
        names, sums, refused = sorted(blocks.planes), Planes(), False
        try:
            sums = _room_for(mine, blocks)
        except MemoryError:
            refused = True  # which all are to hear of first
        self._lend(blocks.planes | sums)
        addresses = self._node.allgather(
            [(address_of(blocks.planes[name]), address_of(sums[name])) for name in names if sums]
        )
        sources = {rank: positions_of(self.held[rank], part) for rank in everyone}
        takers = {rank: positions_of(there, part) for rank, there in rows.items()}

        def add() -> None:
            if refused:
                raise MemoryError(f"no memory for the sums of {len(mine)} rows")
            if not all(addresses):  # on another rank
                return
            plans: dict[int, list[Piece]] = {}
            for number, name in enumerate(names):
                plane = blocks.planes[name]
                if plane.itemsize not in plans:
                    plans[plane.itemsize] = pieces_of(sources, takers, plane, LIMITS.node_piece)
                where = [_bases(*planes[number]) for planes in addresses]
                for piece in plans[plane.itemsize]:
                    self._add(piece, plane, sums[name], where, reduction)

        self._or_fail_on_all(add)
        if any(plane is not blocks.planes[name] for name, plane in sums.items()):
            blocks.replace(mine, sums)
        return blocks if self._rank in rows else None

    def spread(self, total: Blocks | None, *, result: str) -> Blocks:
        """Bring blocks of the first rank to all ranks of the node: whole, or to each a slice.

        Parameters
        ----------
        total : Blocks or None
            Those of the first rank.
        result : {"all", "sharded"}
            What each rank gets.
        """
        # MPI would let the others look for the message all the time, on cores that may be shared
        # with the first rank, which still works.
        waiting.wait_out(self._node.Ibarrier().Test, "the sum of all nodes")
        blocks = self._blocks if total is None else total
        there = None
        if total is not None:
            self._lend(total.planes)
            there = total.rows, {name: address_of(plane) for name, plane in total.planes.items()}
        rows, addresses = self._node.bcast(there, self._first)
        part = self._slice_of(rows) if result == "sharded" else slice(0, len(rows))
        planes = collectively(self._comm, lambda: _room_for(rows[part], blocks))

        def fetch() -> None:
            for name, plane in planes.items():
                if total is not None:
                    if plane is not total.planes[name]:
                        plane[:] = total.planes[name][part]
                    continue
                (base,) = _bases(addresses[name])
                for cut, columns in cuts(len(plane), plane, LIMITS.message_piece):
                    positions = np.arange(part.start + cut.start, part.start + cut.stop)
                    extents, _ = extents_of(positions, columns, plane)
                    self._read(self._first, base, extents, plane[cut, columns])

        self._or_fail_on_all(fetch)
        blocks.replace(rows[part], planes)
        return blocks

    def _slice_of(self, rows: Rows) -> slice:
        bounds = shard_bounds(len(rows), self._node.size)
        return slice(int(bounds[self._rank]), int(bounds[self._rank + 1]))

    def _add(
        self,
        piece: Piece,
        mine: Array,
        sums: Array,
        where: list[tuple[Extents, ...]],
        reduction: Reduction,
    ) -> None:
        """Add up a piece over all ranks, in their order, and bring the sum to those that take it.

        Parameters
        ----------
        piece : Piece
        mine, sums : array
            What this rank holds, and what takes the sums here; may be the same.
        where : list of (Extents, Extents)
            What is to be added to extents for the addresses of both, on each rank.
        reduction : Reduction
        """
        here = next((share for share in piece.takers if share.rank == self._rank), None)
        place: Array | None = None  # where the sum goes here, if its rows are neighbours there
        if here is not None and isinstance(here.positions, slice):
            place = sums[here.positions, piece.columns]
        scratch = self._scratch.array("total", piece.shape, mine.dtype)
        total = scratch if place is None or sums is mine else place
        for number, share in enumerate(piece.sources):
            own = share.rank == self._rank
            if own and place is not None and sums is mine:
                # From here on in its place, where nothing is left to be added.
                if number:
                    reduction.combine(total, place, out=place)
                total = place
                continue
            if own:
                values = mine[share.positions, piece.columns]
            else:
                shape = (len(share.here), piece.shape[1])
                values = self._scratch.array("theirs", shape, mine.dtype)
                if not number and share.complete:
                    values = total
                self._read(share.rank, where[share.rank][0], share.extents, values)
            if number == 0 and values is not total:
                total[:] = values if share.complete else reduction.identity
            if number or not share.complete:
                combine_into(total, share.here, slice(None), values, reduction)
        for share in piece.takers:
            if share.rank != self._rank:
                self._write(share.rank, where[share.rank][1], share.extents, total)
            elif total is not place:
                sums[share.positions, piece.columns] = total

    def _read(self, rank: int, base: Extents, extents: Extents, into: Array) -> None:
        self._peers.read(rank, extents + base, into)
        self.bytes_direct += into.nbytes

    def _write(self, rank: int, base: Extents, extents: Extents, array: Array) -> None:
        self._peers.write(rank, extents + base, array)
        self.bytes_direct += array.nbytes

    def _or_fail_on_all(self, work: Callable[[], T]) -> T:
        """Do work on each rank, or raise on all. Afterwards all have done it, or failed."""

        def attempt() -> T:
            try:
                return work()
            except OSError as error:
                raise G3ReduceError(
                    f"The memory of other ranks of the node cannot be used: {error}. With "
                    f"{DIRECT_MEMORY}=0 in the environment the ranks exchange messages instead."
                ) from error

        return collectively(self._comm, attempt, self._take_back)

    def _lend(self, planes: Planes) -> None:
        """Keep planes whose addresses others are going to learn."""
        _lent.append((self._nodes, dict(planes)))

    def _take_back(self) -> None:
        """Keep planes no longer: no rank is at work on them."""
        _lent[:] = [(nodes, planes) for nodes, planes in _lent if nodes is not self._nodes]


def _bases(*addresses: int) -> tuple[Extents, ...]:
    """What is to be added to extents that count from the beginning of an array."""
    return tuple(np.array([address, 0], np.uint64) for address in addresses)


def _and_missing(held: Rows, union: Rows) -> Rows:
    """Rows as they are held, and behind them those that are not."""
    missing = union[positions_of(held, union) < 0]
    return np.concatenate([held, missing]) if len(missing) else held


def _room_for(rows: Rows, blocks: Blocks) -> Planes:
    """Planes for these rows, to be written: those of the blocks, if they have them or have room."""
    held = len(blocks.rows)
    if np.array_equal(rows[:held], blocks.rows) and len(rows) <= blocks.room:
        blocks.append(rows[held:])
        return dict(blocks.planes)
    return {
        name: memory.empty((len(rows), plane.shape[1]), plane.dtype)
        for name, plane in blocks.planes.items()
    }
