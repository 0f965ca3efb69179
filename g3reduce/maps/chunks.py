"""The pixels of a map, in chunks that fit in the cache: from memory, or from an archive."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..errors import InputError
from ..g3files.archive import DENSE
from ..g3files.checksum import Checksum
from ..g3files.lines import Index, Values
from ..g3files.maps import PAIR, MapExtent
from ..g3files.runcopier import HEADERS
from ..g3files.runs import RunGroup, RunLayout, learn
from ..g3files.source import Bytes
from ..kernels import choice as kernels
from ..limits import LIMITS

_FEW = 2048  # fewer values are counted before they would be compared


class DenseChunk(NamedTuple):
    """Neighbouring pixels of a dense map: the number of the first, and the values."""

    start: int
    values: Values


@dataclass(frozen=True)
class RunsChunk:
    """Some runs of a sparse map.

    Attributes
    ----------
    layout : RunLayout
        All runs of the map.
    group : RunGroup
        Which of them these are.
    raw : uint8 array
        Their archive: the header of each, and its values.
    """

    layout: RunLayout
    group: RunGroup
    raw: NDArray[np.uint8]

    @functools.cached_property
    def values(self) -> Values:
        """The values of all these runs in a row; they are overwritten by those of the next."""
        return self.layout.unpack(self.group)

    def get_values(self) -> Values:
        """The `values`."""
        return self.values

    @functools.cached_property
    def loops(self) -> Any:
        """The compiled loops by which they are to be added, if they are."""
        return kernels.loops(len(self.raw) // 8)

    def sums(self) -> tuple[int, Values]:
        """How many values are not 0, and the sum of each run that is not empty."""
        lengths = self.layout.lengths[self.group.first : self.group.last]
        if loops := self.loops:
            sums = np.empty(len(lengths))
            hit = loops.sum_runs(self.raw, lengths, HEADERS.itemsize, sums)
            return hit, sums if lengths.all() else sums[lengths > 0]
        begins = self.layout.copier(self.group).begins
        if not len(begins):
            return 0, np.empty(0)
        return n_hit(self.values), np.add.reduceat(self.values, begins)

    def with_values(self, values: Values) -> RunsChunk:
        """The same runs with other values, which take the place of those in `raw`."""
        self.layout.pack(self.group, values)
        return self


class PointsChunk(NamedTuple):
    """Single pixels: their numbers, and the values."""

    pixels: Index
    values: Values


Chunk: TypeAlias = "DenseChunk | RunsChunk | PointsChunk"


def n_hit(values: Values) -> int:
    """How many values are not 0. numpy counts truths several times as fast as it does floats."""
    return int(np.count_nonzero(values if len(values) < _FEW else values != 0))


def dense_chunks(values: Values) -> Iterator[Chunk]:
    """All pixels of a map in memory, in the chunks in which they would come from a file."""
    starts = dense_starts(len(values))
    return (DenseChunk(start, values[start : start + starts.step]) for start in starts)


def dense_starts(n_pixels: int) -> range:
    """Where the chunks of a dense map begin.

    They are the same for all maps of a size, so that several can be added in turn.
    """
    return range(0, n_pixels, LIMITS.step // 8)


class Stored(NamedTuple):
    """A map in an archive, in a file or in memory, whose pixels are read when they are asked for.

    Attributes
    ----------
    source : Bytes
        Where the archive lies.
    extent : MapExtent
        Where the map lies in it.
    n_pixels : int
        How many pixels the map has.
    where : str
        How messages name the frame.
    checksum : Checksum or None
        It is shown all bytes that are read.
    by_spt3g : bool
        Whether spt3g has made the archive just now, so that there is no pixel twice in it.
    """

    source: Bytes
    extent: MapExtent
    n_pixels: int
    where: str
    checksum: Checksum | None = None
    by_spt3g: bool = False

    def chunks(self) -> Iterator[Chunk]:
        """Its pixels; reading begins when the first chunk is asked for."""
        if self.extent.layout is not None:
            return self._runs(self.extent.layout)
        return self._dense() if self.extent.storage == DENSE else self._pairs()

    def _read(self, offset: int, into: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.source.read_into(offset, into.data)
        return into

    def _show(self, offset: int, part: NDArray[np.uint8]) -> None:
        """Show the checksum what is about to be used, and nothing else."""
        if self.checksum is not None:
            self.checksum.show(offset, part)

    def _dense(self) -> Iterator[Chunk]:
        extent = self.extent
        for start in dense_starts(extent.n_items):
            size = min(LIMITS.step, 8 * (extent.n_items - start))
            raw = self._read(extent.begin + 8 * start, buffer("raw", size))
            self._show(extent.begin + 8 * start, raw)
            yield DenseChunk(start, raw.view(np.float64))

    def _pairs(self) -> Iterator[Chunk]:
        extent = self.extent
        once = _EachOnce()
        for start in range(0, extent.n_items, LIMITS.step // PAIR.itemsize):
            offset = extent.begin + PAIR.itemsize * start
            size = min(LIMITS.step, PAIR.itemsize * (extent.n_items - start))
            raw = self._read(offset, buffer("raw", size))
            self._show(offset, raw)
            pairs = raw.view(PAIR)
            highest = pairs["pixel"].max()
            if highest >= self.n_pixels:
                self._refuse(f"pixel {highest} of a map of {self.n_pixels} pixels")
            pixels = pairs["pixel"].astype(np.int64)
            if not self.by_spt3g:
                once.take(pixels)
            yield PointsChunk(pixels, pairs["value"].astype(np.float64))
        if (pixel := once.repeated()) is not None:
            self._refuse(f"pixel {pixel} stands there twice")

    def _runs(self, layout: RunLayout) -> Iterator[Chunk]:
        """Runs of the expected layout; from where there are others on, those of the true one."""
        begin = self.extent.begin
        groups = iter(layout.groups)
        for group in groups:
            copier = layout.copier(group)
            raw = self._read(begin + group.begin, copier.raw)
            if not copier.has_these_runs():
                layout = self._true_layout(layout)
                groups = iter(layout.groups_like([group, *groups]))
                break
            self._show(begin + group.begin, raw)
            yield RunsChunk(layout, group, raw)
        for group in groups:
            copier = layout.copier(group)
            raw = self._read(begin + group.begin, copier.raw)
            if not copier.has_these_runs():
                self._refuse("the file was changed while it was read")
            self._show(begin + group.begin, raw)
            yield RunsChunk(layout, group, raw)

    def _true_layout(self, expected: RunLayout) -> RunLayout:
        """The true layout, where another was expected because of the length."""
        extent = self.extent
        try:
            layout, begin = learn(
                self.source, expected.lines, extent.begin - len(expected.head), extent.end
            )
        except InputError as error:
            self._refuse(str(error))
        if layout.head != expected.head:
            self._refuse("the file was changed while it was read")
        if begin + layout.nbytes != extent.end:
            self._refuse("its runs end at the wrong place")
        return layout

    def _refuse(self, problem: str) -> NoReturn:
        raise InputError(
            f"{self.where}, byte {self.extent.begin}: this is not a valid map ({problem})."
        )


class _EachOnce:
    """Finds pixels that come more than once, part by part; where they rise, there are none."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []
        self._rise, self._last = True, -1

    def take(self, pixels: NDArray[np.int64]) -> None:
        self._parts.append(pixels)
        if self._rise and len(pixels):
            self._rise = bool(pixels[0] > self._last and (pixels[1:] > pixels[:-1]).all())
            self._last = int(pixels[-1])

    def repeated(self) -> int | None:
        """One that came more than once; None if there is none."""
        if self._rise:
            return None
        in_order = np.sort(np.concatenate(self._parts))
        again = in_order[1:][in_order[1:] == in_order[:-1]]
        return int(again[0]) if len(again) else None
