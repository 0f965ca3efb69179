"""Which scans of an observation are at the same time, and which follow each other.

Scans at the same time are those of other detectors, as files for each wafer have them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DuplicateError, InputError, MismatchError
from .headers import Gap, PlacedScan, Run, ScanHeader, named, time_text

# What to do about a sample that is the last of one scan and the first of the next.
OVERLAP = ("refuse", "drop")

# Times that differ by less than so many samples are the same.
_SAME = 0.1


class Slot(NamedTuple):
    """Scans at the same time, of other detectors.

    Attributes
    ----------
    scans : list of PlacedScan
    shared : bool
        Whether the first sample is the last one of the slot before, which gives it.
    """

    scans: list[PlacedScan]
    shared: bool = False

    @property
    def last(self) -> int:
        """The time of the last sample."""
        return self.scans[0].header.last

    def covered(self) -> list[tuple[int, int]]:
        """The stretches of places, from the first to before the last one, where any has samples."""
        if len(self.scans) == 1:
            runs = self.scans[0].header.runs
            return [(run.place, run.place + run.n_samples) for run in runs]
        there = np.zeros(max(scan.header.n_places for scan in self.scans), bool)
        for scan in self.scans:
            for run in scan.header.runs:
                there[run.place : run.place + run.n_samples] = True
        return stretches(there)


def stretches(there: np.ndarray) -> list[tuple[int, int]]:
    """From where to where a mask is true."""
    borders = np.flatnonzero(np.diff(there, prepend=False, append=False)).tolist()
    return list(zip(borders[::2], borders[1::2], strict=True))


def slots_of(group: Hashable, scans: Sequence[PlacedScan], step: float, overlap: str) -> list[Slot]:
    """Put scans, which are sorted by time, one after another.

    Raises
    ------
    DuplicateError, MismatchError, InputError
        If scans have the same samples, if those at the same time point elsewhere, or if they
        overlap.
    """
    slots: list[Slot] = []
    same = 0 if np.isnan(step) else _SAME * step
    for scan in scans:
        if slots and _together(slots[-1].scans[0], scan, same):
            for other in slots[-1].scans:
                _require_others(group, other, scan)
            slots[-1].scans.append(scan)
            continue
        shared = False
        if slots:
            apart = scan.header.start - slots[-1].last
            shared = abs(apart) <= same and overlap == "drop"
            if not shared and (apart <= 0 or apart < step / 2):
                raise _overlapping(group, slots[-1].scans[0], scan, one=abs(apart) <= same)
        slots.append(Slot([scan], shared))
    return [slot._replace(scans=_with_own_flags(slot.scans)) for slot in slots]


def _together(one: PlacedScan, other: PlacedScan, same: float) -> bool:
    """Whether two scans begin and end at the same time, with as many samples between."""
    a, b = one.header, other.header
    return (
        a.n_places == b.n_places and abs(a.start - b.start) <= same and abs(a.last - b.last) <= same
    )


def _require_others(group: Hashable, one: PlacedScan, other: PlacedScan) -> None:
    """Refuse scans at the same time that have detectors in common, or look elsewhere."""
    a, b = one.header, other.header
    both = a.detectors if a.detectors is b.detectors else sorted({*a.detectors} & {*b.detectors})
    if both:
        raise DuplicateError(
            f"Observation {group!r}: {named(one)} and {named(other)} have the same samples, "
            f"{a.n_samples} from {time_text(a.start)} to {time_text(a.last)}, of the same "
            f"detectors, such as {both[0]!r} ({len(both)} of {len(b.detectors)}). Give each scan "
            "once."
        )
    if not _same_boresight(a, b):
        raise MismatchError(
            f"Observation {group!r}: {named(one)} and {named(other)} are of other detectors at the "
            "same time, but their boresights differ. Stitch them one by one, or name a boresight "
            "that they share."
        )


def _same_boresight(a: ScanHeader, b: ScanHeader) -> bool:
    """Whether two scans look at the same; if they have not lost the same samples, by their ends."""
    if a.runs == b.runs or a.ends is None or b.ends is None:
        return a.digests.get("boresight") == b.digests.get("boresight")
    return np.array_equal([a.ends[0], a.ends[-1]], [b.ends[0], b.ends[-1]])


def _overlapping(group: Hashable, before: PlacedScan, scan: PlacedScan, *, one: bool) -> InputError:
    remedy = (
        " One sample is in both: say overlap='drop' to leave it out of the later one."
        if one
        else ""
    )
    if not {*before.header.detectors} & {*scan.header.detectors}:
        remedy += (
            " Their detectors differ: they would be joined if they began and ended together, with "
            "as many samples."
        )
    return InputError(
        f"Observation {group!r}: {named(scan)} begins at {time_text(scan.header.start)}, before "
        f"{named(before)} has ended ({time_text(before.header.last)}). Scans of one observation "
        f"must not overlap.{remedy}"
    )


def _with_own_flags(scans: list[PlacedScan]) -> list[PlacedScan]:
    """The same, of which each keeps its flags of samples for its own detectors if they differ."""
    told: set[tuple[bytes | None, tuple[Run, ...]]] = {
        (scan.header.digests.get("flags"), scan.header.runs) for scan in scans
    }
    return [scan._replace(own_flags=len(told) > 1) for scan in scans]


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
