"""The lines along which sparse maps store their pixels: columns of flat maps, rings of HEALPix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Index: TypeAlias = "NDArray[np.int64]"
Values: TypeAlias = "NDArray[np.float64]"

# For an empty map of a larger nside spt3g needs much memory: it has tables of all rings in each.
_DEEP = 2**13


class Stretches(NamedTuple):
    """Runs of pixels, cut so that the numbers of the pixels of each are consecutive.

    Attributes
    ----------
    pixels : int64 array
        Number of the first pixel of each.
    lengths : int64 array
        Its pixels.
    of_run : int64 array
        Of how many stretches the runs before each run are made; one more than there are runs.
    """

    pixels: Index
    lengths: Index
    of_run: Index


@dataclass(frozen=True)
class Columns:
    """The columns of a flat-sky map, whose pixels are numbered column by column.

    Attributes
    ----------
    n_x, n_y : int
        How many columns there are, and the pixels in each.
    """

    n_x: int
    n_y: int

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and positions, as spt3g writes them into the map."""
        return self.n_x, self.n_y

    def lengths(self, first: int, count: int) -> Index:
        """Positions on each of these lines, as far as they are there."""
        return np.full(max(0, min(count, self.n_x - first)), self.n_y)

    shifted = False
    deep = False

    def begins(self, first: int, last: int) -> Index:
        """The first pixel of each line ``first <= line < last``; one past the end may follow."""
        return np.arange(first, last) * self.n_y

    def stretches(self, lines: Index, starts: Index, lengths: Index) -> Stretches:
        """Where runs lie among the pixels."""
        return Stretches(lines * self.n_y + starts, lengths, np.arange(len(lines) + 1))

    def locate(self, pixels: Index) -> tuple[Index, Index]:
        """Line and position of pixels."""
        lines, positions = np.divmod(pixels, self.n_y)
        return lines, positions

    def as_mapped(self, pixels: Index) -> Index:
        """The numbers that the map itself has for pixels, row by row."""
        mapped: Index = pixels % self.n_y * self.n_x + pixels // self.n_y
        return mapped


@dataclass(frozen=True)
class Rings:
    """The rings of a HEALPix map in RING order (Gorski et al. 2005, section 5.1).

    Attributes
    ----------
    nside : int
    shifted : bool
        Whether positions are counted from half-way round.
    """

    nside: int
    shifted: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and positions, as spt3g writes them into the map."""
        return 4 * self.nside, 4 * self.nside  # it counts from 1 and keeps an empty ring 0

    @property
    def deep(self) -> bool:
        """Whether empty maps should not be kept without need."""
        return self.nside > _DEEP

    def lengths(self, first: int, count: int) -> Index:
        """Positions on each of these lines, as far as they are there."""
        return _ring_lengths(self.nside, np.arange(first, min(first + count, 4 * self.nside)))

    def begins(self, first: int, last: int) -> Index:
        """The first pixel of each line ``first <= line < last``; one past the end may follow."""
        begins = _ring_begins(self.nside, np.arange(first, min(last, 4 * self.nside)))
        past = last > 4 * self.nside
        return np.append(begins, 12 * self.nside**2) if past else begins

    def stretches(self, lines: Index, starts: Index, lengths: Index) -> Stretches:
        """Where runs lie among the pixels."""
        around = _ring_lengths(self.nside, lines)
        begin = _ring_begins(self.nside, lines)
        if not self.shifted:
            return Stretches(begin + starts, lengths, np.arange(len(lines) + 1))
        # A run that passes the position where the numbers of its ring begin is cut there.
        first = (starts + around // 2) % np.maximum(around, 1)
        before = np.minimum(lengths, around - first)
        pixels = np.stack([begin + first, begin], axis=1).reshape(-1)
        parts = np.stack([before, lengths - before], axis=1).reshape(-1)
        held = parts > 0
        held[::2] = True
        of_run = np.concatenate([[0], np.cumsum(1 + held[1::2])])
        return Stretches(pixels[held], parts[held], of_run)

    def locate(self, pixels: Index) -> tuple[Index, Index]:
        """Line and position of pixels."""
        lines = _ring_of(self.nside, pixels)
        positions = pixels - _ring_begins(self.nside, lines)
        if self.shifted:
            around = _ring_lengths(self.nside, lines)
            positions = (positions + around // 2) % around
        return lines, positions

    def as_mapped(self, pixels: Index) -> Index:
        """The numbers that the map itself has for pixels: the same."""
        return pixels


Lines: TypeAlias = "Columns | Rings"


def _ring_lengths(nside: int, rings: Index) -> Index:
    lengths: Index = 4 * np.minimum(np.minimum(rings, 4 * nside - rings), nside)
    return lengths


def _ring_begins(nside: int, rings: Index) -> Index:
    """The first pixel of rings. The belt between the caps begins behind ring `nside`."""
    to_south = np.minimum(4 * nside - rings, nside)
    return np.where(
        rings <= nside,
        2 * rings * (rings - 1),
        np.where(
            rings <= 3 * nside,
            2 * nside * (nside - 1) + 4 * nside * (rings - nside),
            12 * nside**2 - 2 * to_south * (to_south + 1),
        ),
    )


def _ring_of(nside: int, pixels: Index) -> Index:
    """The rings of pixels."""
    south = 12 * nside**2 - 1 - pixels
    rings = nside + (pixels - 2 * nside * (nside - 1)) // (4 * nside)
    cap = 2 * nside * (nside + 1)
    rings = np.where(pixels < cap, _ring_of_cap(np.minimum(pixels, cap)), rings)
    return np.where(south < cap, 4 * nside - _ring_of_cap(np.minimum(south, cap)), rings)


def _ring_of_cap(pixels: Index) -> Index:
    """The rings of pixels of the northern cap: `r` for ``2 r (r - 1) <= pixel < 2 r (r + 1)``."""
    rings = ((1 + np.sqrt(1 + 2 * pixels.astype(np.float64))) / 2).astype(np.int64)
    # Floats do not hold large numbers to the last digit.
    rings -= 2 * rings * (rings - 1) > pixels
    rings += 2 * rings * (rings + 1) <= pixels
    return rings
