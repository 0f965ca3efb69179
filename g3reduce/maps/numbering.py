"""How the pixels of a running sum are numbered, and where they stand in its blocks.

Pixels come with the numbers that `g3reduce.maps.pixels` gives them: those of the map, or, in sparse
flat-sky maps, by columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from ..arrays.blocks import Blocks
from ..g3files.lines import Index, Lines, Values
from ..g3files.runs import RunLayout
from ..spt3gtypes import SkyMap
from .packing import LineParts
from .pixels import lines_of
from .positions import RunPositions

Key: TypeAlias = "tuple[str, bytes]"

_RUNS = "runs"

# If a map has more pixels, only a small part can be held, in submaps that must not be large.
_NEVER_HELD = 2**36
_SHORTEST = 64


class Numbering(Protocol):
    """A way of numbering the pixels of a sum.

    Attributes
    ----------
    key : tuple
        Equal for equal numberings of the same geometry, also on other ranks.
    n_rows, row_length : int
        The blocks that it needs.
    complete : bool
        Whether all rows are held from the beginning.
    """

    n_rows: int
    row_length: int
    complete: bool

    @property
    def key(self) -> Key:
        """A hashable name of this numbering, equal for equal ones."""
        ...

    def nonzero(self, blocks: Blocks, plane: Values) -> tuple[Index, Values]:
        """Numbers and values of the pixels of a plane that are not 0, in rising order."""
        ...

    def positions_of(self, blocks: Blocks, layout: RunLayout) -> RunPositions:
        """Where runs stand in a plane. The rows that they need are made."""
        ...

    def pixels(self, rows: Index) -> Index:
        """The pixels in rows, as the map itself numbers them, shape (rows, `row_length`).

        They are -1 where the last row reaches past the end.
        """
        ...


class MapNumbering(Numbering, Protocol):
    """A numbering in which every pixel of the map has its position: any map can be added."""

    def positions(self, blocks: Blocks, pixels: Index) -> Index:
        """Where pixels stand in a plane. The rows that they need are made."""
        ...


class ByRuns:
    """The order of the values of all runs, for maps that all have the same runs."""

    complete = True

    def __init__(self, layout: RunLayout):
        self.layout = layout
        self.row_length = submap_length(max(1, layout.size))
        self.n_rows = max(1, -(-layout.size // self.row_length))

    @property
    def key(self) -> Key:
        """A hashable name of this numbering, equal for equal ones."""
        return _RUNS, self.layout.digest

    def has(self, layout: RunLayout) -> bool:
        """Whether this layout is the one that is numbered here."""
        return layout is self.layout or layout.key == self.layout.key

    def positions_of(self, blocks: Blocks, layout: RunLayout) -> RunPositions:
        """The positions of the runs, in their order."""
        held = np.flatnonzero(layout.lengths)
        lengths = layout.lengths[held]
        return RunPositions.of(len(layout), layout.ends[held] - lengths, lengths, held, 1)

    def parts(self, blocks: Blocks, lines: Lines) -> LineParts:
        """The runs themselves, as far as they lie in rows that are held: these are neighbours."""
        if blocks.complete:
            return LineParts.of_layout(self.layout)
        first, last = blocks.rows[[0, -1]].tolist()
        return LineParts.of_values(
            self.layout, first * self.row_length, (last + 1) * self.row_length
        )

    def nonzero(self, blocks: Blocks, plane: Values) -> tuple[Index, Values]:
        """Numbers and values of the pixels of a plane that are not 0, in rising order."""
        held = np.flatnonzero(plane[: self.layout.size])
        pixels, values = self.layout.pixels()[held], plane[held]
        order = np.argsort(pixels, kind="stable")  # rings may begin half-way round
        return pixels[order], values[order]

    def pixels(self, rows: Index) -> Index:
        """The pixels in rows, as the map itself numbers them."""
        pixels = np.full((self.n_rows, self.row_length), -1)
        pixels.reshape(-1)[: self.layout.size] = self.layout.lines.as_mapped(self.layout.pixels())
        return pixels[rows]


class ByPixel:
    """The order of the pixels, in submaps of which only those that were hit are held.

    Parameters
    ----------
    stub : spt3g.maps.G3SkyMap
    short : bool
        Whether submaps are as short as they can be: for sums in which each pixel costs much.
    """

    key: ClassVar[Key] = ("pixels", b"")
    complete = False

    def __init__(self, stub: SkyMap, *, short: bool = False):
        self._lines = lines_of(stub)
        self._size = int(stub.size)
        self.row_length = _SHORTEST if short else submap_length(self._size)
        self.n_rows = -(-self._size // self.row_length)
        self._parts: tuple[Index, Lines, LineParts] | None = None  # of which rows and lines

    def hold(self, blocks: Blocks, layouts: Sequence[RunLayout]) -> None:
        """Make the rows that runs of several layouts need."""
        blocks.append(np.concatenate([_runs_by_row(one, self.row_length).rows for one in layouts]))

    def positions(self, blocks: Blocks, pixels: Index) -> Index:
        """Where pixels stand in a plane. The rows that they need are made."""
        rows = pixels // self.row_length
        blocks.append(rows)
        return blocks.locate(rows) * self.row_length + pixels % self.row_length

    def positions_of(self, blocks: Blocks, layout: RunLayout) -> RunPositions:
        """Where runs stand in a plane, cut where rows end. The rows that they need are made."""
        runs = _runs_by_row(layout, self.row_length)
        held = blocks.locate(runs.rows)
        if (held < 0).any():
            blocks.append(runs.rows)
            held = blocks.locate(runs.rows)
        return runs.positions(held)

    def parts(self, blocks: Blocks, lines: Lines) -> LineParts:
        """The pixels that are held, as parts of lines: they are kept, alike for all planes."""
        if self._parts is None or self._parts[0] is not blocks.rows or self._parts[1] != lines:
            first = blocks.rows * self.row_length
            lengths = np.minimum(self._size - first, self.row_length)
            begins = np.arange(len(first)) * self.row_length
            parts = LineParts.of_stretches(lines, first, lengths, begins)
            self._parts = blocks.rows, lines, parts
        return self._parts[2]

    def nonzero(self, blocks: Blocks, plane: Values) -> tuple[Index, Values]:
        """Numbers and values of the pixels of a plane that are not 0, in rising order.

        The blocks stay as they are: what other planes are to be stored from may be a view of them.
        """
        rows = blocks.rows
        if not np.all(rows[1:] > rows[:-1]):
            order = np.argsort(rows)
            rows, plane = rows[order], plane.reshape(-1, self.row_length)[order].reshape(-1)
        held = np.flatnonzero(plane)
        # How far the pixels of each row are from where they stand; rows are powers of two long.
        shift = (rows - np.arange(len(rows))) * self.row_length
        return held + shift[held >> (self.row_length.bit_length() - 1)], plane[held]

    def pixels(self, rows: Index) -> Index:
        """The pixels in rows, as the map itself numbers them."""
        pixels: Index = rows[:, None] * self.row_length + np.arange(self.row_length)
        return np.where(pixels < self._size, self._lines.as_mapped(pixels), -1)


class Whole:
    """The order of the array of a dense map: all pixels, those of a flat-sky map row by row."""

    key: ClassVar[Key] = ("whole", b"")
    complete = True

    def __init__(self, stub: SkyMap):
        self._shape: tuple[int, int] | None = stub.shape if len(stub.shape) == 2 else None
        # Rows that fill the map to its last pixel: then a plane is the array of a map.
        self.row_length = stub.shape[1] if self._shape else 4 * stub.nside
        self.n_rows = stub.size // self.row_length
        self._step = stub.shape[1] if self._shape else 1

    def positions(self, blocks: Blocks, pixels: Index) -> Index:
        """Where pixels stand in a plane."""
        if self._shape is None:
            return pixels
        n_y, n_x = self._shape
        positions: Index = pixels % n_y * n_x + pixels // n_y
        return positions

    def positions_of(self, blocks: Blocks, layout: RunLayout) -> RunPositions:
        """Where runs stand in a plane: columns of a flat-sky map across its rows."""
        first, lengths, of_run = layout.stretches
        held = np.flatnonzero(lengths)
        run = np.repeat(np.arange(len(layout)), np.diff(of_run))[held]
        positions = self.positions(blocks, first[held])
        return RunPositions.of(len(layout), positions, lengths[held], run, self._step)

    def nonzero(self, blocks: Blocks, plane: Values) -> tuple[Index, Values]:
        """Numbers (by columns in a flat map) and values of the pixels that are not 0."""
        if self._shape is not None:
            plane = np.ascontiguousarray(plane.reshape(self._shape).T).reshape(-1)
        pixels = np.flatnonzero(plane)
        return pixels, plane[pixels]

    def pixels(self, rows: Index) -> Index:
        """The pixels in rows, as the map itself numbers them."""
        pixels: Index = rows[:, None] * self.row_length + np.arange(self.row_length)
        return pixels


class _Cut(NamedTuple):
    """Stretches of pixels, cut so that each lies in one row.

    Attributes
    ----------
    first, lengths : int64 array
        The first pixel of each, and how many it has.
    rows : int64 array
        The row of each.
    number : int64 array
        Of which stretch it is a part.
    """

    first: Index
    lengths: Index
    rows: Index
    number: Index


class _RunsByRow:
    """The runs of a layout, cut where rows end.

    Attributes
    ----------
    rows : int64 array
        The row of each part.
    """

    def __init__(self, layout: RunLayout, row_length: int):
        first, lengths, of_run = layout.stretches
        self._n_runs, self._row_length = len(layout), row_length
        self._cut = _cut(first, lengths, row_length)
        self._run = np.repeat(np.arange(len(layout)), np.diff(of_run))[self._cut.number]
        self._latest: tuple[Index, RunPositions] | None = None
        self.rows = self._cut.rows

    def positions(self, held: Index) -> RunPositions:
        """Where they stand in a plane in which their rows stand at these places.

        Sums of the same frames hold their rows in the same order.
        """
        latest = self._latest
        if latest is None or not np.array_equal(held, latest[0]):
            positions = held * self._row_length + self._cut.first % self._row_length
            lengths = self._cut.lengths
            latest = held, RunPositions.of(self._n_runs, positions, lengths, self._run, 1)
            self._latest = latest
        return latest[1]


# Those that were found, as long as anything holds their layouts.
_found: WeakKeyDictionary[RunLayout, dict[int, _RunsByRow]] = WeakKeyDictionary()


def _runs_by_row(layout: RunLayout, row_length: int) -> _RunsByRow:
    """The runs of a layout by row, which are the same for all sums."""
    by_length = _found.setdefault(layout, {})
    if row_length not in by_length:
        by_length[row_length] = _RunsByRow(layout, row_length)
    return by_length[row_length]


def _cut(first: Index, lengths: Index, row_length: int) -> _Cut:
    """Cut stretches, some of which may be empty, at the ends of rows."""
    held = np.flatnonzero(lengths)
    first, ends = first[held], first[held] + lengths[held]
    begin = first // row_length
    counts = (ends - 1) // row_length + 1 - begin
    number = np.repeat(np.arange(len(held)), counts)
    rows = begin[number] + np.arange(len(number)) - (np.cumsum(counts) - counts)[number]
    starts = np.maximum(first[number], rows * row_length)
    stops = np.minimum(ends[number], (rows + 1) * row_length)
    return _Cut(starts, stops - starts, rows, held[number])


def numbers_runs(key: Key) -> bool:
    """Whether this is the key of a `ByRuns`."""
    return key[0] == _RUNS


def submap_length(npix: int) -> int:
    """Pixels in a submap of a map of `npix` pixels.

    Short enough that the submaps of a patch are mostly full, long enough that they are few: a
    power of two from 64 to 256, about 4096 of them where that allows. Where there are more pixels
    than can ever be held, those that are held may lie far apart.
    """
    if npix > _NEVER_HELD:
        return _SHORTEST
    return int(2 ** min(8, max(6, round(math.log2(npix / 4096)))))
