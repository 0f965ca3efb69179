"""Shares of an observation: which rank holds what, and what is there without a scan."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .flags import INVALID, Flags
from .headers import Array, Gap
from .timeline import Timeline


class Share(NamedTuple):
    """The detectors and samples of an observation that a rank holds.

    Attributes
    ----------
    detectors, samples : slice
        Rows and columns of the whole observation.
    """

    detectors: slice
    samples: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Number of detectors and of samples."""
        rows, samples = self
        return rows.stop - rows.start, samples.stop - samples.start


def shares_of(
    distribution: str, n_detectors: int, n_samples: int, size: int, root: int = 0
) -> list[Share]:
    """The shares of all ranks, in their order.

    Parameters
    ----------
    distribution : {"detector", "time", "root"}
        Each rank has some detectors at all times, or all detectors at some times; or `root` has
        everything.
    n_detectors, n_samples : int
    size : int
        The number of ranks. Shares are of equal size, or the first ones are larger by one.
    root : int
    """
    rows, samples = slice(0, n_detectors), slice(0, n_samples)
    if distribution == "detector":
        return [Share(part, samples) for part in _parts(n_detectors, size)]
    if distribution == "time":
        return [Share(rows, part) for part in _parts(n_samples, size)]
    nothing = Share(slice(0, 0), slice(0, 0))
    return [Share(rows, samples) if rank == root else nothing for rank in range(size)]


def _parts(number: int, size: int) -> list[slice]:
    ends = [number // size * rank + min(rank, number % size) for rank in range(size + 1)]
    return [slice(first, stop) for first, stop in pairwise(ends)]


@dataclass
class Samples:
    """Arrays of the samples that a rank holds, of the shape of its share; None: not asked for.

    Attributes
    ----------
    signal : array, shape (n_detectors, n_samples), or None
    boresight : float64 array, shape (n_samples, 4), or None
    flags : uint8 array, shape (n_samples,), or None
    detector_flags : uint8 array, shape (n_detectors, n_samples), or None
    """

    signal: Array | None = None
    boresight: Array | None = None
    flags: Flags | None = None
    detector_flags: Flags | None = None

    @classmethod
    def zeros(cls, timeline: Timeline, share: Share) -> Samples:
        """Arrays of all that an observation has, filled with zeros."""
        n_detectors, n_samples = share.shape
        # The system's zeros: they cost nothing where they are overwritten at once.
        return cls(
            np.zeros((n_detectors, n_samples), timeline.dtype),
            np.zeros((n_samples, 4)) if "boresight" in timeline.arrays else None,
            np.zeros(n_samples, np.uint8),
            np.zeros((n_detectors, n_samples), np.uint8),
        )


def fill_in(timeline: Timeline, share: Share, samples: Samples) -> None:
    """Flag the samples of a share that no scan has, and fill the boresight between scans.

    In filled gaps samples are flagged for all detectors, and the boresight moves evenly from one
    scan to the next. Detectors that a scan lacks are flagged there.

    Parameters
    ----------
    timeline : Timeline
    share : Share
    samples : Samples
        The arrays of the share, which are changed; those that are None are skipped.
    """
    for gap in timeline.gaps:
        part, numbers = _in_share(gap.first, gap.stop, share)
        if len(numbers) and samples.flags is not None:
            samples.flags[part] |= INVALID
        if len(numbers) and samples.boresight is not None:
            samples.boresight[part] = _between(timeline, gap, numbers)
    if samples.detector_flags is not None:
        _flag_missing(timeline, share, samples.detector_flags)


def _flag_missing(timeline: Timeline, share: Share, flags: NDArray[np.uint8]) -> None:
    everything = len(timeline.detectors)
    if all(len(scan.header.detectors) == everything for scan in timeline.scans):
        return
    filled = np.zeros(share.shape[1], bool)
    for gap in timeline.gaps:
        filled[_in_share(gap.first, gap.stop, share)[0]] = True
    # Scans with the same detectors have the same tuple of them.
    lists = {id(scan.header.detectors): scan.header.detectors for scan in timeline.scans}
    names = {number: frozenset(some) for number, some in lists.items()}
    there = {number: filled.copy() for number in lists}
    for scan in timeline.scans:
        there[id(scan.header.detectors)][_in_share(scan.first, scan.stop, share)[0]] = True
    missing: dict[tuple[int, ...], NDArray[np.bool_]] = {}
    for row, name in zip(flags, timeline.detectors[share.detectors], strict=True):
        which = tuple(number for number in lists if name in names[number])
        if which not in missing:
            missing[which] = ~np.logical_or.reduce([there[number] for number in which])
        row[missing[which]] |= INVALID


def _in_share(first: int, stop: int, share: Share) -> tuple[slice, range]:
    """The samples that are in a share: where in it, and their numbers counted from `first`."""
    begin, end = max(first, share.samples.start), min(stop, share.samples.stop)
    if begin >= end:
        return slice(0, 0), range(0)
    part = slice(begin - share.samples.start, end - share.samples.start)
    return part, range(begin - first, end - first)


def _between(timeline: Timeline, gap: Gap, numbers: range) -> NDArray[np.float64]:
    """Quaternions at equal steps from the last one before a gap to the first one after it."""
    around = timeline.boresight_around(gap)
    if around is None:
        return np.zeros((len(numbers), 4))
    last, first = around
    if np.dot(last, first) < 0:  # the same rotation, on the nearer side
        first = -first
    part = (np.arange(numbers.start, numbers.stop) + 1)[:, None] / (gap.n_samples + 1)
    between = (1 - part) * last + part * first
    length = np.linalg.norm(between, axis=1, keepdims=True)
    return np.asarray(between / np.where(length > 0, length, 1))
