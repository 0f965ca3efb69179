"""Sums of planes over the pixels of a map, of which those that were hit are held."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arrays.arithmetic import Arithmetic, Match, add_scattered
from ..arrays.blocks import Blocks, Rows
from ..arrays.reduction import SUM
from ..arrays.scattered import Places, Scattered
from ..g3files.lines import Index, Lines, Values
from ..g3files.runs import RunGroup, RunLayout
from ..kernels import choice as kernels
from ..limits import LIMITS
from ..spt3gtypes import SkyMap
from .chunks import Chunk, DenseChunk, PointsChunk, RunsChunk
from .flips import SignFlips, is_wide
from .numbering import ByPixel, ByRuns, Key, Numbering, Whole
from .packing import Fill, LineParts, packer, trimmed
from .positions import PositionFinder

AnyNumbering = TypeVar("AnyNumbering", bound=Numbering)


class _Latest(NamedTuple):
    """The runs that were added last, the blocks to which, and where they belong there."""

    layout: RunLayout
    group: RunGroup
    blocks: Blocks
    moves: int
    places: Places


class PlaneSums:
    """Sums of maps of one geometry, plane by plane, as numpy arrays.

    How pixels are numbered depends on what is added. As long as all maps have the same runs, a
    plane is an array of just these, in their order. If runs differ, or single pixels come, the
    pixels of the map are cut into equal submaps, of which those that were hit are held. From the
    first dense map on, all pixels are held. The numbering only ever changes in this order, and the
    sums do not change by it.

    Parameters
    ----------
    stubs : dict of str to spt3g.maps.G3SkyMap
        An empty map for each plane. Planes that come later are found in it.
    arithmetic : Arithmetic
        How numbers are added.
    in_maps : bool
        Whether dense sums lie in the memory of maps.
    n_flips : int
        How many sign-flip realisations there are beside the sums; see `SignFlips`. Plain sums only.

    Attributes
    ----------
    blocks : Blocks
        The sums, one plane of float64 for each map of a frame, or what exact sums have instead.
    maps : dict of str to spt3g.maps.G3SkyMap
        The maps in whose memory dense sums lie, if they do.
    stubs : dict of str to spt3g.maps.G3SkyMap
        As above.
    flips : SignFlips or None
        The realisations, if there are any.
    """

    def __init__(
        self,
        stubs: Mapping[str, SkyMap],
        arithmetic: Arithmetic,
        *,
        in_maps: bool = False,
        n_flips: int = 0,
    ):
        self.blocks = Blocks(0, 1, {}, fill=SUM.identity)
        self.maps: dict[str, Any] = {}
        self.stubs = stubs
        self.flips = SignFlips(n_flips) if n_flips else None
        self._arithmetic = arithmetic
        self._in_maps = in_maps
        self._numbering: Numbering | None = None
        self._finder = PositionFinder()
        self._latest: _Latest | None = None
        for name in stubs:
            self.begin(name)

    @property
    def key(self) -> Key | None:
        """How pixels are numbered; None as long as nothing was added."""
        return self._numbering.key if self._numbering else None

    @property
    def layout(self) -> RunLayout | None:
        """The runs that all maps have had in common, if that is how pixels are numbered."""
        return self._numbering.layout if isinstance(self._numbering, ByRuns) else None

    @property
    def pixels(self) -> Index:
        """The pixels that are held, as the map itself numbers them; -1 past its end."""
        if self._numbering is None:
            return np.empty((0, 1), np.int64)
        return self._numbering.pixels(self.blocks.rows)

    @property
    def bounds(self) -> tuple[int, int]:
        """The first and the last of these pixels, where rows that are held are in rising order."""
        if self._numbering is None or not len(self.blocks.rows):
            raise ValueError("no pixels are held")
        pixels = self._numbering.pixels(self.blocks.rows[[0, -1]])
        return int(pixels[0, 0]), int(pixels[-1].max())

    def begin(self, name: str) -> None:
        """Make an empty plane."""
        self._arithmetic.begin(self.blocks, name)
        if self.flips:
            self.flips.begin(self.blocks, name)

    def flat(self, name: str) -> Values:
        """The values of a plane in a row."""
        return self.blocks.planes[name].reshape(-1)  # type: ignore[return-value]

    def nonzero(self, name: str) -> tuple[Index, Values]:
        """Numbers and values of the pixels that are not 0 (by columns in a flat map)."""
        if self._numbering is None:
            return np.empty(0, np.int64), np.empty(0)
        return self._numbering.nonzero(self.blocks, self.flat(name))

    def runs(self, name: str, lines: Lines) -> tuple[RunLayout, Fill] | None:
        """The runs that a plane is to be stored in, and what puts them into bytes.

        None where compiled loops are not used, or all pixels are held.
        """
        loops, parts = kernels.loops(), self.parts(lines)
        if loops is None or parts is None or not len(self.blocks.rows):
            return None
        plane, layout = self.flat(name), self.layout
        if layout is None:
            layout = trimmed(loops, lines, plane, parts)
        return layout, packer(loops, plane, parts, layout)

    def parts(self, lines: Lines) -> LineParts | None:
        """The pixels that are held, as parts of lines.

        None where all are held, or runs were counted from another meridian because of maps without
        pixels.
        """
        numbering = self._numbering
        if isinstance(numbering, ByRuns) and numbering.layout.lines != lines:
            return None
        if isinstance(numbering, ByRuns | ByPixel) and len(self.blocks.rows):
            return numbering.parts(self.blocks, lines)
        return None

    def digest(self) -> bytes:
        """A short name of the sums: equal for equal pixels, empty if all are 0."""
        if not any(np.any(plane) for plane in self.blocks.planes.values()):
            return b""
        self.blocks.sort()
        digest = hashlib.blake2b(self.blocks.rows.tobytes(), digest_size=16)
        digest.update(repr(self.key).encode())
        for name in sorted(self.blocks.planes):
            digest.update(name.encode())
            digest.update(self.flat(name).view(np.uint8).data)
        return digest.digest()

    def expect(self, layouts: Iterable[RunLayout]) -> None:
        """Make room for all these runs at once: to grow again and again costs more."""
        coming = list({layout.key: layout for layout in layouts}.values())
        mine = self._numbering
        if (isinstance(mine, ByRuns) and not all(map(mine.has, coming))) or (
            mine is None and len(coming) > 1
        ):
            mine = self._renumber(self._by_pixel)
        if isinstance(mine, ByPixel) and coming:
            mine.hold(self.blocks, coming)

    def add_chunk(self, name: str, chunk: Chunk, *, subtract: bool, where: str) -> None:
        """Add pixels of a frame that messages name `where` to a plane."""
        if isinstance(chunk, RunsChunk):
            runs = Scattered(chunk.raw, chunk.get_values, chunk.loops, self._places_of(chunk))
            self._arithmetic.add_runs(self.blocks, name, runs, subtract=subtract, where=where)
        elif isinstance(chunk, DenseChunk):
            if not isinstance(self._numbering, Whole):
                self._renumber(Whole(self._stub))
            start, values = chunk
            self._arithmetic.add(self.blocks, name, start, values, subtract=subtract, where=where)
        else:
            self._add_points(name, chunk, subtract=subtract, where=where)

    def stage_chunk(
        self, flips: SignFlips, place: int, name: str, chunk: Chunk, *, subtract: bool
    ) -> None:
        """Stage pixels of a frame for the realisations, once they were added to the sums."""
        staged = flips.room(self.blocks, name, place)
        if isinstance(chunk, RunsChunk):
            runs = Scattered(chunk.raw, chunk.get_values, chunk.loops, self._places_of(chunk))
            add_scattered(staged, runs, subtract=subtract)
        elif isinstance(chunk, DenseChunk):
            stretch = staged[chunk.start : chunk.start + len(chunk.values)]
            (np.subtract if subtract else np.add)(stretch, chunk.values, out=stretch)
        else:
            add = np.subtract if subtract else np.add
            numbering = self._for_points()
            positions = numbering.positions(self.blocks, chunk.pixels)
            staged[positions] = add(staged[positions], chunk.values)

    def number_as(self, key: Key, layout: RunLayout | None, *, more: bool = False) -> None:
        """Number pixels as other sums do.

        Parameters
        ----------
        key : Key
            That of their numbering.
        layout : RunLayout or None
            Their runs, if they number by runs.
        more : bool
            Whether pixels are to be added afterwards.
        """
        if key == self.key:
            return
        numbering: Numbering
        if key == Whole.key:
            numbering = Whole(self._stub)
        elif key == ByPixel.key:
            numbering = self._by_pixel
        elif layout is not None:
            numbering = ByRuns(layout)
        else:
            raise TypeError("a numbering by runs, but no runs")
        # A rank without maps has nothing to send, so it needs no rows.
        needed = more or self._numbering is not None
        self._renumber(numbering, hold_all=numbering.complete and needed)

    def absorb(self, other: PlaneSums, matches: Iterable[Match]) -> None:
        """Add planes of another sum, in whose numbering, or one for all pixels, this one is."""
        numbering, same = self._numbering, self.key == other.key
        if same:
            rows = other.blocks.rows
            self.blocks.append(rows)
            positions = self.blocks.locate(rows)
        for mine, theirs, subtract, convert in matches:
            combine = np.subtract if subtract else np.add
            if same:
                values = other.blocks.planes[theirs]
            else:
                if not isinstance(numbering, ByPixel | Whole):
                    raise TypeError("a numbering in which not every pixel has a position")
                pixels, values = other.nonzero(theirs)
                positions = numbering.positions(self.blocks, pixels)
            if convert is not None:
                values = convert(values)
            plane = self.blocks.planes[mine]
            _combine_at(plane if same else plane.reshape(-1), positions, combine, values)

    def restore(self, numbering: Numbering, rows: Rows, planes: dict[str, Any]) -> None:
        """Take up the sums of another process, which were numbered like this."""
        self.blocks = Blocks(numbering.n_rows, numbering.row_length, {}, SUM.identity)
        self.blocks.replace(rows, planes)
        self._numbering = numbering

    def take_over(self, other: PlaneSums, planes: dict[str, Any]) -> None:
        """Take up planes that are numbered as another sum is."""
        if other._numbering is not None:
            self.restore(other._numbering, other.blocks.rows, planes)

    @property
    def _by_pixel(self) -> ByPixel:
        return ByPixel(self._stub, short=self.flips is not None)

    @property
    def _stub(self) -> SkyMap:
        return next(iter(self.stubs.values()))

    def _places_of(self, chunk: RunsChunk) -> Places:
        """Where the runs of a chunk belong: mostly where those of the last plane do."""
        layout, group, latest = chunk.layout, chunk.group, self._latest
        if (
            latest is None
            or latest.layout is not layout
            or latest.group is not group
            or latest.blocks is not self.blocks
            or latest.moves != self.blocks.moves
        ):
            found = self._finder.find(layout, self._for_runs(layout), self.blocks)
            places = found.of_group(group)
            latest = _Latest(layout, group, self.blocks, self.blocks.moves, places)
            self._latest = latest
        return latest.places

    def _for_runs(self, layout: RunLayout) -> Numbering:
        """A numbering in which these runs have positions: theirs, if they are the first."""
        mine = self._numbering
        if mine is None:
            return self._renumber(ByRuns(layout))
        if isinstance(mine, ByRuns) and not mine.has(layout):
            return self._renumber(self._by_pixel)
        return mine

    def _add_points(self, name: str, chunk: PointsChunk, subtract: bool, where: str) -> None:
        """Add single pixels, each at its position."""
        numbering = self._for_points()
        add = np.subtract if subtract else np.add
        positions = numbering.positions(self.blocks, chunk.pixels)
        for flat, values in self._arithmetic.terms(
            self.blocks, name, chunk.values, subtract=subtract, where=where
        ):
            flat[positions] = add(flat[positions], values)

    def _for_points(self) -> ByPixel | Whole:
        """A numbering in which each pixel of the map has a position."""
        mine = self._numbering
        return mine if isinstance(mine, ByPixel | Whole) else self._renumber(self._by_pixel)

    def _renumber(self, numbering: AnyNumbering, *, hold_all: bool | None = None) -> AnyNumbering:
        """Go over to another numbering, with all rows held or only those that are needed."""
        if self.flips:
            self.flips.forget(self.blocks)
        dtypes = {name: plane.dtype for name, plane in self.blocks.planes.items()}
        blocks = Blocks(
            numbering.n_rows, numbering.row_length, dtypes, SUM.identity, self.blocks.widths
        )
        if numbering.complete if hold_all is None else hold_all:
            blocks.insert(np.arange(numbering.n_rows))
        if self._in_maps and isinstance(numbering, Whole) and blocks.complete:
            self.maps = {name: stub.clone(False) for name, stub in self.stubs.items()}
            shape = (numbering.n_rows, numbering.row_length)
            for name, skymap in self.maps.items():
                blocks.planes[name] = np.asarray(skymap).reshape(shape)  # makes it dense
        if len(self.blocks.rows) and isinstance(numbering, ByPixel | Whole):
            self._bring_to(numbering, blocks)
        self.blocks, self._numbering = blocks, numbering
        # What was found for the old blocks would hold their memory.
        self._finder, self._latest = PositionFinder(), None
        return numbering

    def _bring_to(self, numbering: ByPixel | Whole, blocks: Blocks) -> None:
        """Copy all that was summed to the blocks of another numbering."""

        def move(values: Values) -> tuple[Index, Values]:
            if self._numbering is None:
                return np.empty(0, np.int64), np.empty(0)
            pixels, values = self._numbering.nonzero(self.blocks, values)
            return numbering.positions(blocks, pixels), values

        for name in self.blocks.planes:
            if self.flips and is_wide(name):
                self.flips.renumber(self.blocks, blocks, name, move)
            else:
                positions, values = move(self.flat(name))
                blocks.planes[name].reshape(-1)[positions] = values


def _combine_at(
    plane: NDArray[Any], positions: Index, combine: np.ufunc, values: NDArray[Any]
) -> None:
    """Combine values with what stands at these positions of a plane, in steps that are small."""
    step = max(1, LIMITS.step * len(values) // max(1, values.nbytes))
    for begin in range(0, len(positions), step):
        at, part = positions[begin : begin + step], values[begin : begin + step]
        first, last = at[[0, -1]].tolist()
        if last - first + 1 == len(at) and np.all(at[1:] > at[:-1]):
            stretch = plane[first : last + 1]
            combine(stretch, part, out=stretch)
        else:
            plane[at] = combine(plane[at], part)
