"""The runs of sparse maps: where they lie in an archive, in memory, and on the map.

spt3g writes a sparse map as runs of neighbouring pixels, a small header in front of the values of
each. Maps of one survey mostly have the same runs. So the layout is learnt once, and after that
the values of all runs can be treated as one long array.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..errors import InputError
from ..limits import LIMITS
from .lines import Index, Lines, Stretches
from .source import Bytes

Values = NDArray[np.float64]

_HEADER = struct.Struct("<iQ")  # where the run starts on its line, its length
_HEADERS = np.dtype([("start", "<i4"), ("length", "<u8")])
_RANGE = struct.Struct("<QQQQ")  # lines and places there are, the first line, number of lines

# For parts of more runs, what takes more memory than the runs themselves is not kept.
_MANY_RUNS = 4096


class Part(NamedTuple):
    """Whole runs that are read in one go.

    Attributes
    ----------
    begin, nbytes : int
        Their extent in the archive, counted from the header of the first run of all.
    start, stop : int
        Their values, among those of all runs.
    first, last : int
        Their numbers: ``first <= number < last``.
    """

    begin: int
    nbytes: int
    start: int
    stop: int
    first: int
    last: int


class RunLayout:
    """Which runs a map has: one for each line from `offset` on, some of which may be empty.

    Parameters
    ----------
    lines : Columns or Rings
        The lines of the map.
    offset : int
        The first line that has a run.
    headers : array of (start, length)
        Where the runs start, and their lengths.

    Raises
    ------
    InputError
        If the runs leave the map.
    """

    def __init__(self, lines: Lines, offset: int, headers: NDArray[np.void]):
        self.lines = lines
        self.offset = offset
        self.headers = headers
        self.starts: Index = headers["start"].astype(np.int64)
        lengths = headers["length"].copy()
        room = lines.lengths(offset, len(headers))
        if len(room) < len(headers) or (lengths > room.astype(np.uint64)).any():
            raise InputError("runs of pixels that are not on the map")
        self.lengths: Index = lengths.astype(np.int64)
        # A run without pixels may start anywhere.
        bad = (self.starts < 0) | (self.starts + self.lengths > room)
        if (bad & (self.lengths > 0)).any():
            raise InputError("runs of pixels that are not on the map")
        self.ends: Index = np.cumsum(self.lengths)
        self.size = int(self.ends[-1]) if len(headers) else 0
        self.nbytes = _HEADER.size * len(headers) + 8 * self.size
        self.head = _RANGE.pack(*lines.shape, offset, len(headers))
        self.key = (lines, self.head, headers.tobytes())
        self._copiers = _Copiers()

    def __reduce__(self) -> tuple[type[RunLayout], tuple[Any, ...]]:
        return RunLayout, (self.lines, self.offset, self.headers)

    def __len__(self) -> int:
        return len(self.headers)

    @functools.cached_property
    def digest(self) -> bytes:
        """A short name: equal for equal layouts."""
        return hashlib.blake2b(repr(self.key).encode(), digest_size=16).digest()

    @functools.cached_property
    def stretches(self) -> Stretches:
        """The pixels of the runs."""
        return self.lines.stretches(self.offset + np.arange(len(self)), self.starts, self.lengths)

    def pixels(self, part: Part | None = None) -> Index:
        """The number of each pixel of a part, or of all, in the order of the values."""
        first, lengths, of_run = self.stretches
        if part is not None:
            held = slice(of_run[part.first], of_run[part.last])
            first, lengths = first[held], lengths[held]
        before = np.cumsum(lengths) - lengths
        return np.repeat(first - before, lengths) + np.arange(lengths.sum())

    @functools.cached_property
    def parts(self) -> list[Part]:
        """The runs in groups of about `LIMITS.step` bytes."""
        return list(self.parts_from(0))

    def parts_from(self, first: int) -> Iterator[Part]:
        """Groups of the runs from this one on."""
        ends = _HEADER.size * np.arange(1, len(self) + 1) + 8 * self.ends
        begin = int(ends[first - 1]) if first else 0
        start = int(self.ends[first - 1]) if first else 0
        while first < len(self):
            last = max(int(np.searchsorted(ends, begin + LIMITS.step, side="right")), first + 1)
            stop = int(self.ends[last - 1])
            yield Part(begin, int(ends[last - 1]) - begin, start, stop, first, last)
            begin, start, first = int(ends[last - 1]), stop, last

    def packed(self, values: Values) -> Iterator[memoryview]:
        """The archive of these runs, in pieces; each is overwritten by the next.

        Parameters
        ----------
        values : float64 array, shape (size,)
        """
        for part in self.parts:
            copier = self._copier(part)
            copier.headers_to_raw()
            copier.values[:] = values[part.start : part.stop]
            copier.to_raw()
            yield copier.raw.data

    def unpack(self, part: Part, raw: NDArray[np.uint8]) -> Values | None:
        """The values in a part of an archive; None if the runs there are others.

        Parameters
        ----------
        part : Part
        raw : uint8 array
            What `raw_buffer` gave, filled.

        Returns
        -------
        float64 array or None
            It is overwritten by the next.
        """
        copier = self._copier(part)
        if not copier.has_these_runs():
            return None
        copier.to_values()
        return copier.values

    def raw_buffer(self, part: Part) -> NDArray[np.uint8]:
        """Where a part of an archive is to be put, to be unpacked."""
        return self._copier(part).raw

    def _copier(self, part: Part) -> _Copier:
        mine = self._copiers.of
        copier = mine.get(part)
        if copier is None:
            copier = mine[part] = _Copier(self, part)
        return copier


class _Copiers(threading.local):
    """Those of one layout in one thread, whose buffers they use."""

    def __init__(self) -> None:
        self.of: dict[Part, _Copier] = {}


class _Copier:
    """Takes headers and values of runs apart, and puts them together again.

    Values lie at odd places in an archive, where numpy is slow; so they are copied, run by run, to
    where they are aligned and together. The views for this are kept once they are used again.
    """

    def __init__(self, layout: RunLayout, part: Part):
        largest = max(part.nbytes, LIMITS.step)
        self.raw = buffer("raw", largest)[: part.nbytes]
        values = buffer("values", largest)[: 8 * (part.stop - part.start)]
        self.values: Values = values.view(np.float64)
        self._headers = layout.headers[part.first : part.last]
        self._expected = self._headers.view(np.uint8).reshape(-1, _HEADER.size)
        self._aligned = values.data
        sizes = 8 * layout.lengths[part.first : part.last]
        self._ends = 8 * layout.ends[part.first : part.last] - 8 * part.start
        self._begins = self._ends - sizes
        # In the archive, each run has its header and those of all before it in front.
        self._shifts = _HEADER.size * np.arange(1, len(sizes) + 1)
        self._kept_places = self._header_places() if len(sizes) < _MANY_RUNS else None
        self._used = False

    def has_these_runs(self) -> bool:
        return bool(np.array_equal(self.raw[self._places()], self._expected))

    def headers_to_raw(self) -> None:
        self.raw[self._places()] = self._expected

    def _places(self) -> Index:
        """Where the bytes of the headers stand, for each run."""
        return self._header_places() if self._kept_places is None else self._kept_places

    def _header_places(self) -> Index:
        starts = self._begins + self._shifts - _HEADER.size
        places: Index = np.add.outer(starts, np.arange(_HEADER.size))
        return places

    def to_values(self) -> None:
        pairs = self._pairs if self._used else self._views()
        for aligned, raw in pairs:
            aligned[:] = raw
        self._used = True

    def to_raw(self) -> None:
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
        places = zip(begins.tolist(), ends.tolist(), shifts.tolist(), strict=True)
        for begin, end, shift in places:
            yield aligned[begin:end], raw[begin + shift : end + shift]


class Layouts(threading.local):
    """The layouts that a thread met last: there are few different ones, or never the same again.

    Parameters
    ----------
    keep : int
        How many are kept.
    """

    def __init__(self, keep: int = 4):
        self._keep = keep
        self._known: dict[object, RunLayout] = {}

    def __iter__(self) -> Iterator[RunLayout]:
        """The one that was met last comes first."""
        return reversed(list(self._known.values()))

    def intern(self, layout: RunLayout) -> RunLayout:
        """The one object that stands for this layout."""
        known = self._known.pop(layout.key, layout)
        self._known[layout.key] = known
        while len(self._known) > self._keep:
            del self._known[next(iter(self._known))]
        return known


KNOWN = Layouts()


def learn(source: Bytes, lines: Lines, offset: int, end: int) -> tuple[RunLayout, int]:
    """The layout of the runs in an archive.

    Parameters
    ----------
    source : Bytes
    lines : Columns or Rings
        The lines of the map.
    offset, end : int
        Where the range of lines stands, before the first run, and where the archive ends.

    Returns
    -------
    layout : RunLayout
    begin : int
        Where the header of the first run stands.

    Raises
    ------
    InputError
        If these are no runs of such a map.
    """
    begin = offset + _RANGE.size
    if begin > end:
        raise InputError("an archive that ends before its runs")
    n_lines, n_places, first, count = _RANGE.unpack(source.read(offset, _RANGE.size))
    if (n_lines, n_places) != lines.shape or first + count > n_lines:
        raise InputError("runs for a map of another shape")
    if count * _HEADER.size > end - begin:
        raise InputError("more runs than the archive has room for")
    headers = np.fromiter(_headers(source, begin, end, count), _HEADERS, count)
    return KNOWN.intern(RunLayout(lines, first, headers)), begin


def _headers(source: Bytes, position: int, end: int, count: int) -> Iterator[tuple[int, int]]:
    unpack, size = _HEADER.unpack_from, _HEADER.size
    near = LIMITS.near_header
    held, start, ahead = bytearray(), position, near
    for _ in range(count):
        begin = position - start
        if begin + size > len(held):
            if end - position < size:
                raise InputError("runs that are cut off")
            # Not to be kept by whoever keeps what is read: it is compared when the values are.
            held, start, begin = bytearray(min(ahead, end - position)), position, 0
            source.read_into(position, memoryview(held))
        header = unpack(held, begin)
        nbytes = 8 * header[1]
        position += size + nbytes
        if position > end:
            raise InputError("a run that does not end in its archive")
        # Where runs are long, a header is read by itself.
        ahead = near if nbytes < near else size
        yield header


def layout_of(lines: Lines, pixels: Index) -> tuple[RunLayout, Index]:
    """The layout that spans these pixels: on each line, from the first to the last.

    Parameters
    ----------
    lines : Columns or Rings
        The lines of the map.
    pixels : int64 array
        Numbers of pixels, each once, in rising order.

    Returns
    -------
    layout : RunLayout
    places : int64 array
        Where each of the pixels stands among the values of the layout.
    """
    if not len(pixels):
        return RunLayout(lines, 0, np.empty(0, _HEADERS)), pixels
    (offset, end), _ = lines.locate(pixels[[0, -1]])
    begins = lines.begins(int(offset), int(end) + 2)
    bounds = np.searchsorted(pixels, begins)
    counts = np.diff(bounds)
    hit = np.flatnonzero(counts)
    headers = np.zeros(len(counts), _HEADERS)
    if lines.shifted:  # then pixels are in rising order, but places are not
        on_line = np.repeat(np.arange(len(counts)), counts)
        _, places = lines.locate(pixels)
        first = np.minimum.reduceat(places, bounds[hit])
        last = np.maximum.reduceat(places, bounds[hit])
    else:
        first, last = pixels[bounds[hit]] - begins[hit], pixels[bounds[hit + 1] - 1] - begins[hit]
    headers["start"][hit], headers["length"][hit] = first, last - first + 1
    layout = RunLayout(lines, int(offset), headers)
    shift = layout.ends - layout.lengths - layout.starts
    if lines.shifted:
        return layout, places + shift[on_line]
    return layout, pixels + np.repeat(shift - begins[:-1], counts)


def joined(pieces: Iterable[Any], size: int, whole: bytearray | None = None) -> bytearray:
    """Pieces in a row, `size` bytes together, each copied before the next is made.

    Parameters
    ----------
    pieces : iterable of bytes-like
    size : int
    whole : bytearray, optional
        Where to put them: fresh memory is slow.
    """
    if whole is None:
        whole = bytearray()
    if len(whole) != size:
        whole[:] = bytes(size)
    with memoryview(whole) as view:
        position = 0
        for piece in pieces:
            part = memoryview(piece).cast("B")
            view[position : position + len(part)] = part
            position += len(part)
    return whole
