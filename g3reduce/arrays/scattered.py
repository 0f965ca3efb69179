"""Values that lie in bytes as runs, each of which belongs somewhere else in a plane."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]

# Stretches that are shorter than this on average are added faster number by number.
_SHORT = 100


@dataclass(frozen=True)
class Places:
    """Where values lie in bytes, and where they belong in a plane, stretch by stretch.

    Attributes
    ----------
    offsets : int64 array
        Where each stretch begins in the bytes, counted from some `base`.
    positions, lengths : int64 array
        Where each stretch begins in the plane, and how many values it has.
    first, last : int
        Which of the stretches these are: ``first <= number < last``.
    base : int
        The offset of the first of the bytes.
    step : int
        From the position of a value to that of the next in its stretch.
    """

    offsets: Index
    positions: Index
    lengths: Index
    first: int
    last: int
    base: int
    step: int

    @functools.cached_property
    def for_loops(self) -> tuple[Any, ...]:
        """What compiled loops need to know, but for the `step`; in the order that they have it."""
        return self.offsets, self.positions, self.lengths, self.first, self.last, self.base

    @functools.cached_property
    def merged(self) -> tuple[Index, Index]:
        """Positions and lengths, of stretches that follow each other as one."""
        positions = self.positions[self.first : self.last]
        begins, lengths = merged(positions, self.lengths[self.first : self.last], self.step)
        return positions[begins], lengths

    @functools.cached_property
    def one_by_one(self) -> Index | None:
        """The position of each value, where stretches are short; else None."""
        positions, lengths = self.merged
        n_values = int(lengths.sum())
        if n_values >= _SHORT * len(lengths):
            return None
        ahead = np.arange(n_values) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(positions, lengths) + self.step * ahead


class Scattered(NamedTuple):
    """Values in bytes that belong to several places of a plane.

    Attributes
    ----------
    raw : uint8 array
        The bytes. The values in it, float64, need not be aligned.
    in_a_row : callable
        Returns all values, aligned and one after the other.
    loops : module or None
        The compiled loops by which they are to be added, if they are.
    places : Places
    """

    raw: NDArray[np.uint8]
    in_a_row: Callable[[], NDArray[np.float64]]
    loops: Any
    places: Places

    def combine(
        self,
        plane: NDArray[Any],
        operation: np.ufunc,
        values: NDArray[Any] | None = None,
    ) -> None:
        """Combine the numbers of a plane with the values, or with others that belong there."""
        if values is None:
            values = self.in_a_row()
        positions, step = self.places.one_by_one, self.places.step
        if positions is not None:
            plane[positions] = operation(plane[positions], values)
            return
        start = 0
        for position, length in zip(*map(np.ndarray.tolist, self.places.merged), strict=True):
            stretch = plane[position : position + step * length : step]
            operation(stretch, values[start : start + length], out=stretch)
            start += length


def merged(
    positions: Index, lengths: Index, step: int = 1, apart: Any = False
) -> tuple[Index, Index]:
    """Make one of stretches that follow each other in a plane.

    Parameters
    ----------
    positions, lengths : int64 array
        Where each begins, and how long it is.
    step : int
        From one position to the next in a stretch.
    apart : bool array, optional
        Which of them, but the first, must not be joined to the one before it.

    Returns
    -------
    first : int64 array
        Which of the stretches the new ones begin with.
    lengths : int64 array
        Their lengths.
    """
    if len(positions) < 2:
        return np.arange(len(positions)), lengths
    apart = apart | (positions[1:] != positions[:-1] + step * lengths[:-1])
    first = np.concatenate([[0], np.flatnonzero(apart) + 1])
    return first, np.add.reduceat(lengths, first)
