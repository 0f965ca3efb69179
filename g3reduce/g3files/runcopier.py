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

# Headers and values are whole words of this.
_WORD = np.dtype("<u4")
_OF_HEADER = HEADERS.itemsize // _WORD.itemsize

# The positions of the headers of more runs than these take more memory than the runs themselves,
# and are not kept.
_MANY_RUNS = 4096

# Runs that are shorter than this on average are copied faster word by word.
_SHORT = 100


class RunCopier:
    """Copies the values of some runs between an archive and an array.

    Values lie at odd addresses in an archive, where numpy is slow; so they are copied to where they
    are aligned and together: word by word where runs are short, else run by run. The indices or
    views for this are kept once they are used again.

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
        self._raw_words = self.raw.view(_WORD)
        self._words = self.values.view(_WORD)
        self._expected = headers.tobytes()
        self._short = n_bytes < 8 * _SHORT * len(sizes)
        # In the archive, each run has its header and those of all before it in front.
        self._shifts = HEADERS.itemsize * np.arange(1, len(sizes) + 1)
        self._kept_positions = self._header_positions() if len(sizes) < _MANY_RUNS else None
        self._used = False

    def has_these_runs(self) -> bool:
        """Whether `raw` has the headers of these runs."""
        return self._raw_words[self._positions()].tobytes() == self._expected

    def headers_to_raw(self) -> None:
        """Put the headers into `raw`."""
        self._raw_words[self._positions()] = np.frombuffer(self._expected, _WORD)

    def _positions(self) -> Index:
        """Where the words of the headers stand."""
        return self._header_positions() if self._kept_positions is None else self._kept_positions

    def _header_positions(self) -> Index:
        starts = (self._begins + self._shifts) // _WORD.itemsize - _OF_HEADER
        positions: Index = np.add.outer(starts, np.arange(_OF_HEADER)).reshape(-1)
        return positions

    def to_values(self) -> None:
        """Copy the values from `raw` into `values`."""
        if self._short:
            np.take(self._raw_words, self._value_words, out=self._words, mode="clip")
            return
        for aligned, raw in self._pairs if self._used else self._views():
            aligned[:] = raw
        self._used = True

    def to_raw(self) -> None:
        """Copy the values from `values` into `raw`."""
        if self._short:
            self._raw_words[self._value_words] = self._words
            return
        for aligned, raw in self._pairs:
            raw[:] = aligned

    @functools.cached_property
    def begins(self) -> Index:
        """Where each run that is not empty begins in `values`."""
        return self._begins[self._ends > self._begins] // 8

    @functools.cached_property
    def _value_words(self) -> Index:
        """Where the words of the values stand in the archive."""
        counts = (self._ends - self._begins) // _WORD.itemsize
        return np.repeat(self._shifts // _WORD.itemsize, counts) + np.arange(len(self._words))

    @functools.cached_property
    def _pairs(self) -> list[tuple[memoryview, memoryview]]:
        return list(self._views())

    def _views(self) -> Iterator[tuple[memoryview, memoryview]]:
        """Of each run, where it lies together with the others, and where in the archive."""
        aligned, raw = self._words.view(np.uint8).data, self.raw.data
        held = np.flatnonzero(self._ends > self._begins)  # some maps have a run on each line
        begins, ends, shifts = self._begins[held], self._ends[held], self._shifts[held]
        found = zip(begins.tolist(), ends.tolist(), shifts.tolist(), strict=True)
        for begin, end, shift in found:
            yield aligned[begin:end], raw[begin + shift : end + shift]
