"""The scans of an observation one after another, with the gaps between them.

Several scans may be at the same time, if they have other detectors, as files of each wafer do.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DuplicateError, InputError, MismatchError
from .headers import Gap, PlacedScan, ScanHeader, Segment, named, time_text

# Times that differ by less than this part of a step are the same.
_SAME = 0.1


class SimultaneousScans(NamedTuple):
    """Scans that begin and end at the same time, each with other detectors.

    Attributes
    ----------
    scans : list of PlacedScan
    shared : bool
        Whether their first sample is the last one of the scans before, and is taken from these.
    """

    scans: list[PlacedScan]
    shared: bool = False

    @property
    def last(self) -> int:
        """The time of the last sample."""
        return self.scans[0].header.last

    def covered(self) -> list[tuple[int, int]]:
        """Where any of the scans has samples: places, each time from the first to before `stop`."""
        if len(self.scans) == 1:
            return [
                (segment.place, segment.place + segment.n_samples)
                for segment in self.scans[0].header.segments
            ]
        there = np.zeros(max(scan.header.n_places for scan in self.scans), bool)
        for scan in self.scans:
            for segment in scan.header.segments:
                there[segment.place : segment.place + segment.n_samples] = True
        return _intervals(there)


def _intervals(mask: np.ndarray) -> list[tuple[int, int]]:
    """The intervals in which a mask is true, each from its first index to before its last."""
    borders = np.flatnonzero(np.diff(mask, prepend=False, append=False)).tolist()
    return list(zip(borders[::2], borders[1::2], strict=True))


def group_simultaneous(
    group: Hashable, scans: Sequence[PlacedScan], step: float, overlap: str
) -> list[SimultaneousScans]:
    """Find the scans at the same time, among scans in the order of time.

    Raises
    ------
    DuplicateError, MismatchError, InputError
        If scans have the same samples, if scans at the same time have different boresights, or if
        scans overlap.
    """
    in_order: list[SimultaneousScans] = []
    same = 0 if np.isnan(step) else _SAME * step
    for scan in scans:
        if in_order and _together(in_order[-1].scans[0], scan, same):
            for other in in_order[-1].scans:
                _require_other_detectors(group, other, scan)
            in_order[-1].scans.append(scan)
            continue
        shared = False
        if in_order:
            apart = scan.header.start - in_order[-1].last
            shared = abs(apart) <= same and overlap == "drop"
            if not shared and (apart <= 0 or apart < step / 2):
                raise _overlapping(group, in_order[-1].scans[0], scan, one=abs(apart) <= same)
        in_order.append(SimultaneousScans([scan], shared))
    return [together._replace(scans=_with_own_flags(together.scans)) for together in in_order]


def _together(one: PlacedScan, other: PlacedScan, same: float) -> bool:
    """Whether two scans begin and end at the same time, with as many samples between."""
    a, b = one.header, other.header
    return (
        a.n_places == b.n_places and abs(a.start - b.start) <= same and abs(a.last - b.last) <= same
    )


def _require_other_detectors(group: Hashable, one: PlacedScan, other: PlacedScan) -> None:
    """Refuse scans at the same time with common detectors, or with different boresights."""
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
    """Whether two scans have the same boresight; by their ends if they have lost other samples."""
    if a.segments == b.segments or a.ends is None or b.ends is None:
        return a.digests.get("boresight") == b.digests.get("boresight")
    return np.array_equal([a.ends[0], a.ends[-1]], [b.ends[0], b.ends[-1]])


def _overlapping(group: Hashable, before: PlacedScan, scan: PlacedScan, *, one: bool) -> InputError:
    remedy = (
        " One sample is in both: give overlap='drop' to leave it out of the later one."
        if one
        else ""
    )
    if not {*before.header.detectors} & {*scan.header.detectors}:
        remedy += (
            " They have different detectors; expected as many samples from the same start to the "
            "same stop, so that they can be joined."
        )
    return InputError(
        f"Observation {group!r}: {named(scan)} begins at {time_text(scan.header.start)}, before "
        f"{named(before)} has ended ({time_text(before.header.last)}). Scans of one observation "
        f"must not overlap.{remedy}"
    )


def _with_own_flags(scans: list[PlacedScan]) -> list[PlacedScan]:
    """The same scans; if their flags of samples differ, these count for their own detectors."""
    different: set[tuple[bytes | None, tuple[Segment, ...]]] = {
        (scan.header.digests.get("flags"), scan.header.segments) for scan in scans
    }
    return [scan._replace(own_flags=len(different) > 1) for scan in scans]


class ScanSequence:
    """Scans one after another, each in its place in the observation, and the gaps between them.

    Parameters
    ----------
    step : float
        The time from one sample to the next.
    fill : bool
        Whether gaps are filled with samples.

    Attributes
    ----------
    in_order : list of SimultaneousScans
    scans, in_common, unstitched, spans, gaps : list
        As in `Timeline`.
    stop : int
        Number of samples of the observation so far.
    """

    def __init__(self, step: float, *, fill: bool):
        self._step, self._fill = step, fill
        self.in_order: list[SimultaneousScans] = []
        self.scans: list[PlacedScan] = []
        self.in_common: list[PlacedScan] = []
        self.unstitched: list[PlacedScan] = []
        self.spans: list[tuple[int, int]] = []
        self.gaps: list[Gap] = []
        self.stop = 0

    def add(self, together: SimultaneousScans) -> None:
        """Append scans at the same time."""
        first = together.scans[0].header
        if self.in_order and not together.shared and not np.isnan(self._step):
            before = self.in_order[-1].last
            self._add_gap(round((first.start - before) / self._step) - 1, before, first.start)
        self.in_order.append(together)
        covered = together.covered()
        there = np.zeros(covered[-1][1] if len(together.scans) > 1 else 0, bool)
        for number, (begin, end) in enumerate(covered):
            if number:
                last = covered[number - 1][1] - 1
                self._add_gap(begin - last - 1, _time_in(together, last), _time_in(together, begin))
            shared = int(together.shared and begin == 0)
            origin = self.stop - begin - shared  # where the place 0 of these scans is
            pieces = [
                piece
                for scan in together.scans
                for piece in _pieces_between(scan, begin, end, origin)
            ]
            self.unstitched += pieces
            if shared:
                pieces = [_without_first(piece, self.stop) for piece in pieces]
                pieces = [piece for piece in pieces if piece.first < piece.stop]
            self.scans += pieces
            self.in_common += (
                pieces if len(together.scans) == 1 else _not_yet(pieces, origin, there)
            )
            self.stop = origin + end
            if begin + shared < end:
                self.spans.append((origin + begin + shared, self.stop))

    def _add_gap(self, n_samples: int, start_time: int, stop_time: int) -> None:
        """Append a gap, if samples are missing."""
        if n_samples < 1:
            return
        first = self.stop
        self.stop += n_samples if self._fill else 0
        after = len(self.scans) - 1
        self.gaps.append(Gap(after, n_samples, first, self.stop, start_time, stop_time))


def _pieces_between(scan: PlacedScan, begin: int, end: int, origin: int) -> list[PlacedScan]:
    """The segments of a scan between two places, as parts of the scan in the observation."""
    ends = scan.header.ends
    return [
        scan._replace(
            first=origin + segment.place,
            stop=origin + segment.place + segment.n_samples,
            begin=segment.first,
            place=segment.place,
            ends=None if ends is None else (ends[2 * number], ends[2 * number + 1]),
        )
        for number, segment in enumerate(scan.header.segments)
        if begin <= segment.place < end
    ]


def _without_first(piece: PlacedScan, shared_stop: int) -> PlacedScan:
    """A piece without the sample before `shared_stop`, which is taken from an earlier scan."""
    skip = max(0, shared_stop - piece.first)
    return piece.cut(skip, piece.stop - piece.first - skip)


def _not_yet(
    pieces: Sequence[PlacedScan], origin: int, there: NDArray[np.bool_]
) -> list[PlacedScan]:
    """The parts of pieces where no earlier piece has samples; they are marked in `there`."""
    found = []
    for piece in pieces:
        low = piece.first - origin
        there_before = there[low : piece.stop - origin]
        found += [piece.cut(begin, end - begin) for begin, end in _intervals(~there_before)]
        there_before[:] = True
    return sorted(found, key=lambda piece: piece.first)


def _time_in(together: SimultaneousScans, place: int) -> int:
    """The time of a place at which any of the scans has a sample."""
    return next(
        scan.header.time_at(segment.first + place - segment.place, place)
        for scan in together.scans
        for segment in scan.header.segments
        if segment.place <= place < segment.place + segment.n_samples
    )
