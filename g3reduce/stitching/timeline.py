"""The timeline of an observation: its scans in the order of time, its gaps, its detectors.

It is made from what all ranks tell of their scans, and is the same on all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import DuplicateError, InputError, MismatchError, UsageError
from .scans import ScanHeader

Times = NDArray[np.int64]

# What to do where samples are missing.
GAPS = ("keep", "fill", "refuse")
MISSING = ("flag", "refuse")

# Rates of scans that differ by more are not those of one observation.
_RATE_TOLERANCE = 1e-3

# Filling more than so many times what was recorded is taken for a mistake.
_MOST_FILLED = 10


class PlacedScan(NamedTuple):
    """A scan in its place.

    Attributes
    ----------
    header : ScanHeader
    rank : int
        Where its samples were accumulated.
    number : int
        Its index in the list of its group in ``MPIAccumulator.fullobs``.
    first, stop : int
        Its samples in the observation: from the first to the one before `stop`.
    """

    header: ScanHeader
    rank: int
    number: int
    first: int = 0
    stop: int = 0


class Gap(NamedTuple):
    """A time without samples, between two scans.

    Attributes
    ----------
    after : int
        The number of the scan before it.
    n_samples : int
        How many samples there would have been.
    first, stop : int
        The samples that fill it; the same number twice if it was not filled.
    start_time, stop_time : int
        The times of the last sample before and of the first one after it.
    """

    after: int
    n_samples: int
    first: int
    stop: int
    start_time: int
    stop_time: int

    @property
    def seconds(self) -> float:
        """How long no sample came."""
        return float((self.stop_time - self.start_time) / core.G3Units.s)


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
        In the order of time.
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
        return frozenset().union(*(scan.header.planes for scan in self.scans))

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
        for scan in self.scans:
            header = scan.header
            step = header.step if header.n_samples > 1 else 0.0
            _put_times(times, begin, end, scan.first, scan.stop, header.start, step, 0)
        for gap in self.gaps:
            step = (gap.stop_time - gap.start_time) / (gap.stop - gap.first + 1)
            _put_times(times, begin, end, gap.first, gap.stop, gap.start_time, step, 1)
        return times


def make_timeline(
    group: Hashable,
    scans: Sequence[PlacedScan],
    *,
    gaps: str = "keep",
    missing: str = "flag",
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

    Returns
    -------
    Timeline or None
        None if no scan has a sample.

    Raises
    ------
    MismatchError
        If scans differ in units or rate, or in detectors where that is refused.
    DuplicateError, InputError
        If scans overlap in time, are the same, or leave a gap where that is refused.
    """
    scans = [scan for scan in scans if scan.header.n_samples]
    if not scans:
        return None
    # Ties by the source: the message about them should not depend on the number of ranks.
    scans.sort(key=lambda s: (s.header.start, s.header.last, s.header.where, s.rank, s.number))
    step = _step_of(group, scans)
    _require_likeness(group, scans)
    found: list[Gap] = []
    placed: list[PlacedScan] = []
    first = 0
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for after, scan in enumerate(scans, -1):
        if placed:
            gap = _gap_between(group, placed[-1], scan, step, fill=gaps == "fill")
            if gap is not None:
                found.append(gap._replace(after=after))
                first = gap.stop
        # Equal lists of detectors are one object, so that nobody needs to compare them again.
        names = known.setdefault(scan.header.detectors, scan.header.detectors)
        header = scan.header._replace(detectors=names)
        placed.append(scan._replace(header=header, first=first, stop=first + header.n_samples))
        first = placed[-1].stop
    if found and gaps == "refuse":
        _refuse_gap(group, found, placed)
    _limit_filling(group, found, first)
    return Timeline(
        group,
        _detectors_of(group, placed, known, missing),
        tuple(placed),
        tuple(found),
        first,
        scans[0].header.units,
        np.result_type(*{scan.header.dtype for scan in scans}),
        step,
    )


def check_choices(gaps: str, missing: str) -> None:
    """Refuse what says nothing of gaps or of missing detectors.

    Raises
    ------
    UsageError
    """
    for name, value, choices in (("gaps", gaps, GAPS), ("missing", missing, MISSING)):
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


def _step_of(group: Hashable, scans: Sequence[PlacedScan]) -> float:
    """The time from sample to sample, which must be the same for all scans."""
    for scan in scans:
        header = scan.header
        if header.n_samples > 1 and header.stop <= header.start:
            raise InputError(
                f"Observation {group!r}: {_named(scan)} has {header.n_samples} samples from "
                f"{_time(header.start)} to {_time(header.stop)}; expected an end that is after the "
                "start."
            )
    longest = max(scans, key=lambda scan: scan.header.n_samples)
    step = longest.header.step
    for scan in scans:
        header = scan.header
        if abs(header.step - step) > _RATE_TOLERANCE * step:
            raise MismatchError(
                f"Observation {group!r}: {_named(longest)} has {_rate(step)} samples a second, "
                f"but {_named(scan)} has {_rate(header.step)}; scans of one observation must have "
                "the same rate."
            )
    return step


def _require_likeness(group: Hashable, scans: Sequence[PlacedScan]) -> None:
    """Refuse scans in other units, and some that lack what others have."""
    first = scans[0]
    for scan in scans:
        if scan.header.units != first.header.units:
            raise MismatchError(
                f"Observation {group!r}: {_named(first)} is in {first.header.units}, but "
                f"{_named(scan)} in {scan.header.units}; convert one of them first."
            )
        # In an order that is the same on all ranks.
        for name in sorted(set(scan.header.fields) ^ set(first.header.fields)):
            has, lacks = (scan, first) if name in scan.header.fields else (first, scan)
            raise MismatchError(
                f"Observation {group!r}: {_named(lacks)} has no {name}, but {_named(has)} has."
            )


def _gap_between(
    group: Hashable, before: PlacedScan, after: PlacedScan, step: float, *, fill: bool
) -> Gap | None:
    """The gap between two scans, if there is one."""
    earlier, header = before.header, after.header
    if (earlier.start, earlier.last, earlier.n_samples) == (
        header.start,
        header.last,
        header.n_samples,
    ):
        raise DuplicateError(
            f"Observation {group!r}: {_named(before)} and {_named(after)} have the same samples, "
            f"{earlier.n_samples} from {_time(earlier.start)} to {_time(earlier.last)}. Give each "
            "scan once."
        )
    apart = header.start - earlier.last
    if apart <= 0 or apart < step / 2:
        raise InputError(
            f"Observation {group!r}: {_named(after)} begins at {_time(header.start)}, before "
            f"{_named(before)} has ended ({_time(earlier.last)}). Scans of one observation must "
            "not overlap."
        )
    n_samples = 0 if np.isnan(step) else round(apart / step) - 1
    if n_samples < 1:
        return None
    stop = before.stop + n_samples if fill else before.stop
    return Gap(0, n_samples, before.stop, stop, earlier.last, header.start)


def _refuse_gap(group: Hashable, gaps: Sequence[Gap], scans: Sequence[PlacedScan]) -> None:
    gap = gaps[0]
    before, after = scans[gap.after : gap.after + 2]
    more = f" (and {len(gaps) - 1} more)" if len(gaps) > 1 else ""
    raise InputError(
        f"Observation {group!r} has a gap of {gap.seconds:.6g} s, {gap.n_samples} samples, between "
        f"{_named(before)} and {_named(after)}{more}. Say gaps='keep' or gaps='fill' if that is as "
        "it should be."
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
    scans: Sequence[PlacedScan],
    different: Iterable[tuple[str, ...]],
    missing: str,
) -> tuple[str, ...]:
    """All detectors of all scans."""
    names = dict.fromkeys(name for some in different for name in some)
    if missing == "refuse":
        for scan in scans:
            lacking = names.keys() - set(scan.header.detectors)
            if lacking:
                example = next(name for name in names if name in lacking)
                has = next(s for s in scans if example in s.header.detectors)
                raise MismatchError(
                    f"Observation {group!r}: {_named(scan)} lacks {len(lacking)} of "
                    f"{len(names)} detectors, such as {example!r}, which {_named(has)} has. Say "
                    "missing='flag' to flag them there."
                )
    return tuple(names)


def _named(scan: PlacedScan) -> str:
    return f"{scan.header.where} (rank {scan.rank})"


def _time(ticks: int) -> str:
    return str(core.G3Time(int(ticks)))


def _rate(step: float) -> str:
    return f"{core.G3Units.s / step:.6g}"
