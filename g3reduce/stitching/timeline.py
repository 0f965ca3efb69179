"""The timeline of an observation: its scans in the order of time, its gaps, its detectors.

It is made of the headers of all scans, and is the same on all ranks.
"""

from __future__ import annotations

import functools
from bisect import bisect
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, MismatchError
from .headers import Array, Gap, PlacedScan, named
from .rules import StitchRules
from .samplerate import step_of
from .sequence import ScanSequence, SimultaneousScans, group_simultaneous

Times = NDArray[np.int64]

# Filling more than so many times what was recorded is taken for a mistake.
_MOST_FILLED = 10


@dataclass(frozen=True, repr=False)
class Timeline:
    """All about an observation but its samples: the same on all ranks.

    Attributes
    ----------
    group : hashable
        Its key in ``MPIAccumulator.result``.
    detectors : tuple of str
        All of them, in the order of the first scan, and then of the first that has more.
    scans : tuple of PlacedScan
        In the order of time. A scan in which samples were lost has an entry for each segment.
    in_common : tuple of PlacedScan
        The scans, or parts of them, of which boresight, flags and times are taken: of scans at the
        same time the first one.
    unstitched : tuple of PlacedScan
        The scans as they get samples back: as `scans`, with samples that an earlier one has, too.
    spans : tuple of (int, int)
        The samples without a gap between them: from the first to before the second number.
    gaps : tuple of Gap
    n_samples : int
        Including those that fill gaps.
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
    unstitched: tuple[PlacedScan, ...]
    spans: tuple[tuple[int, int], ...]
    gaps: tuple[Gap, ...]
    n_samples: int
    units: str
    dtype: np.dtype[Any]
    step: float

    def __repr__(self) -> str:
        return (
            f"<Timeline of {self.group!r}: {len(self.detectors)} detectors, "
            f"{self.n_samples} samples from {self.n_scans} scans, {len(self.gaps)} gaps>"
        )

    @property
    def sample_rate(self) -> float:
        """Samples in a unit of time, in ``G3Units``."""
        return 1 / self.step

    @property
    def filled(self) -> list[slice]:
        """The samples that fill gaps."""
        return [slice(gap.first, gap.stop) for gap in self.gaps if gap.stop > gap.first]

    @functools.cached_property
    def arrays(self) -> frozenset[str]:
        """The attributes of `StitchedObservation` to which any scan contributes."""
        return frozenset().union(*(scan.arrays for scan in self.scans))

    @property
    def n_scans(self) -> int:
        """How many scans there are; one in several segments counts once."""
        return len({(scan.rank, scan.number) for scan in self.scans})

    @functools.cached_property
    def row_of(self) -> dict[str, int]:
        """The row of each detector."""
        return {name: row for row, name in enumerate(self.detectors)}

    def times(self, samples: slice = slice(None)) -> Times:
        """The times of samples, as in ``G3Time.time``.

        In scans they are those of ``G3TimestreamMap.times``: equal steps from the start, rounded
        down to whole units of 10 ns. In a filled gap they are at equal steps, too.
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
    group: Hashable, scans: Sequence[PlacedScan], rules: StitchRules | None = None
) -> Timeline | None:
    """Put the scans of an observation in the order of time.

    The result does not depend on the order of `scans`, nor on the number of ranks.

    Parameters
    ----------
    group : hashable
    scans : sequence of PlacedScan
        From all ranks. Those without samples are left out.
    rules : StitchRules, optional
        The default ones if None.

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
    rules = rules or StitchRules()
    scans = [scan for scan in scans if scan.header.n_samples]
    if not scans:
        return None
    # Equal times are ordered by source, and frames without one by detectors: so the order of
    # detectors, and the message about equal scans, do not depend on the number of ranks.
    scans.sort(
        key=lambda s: (
            *(s.header.start, s.header.last, s.header.where, s.header.detectors),
            *(s.rank, s.number),
        )
    )
    step = step_of(group, scans)
    _require_likeness(group, scans)
    # Equal tuples of detectors become one object, so that later `is` is enough.
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, scan in enumerate(scans):
        names = known.setdefault(scan.header.detectors, scan.header.detectors)
        scans[number] = scan._replace(header=scan.header._replace(detectors=names))
    built = ScanSequence(step, fill=rules.gaps == "fill")
    for together in group_simultaneous(group, scans, step, rules.overlap):
        built.add(together)
    if built.gaps and rules.gaps == "refuse":
        _refuse_gap(group, built.gaps, built.scans)
    _limit_filling(group, built.gaps, built.stop)
    return Timeline(
        group,
        _detectors_of(group, built.in_order, known, rules.missing),
        tuple(built.scans),
        tuple(built.in_common),
        tuple(built.unstitched),
        tuple(built.spans),
        tuple(built.gaps),
        built.stop,
        scans[0].header.units,
        np.result_type(*{scan.header.dtype for scan in scans}),
        step,
    )


def _put_times(
    times: Times, begin: int, end: int, first: int, stop: int, start: int, step: float, skip: int
) -> None:
    """Write the times of the samples from `first` to `stop` that are between `begin` and `end`."""
    low, high = max(first, begin), min(stop, end)
    if low < high:
        number = np.arange(low - first + skip, high - first + skip)
        times[low - begin : high - begin] = start + (number * step).astype(np.int64)


def _require_likeness(group: Hashable, scans: Sequence[PlacedScan]) -> None:
    """Refuse scans in different units, and scans that lack a field that others have."""
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
    samples = f"{gap.n_samples} sample{'s' if gap.n_samples > 1 else ''}"
    more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
    raise InputError(
        f"Observation {group!r} has a gap of {gap.seconds:.6g} s, {samples}, {where}{more}. Give "
        "gaps='keep' or gaps='fill' if the gap is expected."
    )


def _limit_filling(group: Hashable, gaps: Sequence[Gap], n_samples: int) -> None:
    filled = sum(gap.stop - gap.first for gap in gaps)
    if filled > _MOST_FILLED * (n_samples - filled):
        raise InputError(
            f"Observation {group!r}: to fill its gaps would take {filled} samples, for "
            f"{n_samples - filled} that were recorded. Give gaps='keep', or put scans that are far "
            "apart into different observations."
        )


def _detectors_of(
    group: Hashable,
    in_order: Sequence[SimultaneousScans],
    different: Iterable[tuple[str, ...]],
    missing: str,
) -> tuple[str, ...]:
    """All detectors of all scans."""
    names = dict.fromkeys(name for some in different for name in some)
    if missing == "refuse":
        scans = [scan for together in in_order for scan in together.scans]
        for together in in_order:
            lacking = names.keys() - {
                name for scan in together.scans for name in scan.header.detectors
            }
            if lacking:
                example = next(name for name in names if name in lacking)
                has = next(s for s in scans if example in s.header.detectors)
                files = " and ".join(named(scan) for scan in together.scans)
                raise MismatchError(
                    f"Observation {group!r}: {files} lacks {len(lacking)} of "
                    f"{len(names)} detectors, such as {example!r}, which {named(has)} has. Give "
                    "missing='flag' to flag them there."
                )
    return tuple(names)
