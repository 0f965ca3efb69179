"""How the pixels of a running sum are numbered, and where they stand in its blocks.

Pixels come with the numbers that `g3reduce.maps.pixels` gives them: those of the map, or, in sparse
flat-sky maps, by columns.
"""

from __future__ import annotations

import math
from typing import ClassVar, Protocol, TypeAlias

import numpy as np

from ..arrays.blocks import Blocks, distinct
from ..g3files.lines import Index, Values
from ..g3files.runs import RunLayout
from ..spt3gtypes import SkyMap
from .pixels import lines_of

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

    def pixels(self, rows: Index) -> Index:
        """The pixels in rows, as the map itself numbers them, shape (rows, `row_length`).

        They are -1 where the last row reaches past the end.
        """
        ...


class MapNumbering(Numbering, Protocol):
    """A numbering in which every pixel of the map has its position: any map can be added.

    Attributes
    ----------
    step : int
        From the position of a pixel to that of the next on its line.
    """

    step: int

    def rows_of(self, pixels: Index) -> Index:
        """The rows in which pixels are and that may not be held yet, each once."""
        ...

    def rows_of_stretches(self, first: Index, lengths: Index) -> Index:
        """The same for stretches of pixels."""
        ...

    def positions(self, blocks: Blocks, pixels: Index) -> Index:
        """Where pixels stand in a plane. Their rows must be held."""
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
    """The order of the pixels, in submaps of which only those that were hit are held."""

    key: ClassVar[Key] = ("pixels", b"")
    complete = False
    step = 1

    def __init__(self, stub: SkyMap):
        self._lines = lines_of(stub)
        self._size = int(stub.size)
        self.row_length = submap_length(self._size)
        self.n_rows = -(-self._size // self.row_length)

    def rows_of(self, pixels: Index) -> Index:
        """The rows in which pixels are, each once."""
        return distinct(pixels // self.row_length, self.n_rows)

    def rows_of_stretches(self, first: Index, lengths: Index) -> Index:
        """The rows in which stretches of pixels are, each once."""
        held = lengths > 0
        first, lengths = first[held], lengths[held]
        begin = first // self.row_length
        counts = (first + lengths - 1) // self.row_length + 1 - begin
        # The rows of one stretch after those of another: one more than in the row before, and where
        # a stretch begins, its first.
        before = np.cumsum(counts) - counts
        rows = np.repeat(begin - before, counts) + np.arange(counts.sum())
        return distinct(rows, self.n_rows)

    def positions(self, blocks: Blocks, pixels: Index) -> Index:
        """Where pixels stand in a plane. Their rows must be held."""
        rows = blocks.locate(pixels // self.row_length)
        return rows * self.row_length + pixels % self.row_length

    def nonzero(self, blocks: Blocks, plane: Values) -> tuple[Index, Values]:
        """Numbers and values of the pixels of a plane that are not 0, in rising order."""
        held = np.flatnonzero(plane)
        # How far the pixels of each row are from where they stand; rows are powers of two long.
        shift = (blocks.rows - np.arange(len(blocks.rows))) * self.row_length
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
        self.step = stub.shape[1] if self._shape else 1

    def rows_of(self, pixels: Index) -> Index:
        """None: all rows are held."""
        return np.empty(0, np.int64)

    def rows_of_stretches(self, first: Index, lengths: Index) -> Index:
        """None: all rows are held."""
        return np.empty(0, np.int64)

    def positions(self, blocks: Blocks, pixels: Index) -> Index:
        """Where pixels stand in a plane."""
        if self._shape is None:
            return pixels
        n_y, n_x = self._shape
        positions: Index = pixels % n_y * n_x + pixels // n_y
        return positions

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


def numbers_runs(key: Key) -> bool:
    """Whether this is the key of a `ByRuns`."""
    return key[0] == _RUNS


def submap_length(npix: int) -> int:
    """Pixels in a submap of a map of `npix` pixels.

    Short enough that the submaps of a patch are mostly full, long enough that they are few: a
    power of two from 64 to 1024, about 4096 of them where that allows. Where there are more pixels
    than can ever be held, those that are held may lie far apart.
    """
    if npix > _NEVER_HELD:
        return _SHORTEST
    return int(2 ** min(10, max(6, round(math.log2(npix / 4096)))))
