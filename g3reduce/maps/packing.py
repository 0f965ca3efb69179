"""Runs of a sum, trimmed to what is not 0, as an archive has them, by compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.scattered import merged
from ..g3files.lines import Index, Lines, Values
from ..g3files.runcopier import HEADERS
from ..g3files.runs import RunGroup, RunLayout

Fill = Callable[[RunGroup, NDArray[np.uint8]], None]


class LineParts(NamedTuple):
    """The pixels that a sum holds: parts of lines, in the order of the lines and along them.

    Attributes
    ----------
    offset : int
        The first line.
    of_line : int64 array
        How many parts the lines before each line have; one more than there are lines.
    positions, lengths : int64 array
        Where each part begins on its line, and how many pixels it has.
    begins : int64 array
        Where each begins in a plane.
    """

    offset: int
    of_line: Index
    positions: Index
    lengths: Index
    begins: Index

    @classmethod
    def of_layout(cls, layout: RunLayout) -> LineParts:
        """Of planes that hold the values of these runs in a row."""
        return cls(
            layout.offset,
            np.arange(len(layout) + 1),
            layout.starts,
            layout.lengths,
            layout.ends - layout.lengths,
        )

    @classmethod
    def of_values(cls, layout: RunLayout, begin: int, end: int) -> LineParts:
        """Of planes that hold some of the values of these runs, ``begin <= number < end``."""
        before = layout.ends - layout.lengths
        starts, stops = np.maximum(before, begin), np.minimum(layout.ends, end)
        held = np.flatnonzero(stops > starts)
        return cls(
            layout.offset,
            np.searchsorted(held, np.arange(len(layout) + 1)),
            (layout.starts + starts - before)[held],
            (stops - starts)[held],
            starts[held] - begin,
        )

    @property
    def lines(self) -> Index:
        """The line of each part."""
        return np.repeat(self.offset + np.arange(len(self.of_line) - 1), np.diff(self.of_line))

    def first(self) -> tuple[Index, Index]:
        """Line and position of the first part."""
        return self.lines[:1], self.positions[:1]

    def spanning(self, layout: RunLayout) -> LineParts:
        """The same on the lines of these runs, which may be others, too."""
        lines = layout.offset + np.arange(len(layout) + 1)
        of_line = self.of_line[np.clip(lines - self.offset, 0, len(self.of_line) - 1)]
        return LineParts(layout.offset, of_line, *self[2:])

    @classmethod
    def of_stretches(cls, lines: Lines, pixels: Index, lengths: Index, begins: Index) -> LineParts:
        """Of stretches of neighbouring pixels, each of which begins somewhere in a plane.

        Parameters
        ----------
        lines : Columns or Rings
        pixels, lengths, begins : int64 array
            The first pixel of each stretch, how many it has (not 0), and where it is in a plane.
        """
        (first_line, _), (last_line, _) = lines.locate(pixels), lines.locate(pixels + lengths - 1)
        counts = last_line - first_line + 1
        stretch = np.repeat(np.arange(len(pixels)), counts)
        line = first_line[stretch] + np.arange(len(stretch)) - (np.cumsum(counts) - counts)[stretch]
        lowest = int(first_line.min())
        edges = lines.begins(lowest, int(last_line.max()) + 2)
        start = np.maximum(pixels[stretch], edges[line - lowest])
        stop = np.minimum((pixels + lengths)[stretch], edges[line - lowest + 1])
        begin = begins[stretch] + start - pixels[stretch]
        if lines.shifted:  # a part in which positions begin anew is cut there
            half = edges[line - lowest] + np.diff(edges)[line - lowest] // 2
            middle = np.clip(half, start, stop)
            start, begin, stop, line = (
                np.concatenate(pair)
                for pair in (
                    (start, middle),
                    (begin, begin + middle - start),
                    (middle, stop),
                    (line, line),
                )
            )
            held = np.flatnonzero(stop > start)
            start, begin, stop, line = start[held], begin[held], stop[held], line[held]
        _, position = lines.locate(start)
        order = np.lexsort((position, line))
        line, position, begin, count = (x[order] for x in (line, position, begin, stop - start))
        apart = (line[1:] != line[:-1]) | (position[1:] != position[:-1] + count[:-1])
        first, count = merged(begin, count, apart=apart)
        of_line = np.searchsorted(line[first], np.arange(lowest, int(line.max()) + 2))
        return cls(lowest, of_line, position[first], count, begin[first])


def trimmed(loops: Any, lines: Lines, plane: Values, parts: LineParts) -> RunLayout:
    """The runs that reach on each line from the first pixel that is not 0 to the last."""
    headers = np.zeros(len(parts.of_line) - 1, HEADERS)
    starts, stops = np.zeros((2, len(headers)), np.int64)
    loops.trim(plane, *parts[1:], starts, stops)
    hit = np.flatnonzero(stops)
    if not len(hit):
        return RunLayout(lines, 0, headers[:0])
    headers["start"], headers["length"] = starts, stops - starts
    lowest, highest = hit[[0, -1]].tolist()
    return RunLayout(lines, parts.offset + lowest, headers[lowest : highest + 1])


def packer(loops: Any, plane: Values, parts: LineParts, layout: RunLayout) -> Fill:
    """A function that puts the archive of a group of runs of a plane into bytes."""
    headers = layout.headers.view(np.uint8).reshape(-1, HEADERS.itemsize)
    shift = layout.offset - parts.offset
    if loops is None:
        loops = _Loops

    def fill(group: RunGroup, raw: NDArray[np.uint8]) -> None:
        runs = headers, layout.starts, layout.lengths, group.first, group.last
        loops.pack_runs(raw, *runs, shift, plane, *parts[1:])

    return fill


class _Loops:
    """What the compiled loop does, where there is none."""

    @staticmethod
    def pack_runs(
        raw: NDArray[np.uint8],
        headers: NDArray[np.uint8],
        starts: Index,
        counts: Index,
        first: int,
        last: int,
        shift: int,
        plane: Values,
        of_line: Index,
        *parts: Index,
    ) -> None:
        """Put runs into bytes, each behind its header; what the plane does not hold is 0."""
        at, places = 0, of_line[first + shift : last + shift + 1].tolist()
        each = list(zip(*(part[places[0] : places[-1]].tolist() for part in parts), strict=True))
        runs = zip(starts[first:last].tolist(), counts[first:last].tolist(), strict=True)
        for number, (start, count) in enumerate(runs):
            raw[at : at + headers.shape[1]] = headers[first + number]
            at += headers.shape[1]
            values = raw[at : at + 8 * count].view(plane.dtype)
            here = each[places[number] - places[0] : places[number + 1] - places[0]]
            if len(here) != 1 or here[0][1] < count:
                values[:] = 0
            for position, length, begin in here:
                ahead = position - start
                low, high = max(ahead, 0), min(ahead + length, count)
                if low < high:
                    values[low:high] = plane[begin - ahead + low : begin - ahead + high]
            at += 8 * count
