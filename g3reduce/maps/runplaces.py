"""Where runs of pixels stand in a running sum whose pixels are numbered in another way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.blocks import Blocks, Rows
from ..g3files.runs import RunLayout
from .chunks import RunsChunk
from .numbering import Numbering

# Shorter runs than these are faster added pixel by pixel.
_SHORT = 100

# Of so many chunks of fewer pixels than these, the places are remembered.
_MOST, _LITTLE = 128, 2**13


class Places(NamedTuple):
    """Where runs stand.

    Attributes
    ----------
    first, lengths : int64 array
        Where each begins in the plane, and how many pixels it has.
    pixels : int64 array or None
        Of many short ones, the places of all their pixels.
    """

    first: NDArray[np.int64]
    lengths: NDArray[np.int64]
    pixels: NDArray[np.int64] | None


class RunPlaces:
    """Finds the places of runs. All maps of a frame mostly have the same runs."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Places, RunLayout]] = {}
        self._rows: Rows | None = None
        self._numbering: Numbering | None = None

    def of(self, chunk: RunsChunk, numbering: Numbering, blocks: Blocks) -> Places:
        """The places of the runs of a chunk; the rows that they need are made."""
        self._forget_moved(numbering, blocks)
        key = id(chunk.layout), chunk.group.first
        if key in self._known:
            return self._known[key][0]
        found = _find(chunk, numbering, blocks)
        self._forget_moved(numbering, blocks)  # new rows may stand before the others
        if chunk.values.size < _LITTLE:
            if len(self._known) == _MOST:
                self._known.clear()
            self._known[key] = found, chunk.layout  # so that no other layout has this id
        return found

    def _forget_moved(self, numbering: Numbering, blocks: Blocks) -> None:
        """Forget all places if the rows are not where they were."""
        if self._rows is not blocks.rows or self._numbering is not numbering:
            self._known.clear()
            self._rows, self._numbering = blocks.rows, numbering


def _find(chunk: RunsChunk, numbering: Numbering, blocks: Blocks) -> Places:
    group, (first, lengths, of_run) = chunk.group, chunk.layout.stretches
    begin, end = of_run[group.first], of_run[group.last]
    first, lengths = first[begin:end], lengths[begin:end]
    held = lengths > 0
    first, lengths = first[held], lengths[held]
    blocks.insert(numbering.rows_of_stretches(first, lengths))
    places, pixels = numbering.places(blocks, first), None
    if len(lengths) and lengths.mean() < _SHORT:
        ahead = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pixels = np.repeat(places, lengths) + numbering.step * ahead
    return Places(places, lengths, pixels)
