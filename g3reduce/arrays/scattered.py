"""Values that lie in bytes as runs, each of which belongs somewhere else in a plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]

# Stretches that are shorter than this on average are added faster number by number.
_SHORT = 100


@dataclass(frozen=True)
class Scattered:
    """Values in bytes, and the positions in a plane to which they belong, stretch by stretch.

    Attributes
    ----------
    raw : uint8 array
        The bytes. The values in it, float64, need not be aligned.
    in_a_row : callable
        Returns all values, aligned and one after the other.
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

    raw: NDArray[np.uint8]
    in_a_row: Callable[[], NDArray[np.float64]]
    offsets: Index
    positions: Index
    lengths: Index
    first: int
    last: int
    base: int
    step: int

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.raw) // 8  # at most; headers are few

    @property
    def where(self) -> tuple[Any, ...]:
        """What compiled loops need to know."""
        return (
            self.raw,
            self.offsets,
            self.positions,
            self.lengths,
            self.first,
            self.last,
            self.base,
        )

    def combine(
        self,
        plane: NDArray[Any],
        operation: np.ufunc,
        values: NDArray[Any] | None = None,
    ) -> None:
        """Combine the numbers of a plane with the values, or with others that belong there."""
        if values is None:
            values = self.in_a_row()
        positions = self.positions[self.first : self.last]
        begins, lengths = merged(positions, self.lengths[self.first : self.last], self.step)
        positions = positions[begins]
        if len(lengths) and len(values) < _SHORT * len(lengths):
            ahead = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            every = np.repeat(positions, lengths) + self.step * ahead
            plane[every] = operation(plane[every], values)
            return
        start = 0
        for position, length in zip(positions.tolist(), lengths.tolist(), strict=True):
            stretch = plane[position : position + self.step * length : self.step]
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
