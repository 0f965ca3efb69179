"""The pixels of a map in pieces that fit in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ..g3files.lines import Index
from ..g3files.runs import Part, RunLayout, Values
from ..limits import LIMITS


class DenseChunk(NamedTuple):
    """Neighbouring pixels of a dense map: the number of the first, and the values."""

    start: int
    values: Values


class RunsChunk(NamedTuple):
    """Some runs of a sparse map: the layout, which part of it, and the values."""

    layout: RunLayout
    part: Part
    values: Values


class PointsChunk(NamedTuple):
    """Single pixels: their numbers, and the values."""

    pixels: Index
    values: Values


Chunk: TypeAlias = "DenseChunk | RunsChunk | PointsChunk"


@dataclass(frozen=True)
class Pixels:
    """The pixels of a map, in the order in which they are stored.

    Attributes
    ----------
    chunks : callable
        Returns an iterator over all of them, as `DenseChunk`, `RunsChunk` or `PointsChunk`. The
        values of a chunk may be overwritten by the next, of whatever map; do not change them.
    """

    chunks: Callable[[], Iterator[Chunk]]

    @classmethod
    def of(cls, *chunks: Chunk) -> Pixels:
        """Pixels in memory."""
        return cls(lambda: iter(chunks))

    @classmethod
    def dense(cls, values: Values) -> Pixels:
        """All pixels of a map, in memory: in the chunks in which they would come from a file."""
        starts = dense_starts(len(values))
        return cls(lambda: (DenseChunk(i, values[i : i + starts.step]) for i in starts))


def dense_starts(n_pixels: int) -> range:
    """Where the chunks of a dense map begin.

    They are the same for all maps of a size, so that several can be added in turn.
    """
    return range(0, n_pixels, LIMITS.step // 8)
