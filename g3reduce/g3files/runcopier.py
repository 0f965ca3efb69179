"""Runs of pixels in an archive, taken apart into headers and values, and put together again."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..limits import LIMITS
from .lines import Index, Values

# The header of a run: where it starts on its line, and its length. Its values follow.
HEADERS = np.dtype([("start", "<i4"), ("length", "<u8")])

# The positions of the headers of more runs than these take more memory than the runs themselves,
# and are not kept.
_MANY_RUNS = 4096


class RunCopier:
    """Copies the values of some runs between an archive and an array.

    Values lie at odd addresses in an archive, where numpy is slow; so they are copied, run by run,
    to where they are aligned and together. The views for this are kept once they are used again.

    Parameters
    ----------
    headers : array of dtype `HEADERS`
        The runs.

    Attributes
    ----------
    raw : uint8 array
        The buffer for the archive of these runs: headers and values.
    values : float64 array
        The buffer for the values of all these runs. Both are used again by others.
    """

    def __init__(self, headers: NDArray[np.void]):
        sizes: Index = 8 * headers["length"].astype(np.int64)
        self._ends = np.cumsum(sizes)
        self._begins = self._ends - sizes
        n_bytes = int(self._ends[-1])
        whole = n_bytes + headers.nbytes
        largest = max(whole, LIMITS.step)
        self.raw = buffer("raw", largest)[:whole]
        self.values: Values = buffer("values", largest)[:n_bytes].view(np.float64)
        self._aligned = self.values.view(np.uint8).data
        self._expected = headers.view(np.uint8).reshape(-1, HEADERS.itemsize)
        # In the archive, each run has its header and those of all before it in front.
        self._shifts = HEADERS.itemsize * np.arange(1, len(sizes) + 1)
        self._kept_positions = self._header_positions() if len(sizes) < _MANY_RUNS else None
        self._used = False

    def has_these_runs(self) -> bool:
        """Whether `raw` has the headers of these runs."""
        return bool(np.array_equal(self.raw[self._positions()], self._expected))

    def headers_to_raw(self) -> None:
        """Put the headers into `raw`."""
        self.raw[self._positions()] = self._expected

    def _positions(self) -> Index:
        """Where the bytes of the headers stand, for each run."""
        return self._header_positions() if self._kept_positions is None else self._kept_positions

    def _header_positions(self) -> Index:
        starts = self._begins + self._shifts - HEADERS.itemsize
        positions: Index = np.add.outer(starts, np.arange(HEADERS.itemsize))
        return positions

    def to_values(self) -> None:
        """Copy the values from `raw` into `values`."""
        pairs = self._pairs if self._used else self._views()
        for aligned, raw in pairs:
            aligned[:] = raw
        self._used = True

    def to_raw(self) -> None:
        """Copy the values from `values` into `raw`."""
        for aligned, raw in self._pairs:
            raw[:] = aligned

    @functools.cached_property
    def _pairs(self) -> list[tuple[memoryview, memoryview]]:
        return list(self._views())

    def _views(self) -> Iterator[tuple[memoryview, memoryview]]:
        """Of each run, where it lies together with the others, and where in the archive."""
        aligned, raw = self._aligned, self.raw.data
        held = np.flatnonzero(self._ends > self._begins)  # some maps have a run on each line
        begins, ends, shifts = self._begins[held], self._ends[held], self._shifts[held]
        found = zip(begins.tolist(), ends.tolist(), shifts.tolist(), strict=True)
        for begin, end, shift in found:
            yield aligned[begin:end], raw[begin + shift : end + shift]
