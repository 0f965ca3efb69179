"""The timeline of an observation: its scans in the order of time, its gaps, its detectors.

It is made from what all ranks tell of their scans, and is the same on all of them.
"""

from __future__ import annotations

import functools
from bisect import bisect
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MismatchError, UsageError
from .headers import Array, Gap, PlacedScan, ScanHeader, named
from .samplerate import step_of
from .sequence import OVERLAP, ScanSequence, Slot, slots_of

Times = NDArray[np.int64]

# What to do where samples are missing.
GAPS = ("keep", "fill", "refuse")
MISSING = ("flag", "refuse")

# Filling more than so many times what was recorded is taken for a mistake.
_MOST_FILLED = 10


@dataclass(frozen=True)
class Timeline:
    """An observation as all ranks know it.

    Attributes
    ----------
    group : hashable
        Its key in ``MPIAccumulator.fullobs``.
    detectors : tuple of str
        All of them, in the order of the first scan, and then of the first that has more.
    scans : tuple of PlacedScan
        In the order of time. One in which samples were lost has an entry for each part.
    in_common : tuple of PlacedScan
        Those, or parts of them, that give what all detectors have in common: of scans at the same
        time the first one.
    returning : tuple of PlacedScan
        The same as `scans`, with samples that an earlier one has given.
    spans : tuple of (int, int)
        From which sample to before which one samples are without a gap.
    gaps : tuple of Gap
    n_samples : int
        With those that fill gaps.
    units : str
        The name of a ``G3TimestreamUnits``.
    dtype : numpy.dtype
        Of the samples.
    step : float
        The time from one sample to the next, in ``G3Units``; NaN if no scan has two samples.
    """

    group: Hashable
    detectors: tuple[str, ...]
    scans: tuple[PlacedScan, ...]
    in_common: tuple[PlacedScan, ...]
    returning: tuple[PlacedScan, ...]
    spans: tuple[tuple[int, int], ...]
    gaps: tuple[Gap, ...]
    n_samples: int
    units: str
    dtype: np.dtype[Any]
    step: float

    @property
    def sample_rate(self) -> float:
        """Samples in a unit of time, in ``G3Units``."""
        return 1 / self.step

    @property
    def filled(self) -> list[slice]:
        """The samples that fill gaps."""
        return [slice(gap.first, gap.stop) for gap in self.gaps if gap.stop > gap.first]

    @functools.cached_property
    def planes(self) -> frozenset[str]:
        """What there is of any scan: names of attributes of `Scan`."""
        return frozenset().union(*(scan.planes for scan in self.scans))

    @property
    def n_scans(self) -> int:
        """How many scans there are; of one in several parts, one."""
        return len({(scan.rank, scan.number) for scan in self.scans})

    @functools.cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each detector."""
        return {name: row for row, name in enumerate(self.detectors)}

    def times(self, samples: slice = slice(None)) -> Times:
        """The times of samples, as in ``G3Time.time``.

        In scans they are those of ``G3TimestreamMap.times``: from the start in equal steps, which
        are rounded down to whole units of 10 ns. In a gap they divide it evenly.
        """
        begin, end, _ = samples.indices(self.n_samples)
        times = np.empty(max(0, end - begin), np.int64)
        for scan in self.in_common:
            header = scan.header
            step = header.step if header.n_places > 1 else 0.0
            _put_times(times, begin, end, scan.first, scan.stop, header.start, step, scan.place)
            low, high = max(scan.first, begin), min(scan.stop, end)
            if header.offsets is not None and low < high:
                skip = scan.begin - scan.first
                times[low - begin : high - begin] += header.offsets[low + skip : high + skip]
        for gap in self.gaps:
            step = (gap.stop_time - gap.start_time) / (gap.stop - gap.first + 1)
            _put_times(times, begin, end, gap.first, gap.stop, gap.start_time, step, 1)
        return times

    def boresight_around(self, gap: Gap) -> tuple[Array, Array] | None:
        """The boresight before and after a gap; None if there is none."""
        number = bisect(self.in_common, gap.first - 1, key=lambda scan: scan.first) - 1
        before, after = self.in_common[number : number + 2]
        if before.ends is None or after.ends is None:
            return None
        return before.ends[1], after.ends[0]


def make_timeline(
    group: Hashable,
    scans: Sequence[PlacedScan],
    *,
    gaps: str = "keep",
    missing: str = "flag",
    overlap: str = "refuse",
) -> Timeline | None:
    """Put the scans of an observation in order, whatever rank and order they came in.

    Parameters
    ----------
    group : hashable
    scans : sequence of PlacedScan
        From all ranks. Those without samples are left out.
    gaps : {"keep", "fill", "refuse"}
        What to do about times without samples: none in the arrays, flagged ones in the arrays, or
        an error.
    missing : {"flag", "refuse"}
        What to do about detectors that are not in all scans: flag them there, or an error.
    overlap : {"refuse", "drop"}
        What to do about a sample that is the last of one scan and the first of the next: an error,
        or leave it out of the later one.

    Returns
    -------
    Timeline or None
        None if no scan has a sample.

    Raises
    ------
    MismatchError
        If scans differ in units or rate, or in detectors where that is refused; if those of other
        detectors at the same time have another boresight.
    DuplicateError, InputError
        If scans overlap in time, are the same, or leave a gap where that is refused.
    """
    scans = [scan for scan in scans if scan.header.n_samples]
    if not scans:
        return None
    # Ties by the source, and of frames without one by their detectors: the order of detectors and
    # the message about equal scans should not depend on the number of ranks.
    scans.sort(key=lambda s: (*_order_of(s.header), s.rank, s.number))
    step = step_of(group, scans)
    _require_likeness(group, scans)
    # Equal lists of detectors are one object, so that nobody needs to compare them again.
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, scan in enumerate(scans):
        names = known.setdefault(scan.header.detectors, scan.header.detectors)
        scans[number] = scan._replace(header=scan.header._replace(detectors=names))
    built = ScanSequence(step, fill=gaps == "fill")
    for slot in slots_of(group, scans, step, overlap):
        built.add(slot)
    if built.gaps and gaps == "refuse":
        _refuse_gap(group, built.gaps, built.scans)
    _limit_filling(group, built.gaps, built.stop)
    return Timeline(
        group,
        _detectors_of(group, built.slots, known, missing),
        tuple(built.scans),
        tuple(built.in_common),
        tuple(built.returning),
        tuple(built.spans),
        tuple(built.gaps),
        built.stop,
        scans[0].header.units,
        np.result_type(*{scan.header.dtype for scan in scans}),
        step,
    )


def _order_of(header: ScanHeader) -> tuple[int, int, str, tuple[str, ...]]:
    return header.start, header.last, header.where, header.detectors


def check_choices(gaps: str, missing: str, overlap: str = "refuse") -> None:
    """Refuse what says nothing of gaps, of missing detectors or of samples in two scans.

    Raises
    ------
    UsageError
    """
    for name, value, choices in (
        ("gaps", gaps, GAPS),
        ("missing", missing, MISSING),
        ("overlap", overlap, OVERLAP),
    ):
        if value not in choices:
            raise UsageError(f"{name} is {value!r}; expected one of {', '.join(choices)}.")


def _put_times(
    times: Times, begin: int, end: int, first: int, stop: int, start: int, step: float, skip: int
) -> None:
    """Write the times of the samples from `first` to `stop` where they are asked for."""
    low, high = max(first, begin), min(stop, end)
    if low < high:
        number = np.arange(low - first + skip, high - first + skip)
        times[low - begin : high - begin] = start + (number * step).astype(np.int64)


def _require_likeness(group: Hashable, scans: Sequence[PlacedScan]) -> None:
    """Refuse scans in other units, and some that lack what others have."""
    first = scans[0]
    for scan in scans:
        if scan.header.units != first.header.units:
            raise MismatchError(
                f"Observation {group!r}: {named(first)} is in {first.header.units}, but "
                f"{named(scan)} in {scan.header.units}; convert one of them first."
            )
        # In an order that is the same on all ranks.
        for name in sorted(set(scan.header.fields) ^ set(first.header.fields)):
            has, lacks = (scan, first) if name in scan.header.fields else (first, scan)
            raise MismatchError(
                f"Observation {group!r}: {named(lacks)} has no {name}, but {named(has)} has."
            )


def _refuse_gap(group: Hashable, gaps: Sequence[Gap], scans: Sequence[PlacedScan]) -> None:
    gap = gaps[0]
    before, after = scans[gap.after : gap.after + 2]
    where = f"between {named(before)} and {named(after)}"
    if before[:3] == after[:3]:
        where = f"inside {named(before)}"
    more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
    raise InputError(
        f"Observation {group!r} has a gap of {gap.seconds:.6g} s, {gap.n_samples} samples, {where}"
        f"{more}. Say gaps='keep' or gaps='fill' if that is as it should be."
    )


def _limit_filling(group: Hashable, gaps: Sequence[Gap], n_samples: int) -> None:
    filled = sum(gap.stop - gap.first for gap in gaps)
    if filled > _MOST_FILLED * (n_samples - filled):
        raise InputError(
            f"Observation {group!r}: to fill its gaps would take {filled} samples, for "
            f"{n_samples - filled} that were recorded. Say gaps='keep', or give scans that are far "
            "apart to different groups."
        )


def _detectors_of(
    group: Hashable,
    slots: Sequence[Slot],
    different: Iterable[tuple[str, ...]],
    missing: str,
) -> tuple[str, ...]:
    """All detectors of all scans."""
    names = dict.fromkeys(name for some in different for name in some)
    if missing == "refuse":
        scans = [scan for slot in slots for scan in slot.scans]
        for slot in slots:
            lacking = names.keys() - {name for scan in slot.scans for name in scan.header.detectors}
            if lacking:
                example = next(name for name in names if name in lacking)
                has = next(s for s in scans if example in s.header.detectors)
                files = " and ".join(named(scan) for scan in slot.scans)
                raise MismatchError(
                    f"Observation {group!r}: {files} lacks {len(lacking)} of "
                    f"{len(names)} detectors, such as {example!r}, which {named(has)} has. Say "
                    "missing='flag' to flag them there."
                )
    return tuple(names)
