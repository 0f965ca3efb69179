"""Positions of runs of pixels in a sum whose pixels are numbered in another way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..arrays.blocks import Blocks, Rows
from ..g3files.lines import Index
from ..g3files.runs import RunLayout
from .chunks import RunsChunk
from .numbering import MapNumbering

# Runs that are shorter than this on average are added faster pixel by pixel.
_SHORT = 100

# How many chunks are remembered, of fewer pixels than this each.
_MOST, _FEW_PIXELS = 128, 2**13


class RunPositions(NamedTuple):
    """Where the runs of a chunk stand in a plane.

    Attributes
    ----------
    first, lengths : int64 array
        Where each stretch of consecutive pixels begins, and how many pixels it has.
    pixels : int64 array or None
        The positions of all pixels, where the stretches are short.
    """

    first: Index
    lengths: Index
    pixels: Index | None


class PositionFinder:
    """Finds the positions of runs, and remembers them: the maps of a frame mostly have the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[RunPositions, RunLayout]] = {}
        self._rows: Rows | None = None
        self._numbering: MapNumbering | None = None

    def find(self, chunk: RunsChunk, numbering: MapNumbering, blocks: Blocks) -> RunPositions:
        """The positions of the runs of a chunk. The rows that they need are made."""
        self._forget_moved(numbering, blocks)
        key = id(chunk.layout), chunk.group.first
        if key in self._known:
            return self._known[key][0]
        found = _find(chunk, numbering, blocks)
        self._forget_moved(numbering, blocks)  # new rows may stand before the others
        if chunk.values.size < _FEW_PIXELS:
            if len(self._known) == _MOST:
                self._known.clear()
            self._known[key] = found, chunk.layout  # held, so that no other layout has this id
        return found

    def _forget_moved(self, numbering: MapNumbering, blocks: Blocks) -> None:
        """Forget all positions if the rows have moved."""
        if self._rows is not blocks.rows or self._numbering is not numbering:
            self._known.clear()
            self._rows, self._numbering = blocks.rows, numbering


def _find(chunk: RunsChunk, numbering: MapNumbering, blocks: Blocks) -> RunPositions:
    group, (first, lengths, of_run) = chunk.group, chunk.layout.stretches
    begin, end = of_run[group.first], of_run[group.last]
    first, lengths = first[begin:end], lengths[begin:end]
    held = lengths > 0
    first, lengths = first[held], lengths[held]
    blocks.insert(numbering.rows_of_stretches(first, lengths))
    positions, pixels = numbering.positions(blocks, first), None
    if len(lengths) and lengths.mean() < _SHORT:
        ahead = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pixels = np.repeat(positions, lengths) + numbering.step * ahead
    return RunPositions(positions, lengths, pixels)
