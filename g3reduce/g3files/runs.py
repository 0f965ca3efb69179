"""The runs of sparse maps: where they lie in an archive, in memory, and on the map.

spt3g writes a sparse map as runs of neighbouring pixels, a small header in front of the values of
each. The maps of a frame mostly have the same runs. So their layout is learnt once, and after that
the values of all runs can be treated as one long array.
"""

from __future__ import annotations

import functools
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..errors import InputError
from ..limits import LIMITS
from .lines import Index, Lines, Stretches, Values
from .runcopier import HEADERS, RunCopier
from .source import Bytes

_LENGTH = struct.Struct("<4xQ")  # in one of `HEADERS`
_RANGE = struct.Struct("<QQQQ")  # lines and positions there are, the first line, number of lines


class RunGroup(NamedTuple):
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


class _Copiers(threading.local):
    """The copiers of one layout in one thread, whose buffers they use."""

    def __init__(self) -> None:
        self.by_group: dict[RunGroup, RunCopier] = {}


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
        self.nbytes = HEADERS.itemsize * len(headers) + 8 * self.size
        self.head = _RANGE.pack(*lines.shape, offset, len(headers))
        self.key = (lines, self.head, headers.tobytes())
        self._copiers = _Copiers()

    def __reduce__(self) -> tuple[type[RunLayout], tuple[Any, ...]]:
        return RunLayout, (self.lines, self.offset, self.headers)

    def __len__(self) -> int:
        return len(self.headers)

    @functools.cached_property
    def last_header(self) -> tuple[int, bytes]:
        """Where the header of the last run stands, counted from that of the first; its bytes."""
        if not len(self):
            return 0, b""
        begin = self.nbytes - 8 * int(self.lengths[-1]) - HEADERS.itemsize
        return begin, self.headers[-1].tobytes()

    @functools.cached_property
    def digest(self) -> bytes:
        """A short name: equal for equal layouts."""
        return hashlib.blake2b(repr(self.key).encode(), digest_size=16).digest()

    @functools.cached_property
    def stretches(self) -> Stretches:
        """The pixels of the runs."""
        return self.lines.stretches(self.offset + np.arange(len(self)), self.starts, self.lengths)

    def pixels(self, group: RunGroup | None = None) -> Index:
        """The number of each pixel of a group, or of all, in the order of the values."""
        first, lengths, of_run = self.stretches
        if group is not None:
            held = slice(of_run[group.first], of_run[group.last])
            first, lengths = first[held], lengths[held]
        before = np.cumsum(lengths) - lengths
        return np.repeat(first - before, lengths) + np.arange(lengths.sum())

    @functools.cached_property
    def groups(self) -> list[RunGroup]:
        """The runs in groups of about `LIMITS.step` bytes, one after the other."""
        return self._cut_before([len(self)], LIMITS.step)

    @property
    def group_ends(self) -> list[int]:
        """The lines behind the last ones of the groups."""
        return [self.offset + group.last for group in self.groups]

    def cut_like(self, other: RunLayout) -> None:
        """From now on have groups that end on the lines on which those of another layout do.

        So maps that differ a little are read in parts that belong to the same lines.
        """
        ends = np.clip(np.array(other.group_ends) - self.offset, 0, len(self))
        borders = [*sorted(set(ends[ends > 0].tolist())), len(self)]
        self.groups = self._cut_before(borders, LIMITS.step * 3 // 2)  # runs may be longer here

    def _cut_before(self, borders: Sequence[int], most: int) -> list[RunGroup]:
        """Groups of at most so many bytes that do not pass these borders: the last is the end."""
        return list(self._groups(0, self._lasts(0, borders, most)))

    def _lasts(self, last: int, borders: Sequence[int], most: int) -> list[int]:
        """Where groups of at most so many bytes end, from a run on."""
        ends, lasts = self._archive_ends, []
        for border in borders:
            while last < border:
                begin = int(ends[last - 1]) if last else 0
                far = int(np.searchsorted(ends, begin + most, side="right"))
                last = min(max(far, last + 1), border)
                lasts.append(last)
        return lasts

    def groups_over(self, begin: int, end: int) -> Iterator[RunGroup]:
        """Groups of about `LIMITS.step` bytes that have these bytes of the archive in them."""
        first, last = np.searchsorted(self._archive_ends, [begin, end - 1], side="right").tolist()
        return self._groups(first, self._lasts(first, [last + 1], LIMITS.step))

    def places(self, lines: Index, positions: Index) -> Index:
        """Where pixels stand in the archive, in bytes; what is not in the runs, where it would."""
        if not len(self):
            return np.zeros(len(lines), np.int64)
        run = np.clip(lines - self.offset, 0, len(self) - 1)
        length, end = self.lengths[run], self._archive_ends[run]
        ahead = np.clip(positions - self.starts[run], 0, length)
        places: Index = end - 8 * (length - ahead)
        places[lines < self.offset] = 0
        places[lines >= self.offset + len(self)] = self.nbytes
        return places

    def groups_like(self, others: Sequence[RunGroup]) -> list[RunGroup]:
        """Groups on the same lines as those of another layout, which has as many runs."""
        return list(self._groups(others[0].first, [group.last for group in others]))

    @functools.cached_property
    def _archive_ends(self) -> Index:
        """Where the runs end in an archive, counted from the first header."""
        return HEADERS.itemsize * np.arange(1, len(self) + 1) + 8 * self.ends

    def _groups(self, first: int, lasts: Sequence[int]) -> Iterator[RunGroup]:
        """Groups from a run on that end before these."""
        ends = self._archive_ends
        begin = int(ends[first - 1]) if first else 0
        start = int(self.ends[first - 1]) if first else 0
        for last in lasts:
            end, stop = int(ends[last - 1]), int(self.ends[last - 1])
            yield RunGroup(begin, end - begin, start, stop, first, last)
            begin, start, first = end, stop, last

    def packed(self, values: Values) -> Iterator[memoryview]:
        """The archive of these runs, in pieces; each is overwritten by the next.

        Parameters
        ----------
        values : float64 array, shape (size,)
        """
        for group in self.groups:
            copier = self.copier(group)
            copier.headers_to_raw()
            self.pack(group, values[group.start : group.stop])
            yield copier.raw.data

    def packed_by(
        self, fill: Callable[[RunGroup, NDArray[np.uint8]], None]
    ) -> Iterator[memoryview]:
        """The same, put there by a function that is called with each group and its place."""
        for group in self.groups:
            raw = buffer("raw", group.nbytes)
            fill(group, raw)
            yield raw.data

    def unpack(self, group: RunGroup) -> Values:
        """The values in the buffer of `copier`, in a row; they are overwritten by the next."""
        copier = self.copier(group)
        copier.to_values()
        return copier.values

    def pack(self, group: RunGroup, values: Values) -> None:
        """Put values into the runs in the buffer of `copier`."""
        copier = self.copier(group)
        copier.values[:] = values
        copier.to_raw()

    def copier(self, group: RunGroup) -> RunCopier:
        """What copies the runs of a group; its buffers are used again by others."""
        mine = self._copiers.by_group
        copier = mine.get(group)
        if copier is None:
            copier = mine[group] = RunCopier(self.headers[group.first : group.last])
        return copier


class Layouts(threading.local):
    """The layouts that a thread has met last: mostly there are few, or no two are the same.

    Parameters
    ----------
    keep : int
        How many are kept.
    """

    def __init__(self, keep: int = 4):
        self._keep = keep
        self._known: dict[object, RunLayout] = {}
        self._latest: RunLayout | None = None

    def __iter__(self) -> Iterator[RunLayout]:
        """The one that was met last comes first."""
        return reversed(list(self._known.values()))

    def intern(self, layout: RunLayout) -> RunLayout:
        """The one object that stands for this layout."""
        if layout is self._latest:
            return layout
        known = self._known.pop(layout.key, layout)
        self._known[layout.key] = known
        while len(self._known) > self._keep:
            del self._known[next(iter(self._known))]
        self._latest = known
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
    if count * HEADERS.itemsize > end - begin:
        raise InputError("more runs than the archive has room for")
    layout = RunLayout(lines, first, _headers(source, begin, end, count))
    return KNOWN.intern(layout), begin


def _headers(source: Bytes, position: int, end: int, count: int) -> NDArray[np.void]:
    unpack, size, near = _LENGTH.unpack_from, HEADERS.itemsize, LIMITS.near_header
    peek = source.peek  # not kept: headers are compared when the values are read
    held, start, ahead, found = b"", position, near, []
    for _ in range(count):
        begin = position - start
        if begin + size > len(held):
            if end - position < size:
                raise InputError("runs that are cut off")
            held, start, begin = peek(position, min(ahead, end - position)), position, 0
        nbytes = 8 * unpack(held, begin)[0]
        found.append(held[begin : begin + size])
        position += size + nbytes
        if position > end:
            raise InputError("a run that does not end in its archive")
        # Where runs are long, a header is read by itself.
        ahead = near if nbytes < near else size
    return np.frombuffer(b"".join(found), HEADERS)


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
    positions : int64 array
        Where each of the pixels stands among the values of the layout.
    """
    if not len(pixels):
        return RunLayout(lines, 0, np.empty(0, HEADERS)), pixels
    (offset, end), _ = lines.locate(pixels[[0, -1]])
    begins = lines.begins(int(offset), int(end) + 2)
    bounds = np.searchsorted(pixels, begins)
    counts = np.diff(bounds)
    hit = np.flatnonzero(counts)
    headers = np.zeros(len(counts), HEADERS)
    if lines.shifted:  # then pixels are in rising order, but positions are not
        on_line = np.repeat(np.arange(len(counts)), counts)
        _, positions = lines.locate(pixels)
        first = np.minimum.reduceat(positions, bounds[hit])
        last = np.maximum.reduceat(positions, bounds[hit])
    else:
        first, last = pixels[bounds[hit]] - begins[hit], pixels[bounds[hit + 1] - 1] - begins[hit]
    headers["start"][hit], headers["length"][hit] = first, last - first + 1
    layout = RunLayout(lines, int(offset), headers)
    shift = layout.ends - layout.lengths - layout.starts
    if lines.shifted:
        return layout, positions + shift[on_line]
    return layout, pixels + np.repeat(shift - begins[:-1], counts)


class LayoutFinder:
    """Finds the layouts that span pixels: once for maps of the same pixels that come in a row."""

    def __init__(self) -> None:
        self._latest: tuple[Lines, Index, tuple[RunLayout, Index]] | None = None

    def find(self, lines: Lines, pixels: Index) -> tuple[RunLayout, Index]:
        """See `layout_of`."""
        latest = self._latest
        if latest is None or latest[0] != lines or not np.array_equal(latest[1], pixels):
            latest = self._latest = lines, pixels, layout_of(lines, pixels)
        return latest[2]
