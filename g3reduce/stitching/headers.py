"""Headers of scans, their places in an observation, and its gaps: the same on all ranks."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

Array = NDArray[Any]


class Segment(NamedTuple):
    """Samples of a scan that follow each other, with no sample lost between them.

    Attributes
    ----------
    first : int
        Index in the scan of its first sample.
    place : int
        Steps in time from the first sample of the scan to that one. It is larger than `first` if
        samples were lost before it.
    n_samples : int
    """

    first: int
    place: int
    n_samples: int


class ScanHeader(NamedTuple):
    """All about a scan but its samples; all ranks know the headers of all scans.

    Attributes
    ----------
    where : str
        Its file and frame, as messages name it.
    detectors : tuple of str
        The rows of the samples.
    n_samples : int
    start, stop : int
        Times of the first and the last sample, as in ``G3Time.time`` (units of 10 ns).
    units : str
        Of the samples: the name of a ``G3TimestreamUnits``.
    dtype : numpy.dtype
        Of the samples.
    fields : tuple of str
        The attributes of `Scan` that its keys name.
    ends : tuple of array of shape (4,), or None
        The boresight at the first and at the last sample of each segment.
    flagged : tuple of str
        The attributes of `Scan` that flag dropped samples, whether a key names them or not.
    lossy_segments : tuple of Segment
        Its segments, if samples were lost between them; else empty.
    offsets : integer array, shape (n_samples,), or None
        How much later each sample is than even steps would have it; None: not at all.
    digests : dict of str to bytes
        Hashes of what all detectors have in common: ``"boresight"`` and ``"flags"``.
    """

    where: str
    detectors: tuple[str, ...]
    n_samples: int
    start: int
    stop: int
    units: str
    dtype: np.dtype[Any]
    fields: tuple[str, ...] = ("signal",)
    ends: tuple[Array, ...] | None = None
    flagged: tuple[str, ...] = ()
    lossy_segments: tuple[Segment, ...] = ()
    offsets: Array | None = None
    digests: dict[str, bytes] = {}  # noqa: RUF012  # never written to

    @property
    def arrays(self) -> frozenset[str]:
        """The attributes of `Scan` that are there."""
        return frozenset(self.fields + self.flagged)

    @property
    def shape(self) -> tuple[int, int]:
        """How many detectors and samples there are."""
        return len(self.detectors), self.n_samples

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Its samples, divided where some were lost."""
        return self.lossy_segments or (Segment(0, 0, self.n_samples),)

    @property
    def n_places(self) -> int:
        """How many samples there would be if none had been lost."""
        last = self.segments[-1]
        return last.place + last.n_samples

    @property
    def last(self) -> int:
        """The time of the last sample; of one alone its start, whatever the stop is."""
        return self.stop if self.n_samples > 1 else self.start

    @property
    def step(self) -> float:
        """The time from one sample to the next; NaN where there is only one."""
        intervals, duration = self.n_places - 1, float(self.stop - self.start)
        if intervals < 1:
            return math.nan
        # spt3g goes by the rate; this is its spacing to the last bit.
        return 1.0 / (intervals / duration) if duration > 0 else duration

    def time_at(self, sample: int, place: int) -> int:
        """The time of a sample, by its index and its place."""
        time = self.start + (int(place * self.step) if place else 0)
        return time if self.offsets is None else time + int(self.offsets[sample])


class PlacedScan(NamedTuple):
    """A scan of an observation: where its samples are, and where they belong.

    Before a timeline is made it is a whole scan without a place. In a timeline it is a whole scan,
    or a part of one between lost samples.

    Attributes
    ----------
    header : ScanHeader
        Of the whole scan.
    rank : int
        The rank that has its samples.
    number : int
        Its index in the list of its group in ``MPIAccumulator.result``.
    first, stop : int
        Its samples in the observation: from `first` to before `stop`.
    begin : int
        Index in the scan of the first of them.
    place : int
        Steps in time from the first sample of the scan to that one.
    ends : tuple of array of shape (4,), or None
        The boresight at the first and at the last sample of its segment.
    own_flags : bool
        Whether its flags of samples count for its own detectors only, because those of other scans
        at the same time differ.
    """

    header: ScanHeader
    rank: int
    number: int
    first: int = 0
    stop: int = 0
    begin: int = 0
    place: int = 0
    ends: tuple[Array, Array] | None = None
    own_flags: bool = False

    @property
    def arrays(self) -> frozenset[str]:
        """The attributes of `StitchedObservation` to which it contributes."""
        arrays = self.header.arrays
        if self.own_flags and "flags" in arrays:
            return (arrays - {"flags"}) | {"detector_flags"}
        return arrays

    def cut(self, skip: int, n_samples: int) -> PlacedScan:
        """A part: `n_samples` samples after the first `skip`. `ends` stay those of the segment."""
        if (skip, n_samples) == (0, self.stop - self.first):
            return self
        return self._replace(
            first=self.first + skip,
            stop=self.first + skip + n_samples,
            begin=self.begin + skip,
            place=self.place + skip,
        )


class Gap(NamedTuple):
    """A time without samples, between two scans or inside one.

    Attributes
    ----------
    after : int
        The index in `Timeline.scans` of what is before it.
    n_samples : int
        How many samples are missing.
    first, stop : int
        The samples of the observation that fill it; equal if it is not filled.
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
        """How long it is, from the sample before to the one after it."""
        return float((self.stop_time - self.start_time) / core.G3Units.s)


def named(scan: PlacedScan) -> str:
    """The name of a scan in messages."""
    return f"{scan.header.where} (rank {scan.rank})"


def time_text(ticks: int) -> str:
    """A time as messages have it."""
    return str(core.G3Time(int(ticks)))
