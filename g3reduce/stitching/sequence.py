"""Where each scan of an observation goes, and what is left out between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .placed import Gap, PlacedScan
from .slots import Slot, stretches


class ScanSequence:
    """Slots one after another, with their gaps.

    Parameters
    ----------
    step : float
        The time from one sample to the next.
    fill : bool
        Whether gaps get samples.

    Attributes
    ----------
    slots, scans, in_common, returning, spans, gaps : list
        As in `Timeline`.
    stop : int
        The number of samples so far.
    """

    def __init__(self, step: float, *, fill: bool):
        self._step, self._fill = step, fill
        self.slots: list[Slot] = []
        self.scans: list[PlacedScan] = []
        self.in_common: list[PlacedScan] = []
        self.returning: list[PlacedScan] = []
        self.spans: list[tuple[int, int]] = []
        self.gaps: list[Gap] = []
        self.stop = 0

    def add(self, slot: Slot) -> None:
        """Put a slot behind those before."""
        first = slot.scans[0].header
        if self.slots and not slot.shared and not np.isnan(self._step):
            before = self.slots[-1].last
            self._leave_out(round((first.start - before) / self._step) - 1, before, first.start)
        self.slots.append(slot)
        covered = slot.covered()
        there = np.zeros(covered[-1][1] if len(slot.scans) > 1 else 0, bool)
        for number, (begin, end) in enumerate(covered):
            if number:
                last = covered[number - 1][1] - 1
                self._leave_out(begin - last - 1, _time_in(slot, last), _time_in(slot, begin))
            shared = int(slot.shared and begin == 0)
            origin = self.stop - begin - shared  # of the places of the slot
            pieces = [
                piece for scan in slot.scans for piece in _pieces_between(scan, begin, end, origin)
            ]
            self.returning += pieces
            if shared:
                pieces = [_without_first(piece, self.stop) for piece in pieces]
                pieces = [piece for piece in pieces if piece.first < piece.stop]
            self.scans += pieces
            self.in_common += pieces if len(slot.scans) == 1 else _not_yet(pieces, origin, there)
            self.stop = origin + end
            if begin + shared < end:
                self.spans.append((origin + begin + shared, self.stop))

    def _leave_out(self, n_samples: int, start_time: int, stop_time: int) -> None:
        """Leave a gap, if there are samples missing."""
        if n_samples < 1:
            return
        first = self.stop
        self.stop += n_samples if self._fill else 0
        after = len(self.scans) - 1
        self.gaps.append(Gap(after, n_samples, first, self.stop, start_time, stop_time))


def _pieces_between(scan: PlacedScan, begin: int, end: int, origin: int) -> list[PlacedScan]:
    """The runs of a scan that are in a stretch of places."""
    ends = scan.header.ends
    return [
        scan._replace(
            first=origin + run.place,
            stop=origin + run.place + run.n_samples,
            begin=run.first,
            place=run.place,
            ends=None if ends is None else (ends[2 * number], ends[2 * number + 1]),
        )
        for number, run in enumerate(scan.header.runs)
        if begin <= run.place < end
    ]


def _without_first(piece: PlacedScan, shared_stop: int) -> PlacedScan:
    """A piece without the sample before `shared_stop`, which an earlier scan gave."""
    skip = max(0, shared_stop - piece.first)
    return piece.cut(skip, piece.stop - piece.first - skip)


def _not_yet(
    pieces: Sequence[PlacedScan], origin: int, there: NDArray[np.bool_]
) -> list[PlacedScan]:
    """The parts of pieces where none before has samples; `there` learns of them."""
    found = []
    for piece in pieces:
        low = piece.first - origin
        mine = there[low : piece.stop - origin]
        found += [piece.cut(begin, end - begin) for begin, end in stretches(~mine)]
        mine[:] = True
    return sorted(found, key=lambda piece: piece.first)


def _time_in(slot: Slot, place: int) -> int:
    """The time of a place at which some scan of a slot has a sample."""
    return next(
        scan.header.time_at(run.first + place - run.place, place)
        for scan in slot.scans
        for run in scan.header.runs
        if run.place <= place < run.place + run.n_samples
    )
