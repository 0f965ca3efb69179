"""Who holds what of an observation once it is stitched."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

DISTRIBUTIONS = ("detector", "time", "root")


class Share(NamedTuple):
    """The part of an observation that a rank holds: some of its detectors, at some of its times.

    Attributes
    ----------
    detectors, samples : slice
        From a first to before a last one.
    """

    detectors: slice
    samples: slice

    @property
    def shape(self) -> tuple[int, int]:
        """How many detectors and samples there are."""
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
        The number of ranks. Shares are as equal as can be, the first ones larger by one.
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
