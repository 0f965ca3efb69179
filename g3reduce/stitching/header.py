"""What all ranks know of a scan."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
