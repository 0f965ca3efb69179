"""Numbered rows of numpy arrays, which strategies join.

A long 1-D array, such as a map, is cut into equal rows, and only rows that were touched are
held. The rows of a full map are all there; those of a small patch are few; either way each plane
is one contiguous array, and MPI sees buffers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import memory

Rows = NDArray[np.int64]


def _table_pays(n: int) -> int:
    """The longest table that is worth making for so many numbers.

    The rows of a few pixels are few, also where those of the whole map are more than fit in memory.
    """
    return max(2**16, 16 * n)


def _with_reserve(n: int) -> int:
    """How many rows to take memory for where so many are needed: it is not touched before use."""
    return n + n // 2


def distinct(numbers: Rows, end: int) -> Rows:
    """The distinct numbers among some, in rising order.

    Parameters
    ----------
    numbers : int64 array
        From 0 to `end`, which may be large.
    end : int
    """
    if end > _table_pays(len(numbers)):
        return np.unique(numbers)
    found = np.zeros(end, bool)
    found[numbers] = True
    return np.flatnonzero(found)


class Blocks:
    """Rows ``0 <= number < n_rows`` of one or several planes, of which some are held.

    Parameters
    ----------
    n_rows : int
        How many rows there could be.
    row_length : int
        Elements in a row.
    dtypes : dict of str to dtype
        The planes: name and kind of number of each. All planes hold the same rows.
    fill : number
        What a row holds when it is new: the identity of the operation that will be done on it.
    widths : dict of str to int, optional
        Of planes whose rows are longer: how many times `row_length` elements each has.

    Attributes
    ----------
    rows : int64 array, shape (n_held,)
        Numbers of the rows that are held: in rising order, but for those that `append` has put
        behind the others; see `sort`.
    planes : dict of str to array, shape (n_held, row_length)
        The elements of those rows. Contiguous. Rows of a wide plane are longer, see `widths`.
    moves : int
        How often rows that were held may have come to other positions.

    Examples
    --------
    >>> blocks = Blocks(n_rows=100, row_length=4, dtypes={"T": "f8"})
    >>> blocks.insert(np.array([7, 3]))
    >>> blocks.planes["T"][blocks.locate(np.array([7]))] += 1.5
    >>> blocks.rows, float(blocks.planes["T"].sum())
    (array([3, 7]), 6.0)
    """

    def __init__(
        self,
        n_rows: int,
        row_length: int,
        dtypes: Mapping[str, DTypeLike],
        fill: float = 0,
        widths: Mapping[str, int] | None = None,
    ):
        self.n_rows = n_rows
        self.row_length = row_length
        self.fill = fill
        self.widths = dict(widths or {})
        self.rows: Rows = np.empty(0, np.int64)
        self.planes: dict[str, NDArray[np.generic]] = {
            name: self._new_plane(name, 0, dtype) for name, dtype in dtypes.items()
        }
        self.moves = 0
        self._sorted = True
        self._positions: Rows | None = None
        self._order: Rows | None = None
        # Of each plane that was appended to, and the memory of which it is the beginning.
        self._room: dict[str, tuple[NDArray[np.generic], NDArray[np.generic]]] = {}

    @property
    def nbytes(self) -> int:
        """Size of all planes, in bytes."""
        return sum(plane.nbytes for plane in self.planes.values())

    @property
    def row_nbytes(self) -> int:
        """Size of one row in all planes, in bytes."""
        elements = [self._length(name) * plane.itemsize for name, plane in self.planes.items()]
        return sum(elements)

    @property
    def complete(self) -> bool:
        """Whether all rows are held, so that each plane is the whole array."""
        return len(self.rows) == self.n_rows

    @property
    def room(self) -> int:
        """How many rows there may be before `append` takes new memory."""
        lengths = []
        for name, plane in self.planes.items():
            room, beginning = self._room.get(name, (plane, plane))
            lengths.append(len(room if beginning is plane else plane))
        return min(lengths, default=0)

    def like(self) -> Blocks:
        """New blocks for the same planes, without any row."""
        dtypes = {name: plane.dtype for name, plane in self.planes.items()}
        return Blocks(self.n_rows, self.row_length, dtypes, self.fill, self.widths)

    def add_plane(self, name: str, dtype: DTypeLike, width: int = 1) -> None:
        """Add a plane, in which all rows that are held are filled with `fill`."""
        if width != 1:
            self.widths[name] = width
        self.planes[name] = self._new_plane(name, len(self.rows), dtype)

    def replace(self, rows: Rows, planes: dict[str, NDArray[np.generic]]) -> None:
        """Replace all rows, each of which is given once, and planes."""
        self._hold(rows, in_order=bool(np.all(rows[1:] > rows[:-1])))
        self.planes = planes
        self._room.clear()
        self.moves += 1

    def locate(self, rows: Rows) -> Rows:
        """The positions of rows in the planes; -1 for those that are not held."""
        if self.complete and self._sorted:
            return rows
        if self.n_rows > _table_pays(len(self.rows)):
            if not len(self.rows):
                return np.full(len(rows), -1)
            if self._order is None and not self._sorted:
                self._order = np.argsort(self.rows)
            found = np.searchsorted(self.rows, rows, sorter=self._order)
            found = np.minimum(found, len(self.rows) - 1)
            positions = found if self._order is None else self._order[found]
            return np.where(self.rows[positions] == rows, positions, -1)
        if self._positions is None:
            self._positions = np.full(self.n_rows, -1, np.int64)
            self._positions[self.rows] = np.arange(len(self.rows))
        return self._positions[rows]

    def insert(self, rows: Rows) -> None:
        """Hold more rows, in rising order with the others; new ones are filled with `fill`.

        Views of planes that were taken before are not views of the new planes.
        """
        new = self._not_held(rows)
        if not len(new):
            return
        self.sort()
        union = distinct(np.concatenate([self.rows, new]), self.n_rows)
        kept = np.searchsorted(union, self.rows)
        for name, old in self.planes.items():
            plane = self._new_plane(name, len(union), old.dtype)
            if len(old):
                plane[kept] = old
            self.planes[name] = plane
        self._room.clear()
        self._hold(union, in_order=True)
        self.moves += 1

    def append(self, rows: Rows) -> None:
        """Hold more rows, behind those that are held: their positions stay as they are.

        A sum grows by this with every map that reaches past those before, so that elements are
        not moved, and new memory is taken for many rows at once.
        """
        new = self._not_held(rows)
        if not len(new):
            return
        new = distinct(new, self.n_rows)
        union = np.concatenate([self.rows, new])
        for name, old in self.planes.items():
            room, plane = self._room.get(name, (old, None))
            if plane is not old or len(room) < len(union):
                n_held = min(self.n_rows, _with_reserve(len(union)))
                room = self._new_plane(name, n_held, old.dtype)
                room[: len(old)] = old
            self.planes[name] = room[: len(union)]
            self._room[name] = room, self.planes[name]
        in_order = self._sorted and (not len(self.rows) or bool(new[0] > self.rows[-1]))
        self._hold(union, in_order=in_order)

    def sort(self) -> None:
        """Bring the rows into rising order. Views of planes are not views of the new ones."""
        if self._sorted:
            return
        order = np.argsort(self.rows)
        spare: dict[tuple[object, object], NDArray[np.generic]] = {}
        for name, old in self.planes.items():
            plane = spare.pop((old.dtype, old.shape), None)
            if plane is None:
                plane = memory.zeros(old.shape, old.dtype)
            self.planes[name] = np.take(old, order, axis=0, out=plane, mode="clip")
            spare[old.dtype, old.shape] = old  # memory that was touched is fast
        self._room.clear()
        self._hold(self.rows[order], in_order=True)
        self.moves += 1

    def _not_held(self, rows: Rows) -> Rows:
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n_rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()}, but there are {self.n_rows}")
        return rows[:0] if self.complete else rows[self.locate(rows) < 0]

    def _hold(self, rows: Rows, *, in_order: bool) -> None:
        self.rows, self._sorted = rows, in_order
        self._positions = self._order = None

    def _length(self, name: str) -> int:
        return self.row_length * self.widths.get(name, 1)

    def _new_plane(self, name: str, n_held: int, dtype: DTypeLike) -> NDArray[np.generic]:
        plane = memory.zeros((n_held, self._length(name)), dtype)
        if self.fill:  # zeros need not be written, and memory is not touched before it is used
            plane[:] = self.fill
        return plane
