"""Positions of runs of pixels in a sum, whatever way its pixels are numbered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np

from ..arrays.blocks import Blocks
from ..arrays.scattered import Places, merged
from ..g3files.lines import Index
from ..g3files.runcopier import HEADERS
from ..g3files.runs import RunGroup, RunLayout

# The places of so many bytes of runs are kept, with the positions of their values one by one.
_FEW_BYTES = 2**18


@dataclass(frozen=True, eq=False)
class RunPositions:
    """Where the runs of a layout stand in a plane, cut into stretches of neighbouring positions.

    Attributes
    ----------
    offsets : int64 array
        Where the values of each stretch begin in the archive, from the first header on.
    positions, lengths : int64 array
        Where each stretch begins in a plane, and how many pixels it has.
    of_run : int64 array
        How many stretches the runs before each run have; one more than there are runs.
    step : int
        From one position to the next in a stretch.
    """

    offsets: Index
    positions: Index
    lengths: Index
    of_run: Index
    step: int
    _places: dict[tuple[int, int], Places] = field(default_factory=dict)

    @classmethod
    def of(
        cls, n_runs: int, positions: Index, lengths: Index, run: Index, step: int
    ) -> RunPositions:
        """Of stretches in the order of the archive, each of which is a part of one of the runs."""
        before = np.cumsum(lengths) - lengths
        first, lengths = merged(positions, lengths, step, apart=run[1:] != run[:-1])
        positions, before, run = positions[first], before[first], run[first]
        of_run = np.concatenate([[0], np.cumsum(np.bincount(run, minlength=n_runs))])
        offsets = HEADERS.itemsize * (run + 1) + 8 * before
        return cls(offsets, positions, lengths, of_run, step)

    def of_group(self, group: RunGroup) -> Places:
        """Where some of the runs belong. Those of small groups are kept."""
        key = group.first, group.last
        if key in self._places:
            return self._places[key]
        places = Places(
            self.offsets,
            self.positions,
            self.lengths,
            int(self.of_run[group.first]),
            int(self.of_run[group.last]),
            group.begin,
            self.step,
        )
        if group.nbytes <= _FEW_BYTES:
            self._places[key] = places
        return places


class RunNumbering(Protocol):
    """A numbering in which runs have positions."""

    def positions_of(self, blocks: Blocks, layout: RunLayout) -> RunPositions:
        """The positions of all runs of a layout. The rows that they need are made."""
        ...


class PositionFinder:
    """Finds the positions of runs, and remembers them: the maps of a frame mostly have the same.

    No layout is held by this: it may have much with it that makes reading it faster.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[RunLayout, RunPositions] = WeakKeyDictionary()
        self._blocks: Blocks | None = None
        self._moves = 0

    def find(self, layout: RunLayout, numbering: RunNumbering, blocks: Blocks) -> RunPositions:
        """The positions of the runs of a layout in blocks."""
        if self._blocks is not blocks or self._moves != blocks.moves:
            self._known.clear()
            self._blocks, self._moves = blocks, blocks.moves
        found = self._known.get(layout)
        if found is None:
            found = self._known[layout] = numbering.positions_of(blocks, layout)
        return found
