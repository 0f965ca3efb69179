"""Scans in their place in an observation."""

from __future__ import annotations

from typing import NamedTuple

from spt3g import core

from .header import Array, ScanHeader


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
