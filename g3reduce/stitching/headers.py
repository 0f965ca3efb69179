"""What all ranks know of scans: their headers, their places in an observation, and its gaps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

Array = NDArray[Any]


class Run(NamedTuple):
    """Samples of a scan that follow each other without a gap.

    Attributes
    ----------
    first : int
        Which sample of the scan the first one is.
    place : int
        How many steps after the first sample of the scan that one is.
    n_samples : int
    """

    first: int
    place: int
    n_samples: int


class ScanHeader(NamedTuple):
    """What all ranks know of a scan.

    Attributes
    ----------
    where : str
        Its source, as messages name it.
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
        What the keys name of it: attributes of `Scan`.
    ends : tuple of array of shape (4,), or None
        The boresight at the first and at the last sample of each run.
    flagged : tuple of str
        Flags that it has, whether a key names them or not, because samples were dropped.
    gappy : tuple of Run
        Its runs, if samples were lost between them; else nothing.
    offsets : integer array, shape (n_samples,), or None
        How much later samples are than even steps say; None: they are not.
    digests : dict of str to bytes
        Of what all detectors have in common: the boresight and the flags.
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
    gappy: tuple[Run, ...] = ()
    offsets: Array | None = None
    digests: dict[str, bytes] = {}  # noqa: RUF012  # nobody writes to it

    @property
    def planes(self) -> frozenset[str]:
        """What there is of it: names of attributes of `Scan`."""
        return frozenset(self.fields + self.flagged)

    @property
    def shape(self) -> tuple[int, int]:
        """How many detectors and samples there are."""
        return len(self.detectors), self.n_samples

    @property
    def runs(self) -> tuple[Run, ...]:
        """Its samples, in stretches without a gap."""
        return self.gappy or (Run(0, 0, self.n_samples),)

    @property
    def n_places(self) -> int:
        """How many samples there would be if none had been lost."""
        last = self.runs[-1]
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
        """The time of one sample, whose place is known."""
        time = self.start + (int(place * self.step) if place else 0)
        return time if self.offsets is None else time + int(self.offsets[sample])


class PlacedScan(NamedTuple):
    """A scan in its place, or a part of it.

    Attributes
    ----------
    header : ScanHeader
        Of the whole scan.
    rank : int
        Where its samples were accumulated.
    number : int
        Its index in the list of its group in ``MPIAccumulator.fullobs``.
    first, stop : int
        Its samples in the observation: from the first to the one before `stop`.
    begin : int
        Which sample of the scan the first one is.
    place : int
        How many steps after the first sample of the scan that one is.
    ends : tuple of array of shape (4,), or None
        The boresight at the first and at the last sample of its run.
    own_flags : bool
        Whether its flags of samples are for its own detectors only, since those of other scans at
        the same time differ.
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
    def planes(self) -> frozenset[str]:
        """What it brings to the observation: names of attributes of `Scan`."""
        planes = self.header.planes
        if self.own_flags and "flags" in planes:
            return (planes - {"flags"}) | {"detector_flags"}
        return planes

    @property
    def samples(self) -> slice:
        """Its samples in the scan."""
        return slice(self.begin, self.begin + self.stop - self.first)

    def cut(self, skip: int, n_samples: int) -> PlacedScan:
        """So many of its samples, without the first ones. The `ends` stay those of the run."""
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
        The number of the scan before it, or of the part of one.
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


def named(scan: PlacedScan) -> str:
    """How messages name it."""
    return f"{scan.header.where} (rank {scan.rank})"


def time_text(ticks: int) -> str:
    """How messages say a time."""
    return str(core.G3Time(int(ticks)))
