"""Which bytes of a stored map each rank writes, where each rank has a shard of the pixels.

The archive of a map that is stored in runs goes line by line. The shards lie one behind the other
on the map, so in the archive, too, but that rings may be counted from half-way round. So each rank
says where its stretches of pixels begin, and the archive is cut there: each part goes to the rank
whose stretch it begins with, and has no other rank's pixels in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..g3files.archive import DENSE, EMPTY, INDEXED, RING, SPARSE
from ..g3files.lines import Columns, Index, Lines, Values
from ..g3files.maps import PAIR, Content
from ..g3files.runcopier import HEADERS
from ..g3files.runs import RunLayout
from ..kernels import choice as kernels
from ..limits import LIMITS
from ..mpi import communicators
from ..mpi.agreement import collectively
from ..spt3gtypes import SkyMap
from .mapsum import MapSum
from .numbering import Whole
from .packing import LineParts, packer, trimmed
from .pixels import content_of, lines_of
from .planesums import PlaneSums

Share: TypeAlias = "DenseShare | PairsShare | RunsShare | NoShare"

# A place in the archive, in bytes, and what stands there.
Placed: TypeAlias = "tuple[int, NDArray[np.uint8]]"


class _Stretches(NamedTuple):
    """What a rank says of its pixels in a plane that is stored in runs.

    Attributes
    ----------
    offset : int
        The first line with a pixel that is not 0.
    starts, lengths : int64 array
        For each line from there on, what has to be stored for its pixels.
    lines, positions : int64 array
        Where its stretches of pixels begin.
    """

    offset: int
    starts: Index
    lengths: Index
    lines: Index
    positions: Index


_NOTHING = _Stretches(0, *np.empty((4, 0), np.int64))


class NoShare:
    """Of a plane without pixels."""

    def __init__(self) -> None:
        self.content = Content(EMPTY, np.empty(0))

    def pieces(self) -> Iterator[Placed]:
        """None."""
        return iter(())


class DenseShare:
    """Of a plane that is stored whole: stretches of rows.

    Attributes
    ----------
    content : Content
        What is to be stored, without the values.
    """

    def __init__(self, stub: SkyMap, rows: Index, plane: Values):
        self.content = Content(DENSE, np.broadcast_to(np.zeros(1), stub.size))
        self._rows, self._plane = rows, plane

    def pieces(self) -> Iterator[Placed]:
        """The bytes that this rank writes, and where in the archive; each is used up at once."""
        length = self._plane.shape[1]
        step = max(1, LIMITS.step // (8 * length))
        cuts = np.flatnonzero(np.diff(self._rows) != 1) + 1
        for first, last in zip([0, *cuts], [*cuts, len(self._rows)], strict=True):
            for begin in range(first, last, step):
                part = self._plane[begin : min(begin + step, last)].reshape(-1)
                yield 8 * length * int(self._rows[begin]), part.view(np.uint8)


class PairsShare:
    """Of a plane that is stored as pairs of pixel and value.

    Attributes
    ----------
    content : Content
        As above.
    """

    def __init__(self, counts: list[int], rank: int, pixels: Index, values: Values):
        self.content = Content(INDEXED, np.broadcast_to(np.zeros(1, PAIR), sum(counts)))
        self._begin, self._pixels, self._values = sum(counts[:rank]), pixels, values

    def pieces(self) -> Iterator[Placed]:
        """The bytes that this rank writes, and where in the archive; each is used up at once."""
        step = max(1, LIMITS.step // PAIR.itemsize)
        for begin in range(0, len(self._pixels), step):
            pairs = np.empty(len(self._pixels[begin : begin + step]), PAIR)
            pairs["pixel"] = self._pixels[begin : begin + step]
            pairs["value"] = self._values[begin : begin + step]
            yield PAIR.itemsize * (self._begin + begin), pairs.view(np.uint8)


class RunsShare:
    """Of a plane that is stored in runs.

    Attributes
    ----------
    content : Content
        As above.
    """

    def __init__(self, storage: str, layout: RunLayout, parts: list[tuple[int, int]], held: _Held):
        self.content = Content(storage, np.empty(0), layout)
        self._layout, self._parts, self._held = layout, parts, held

    def pieces(self) -> Iterator[Placed]:
        """The bytes that this rank writes, and where in the archive; each is used up at once."""
        layout, (plane, parts) = self._layout, self._held
        fill = packer(kernels.loops(), plane, parts.spanning(layout), layout)
        for begin, end in self._parts:
            for group in layout.groups_over(begin, end):
                raw = buffer("raw", group.nbytes)
                fill(group, raw)
                first = max(begin - group.begin, 0)
                yield group.begin + first, raw[first : end - group.begin]


class _Held(NamedTuple):
    """Pixels of this rank: parts of lines, and the plane in which they are."""

    plane: Values
    parts: LineParts


def shares_of(comm: communicators.Comm, total: MapSum) -> dict[str, Share]:
    """The share of this rank in each plane of a sum that is sharded. Collective over `comm`.

    Sums of which all pixels are held are stored dense, and rings of maps in NESTED order as pairs.

    Parameters
    ----------
    comm : communicator
    total : MapSum
        With the shard of this rank in it.
    """
    names = list(total.summary.stubs)

    def look() -> dict[str, _Local]:
        total.blocks.sort()
        return {name: _local(total, name) for name in names}

    mine = collectively(comm, look)
    everywhere = comm.allgather({name: local.told for name, local in mine.items()})

    def share() -> dict[str, Share]:
        return {
            name: _share(mine[name], comm.rank, [told[name] for told in everywhere])
            for name in names
        }

    return collectively(comm, share)


class _Local(NamedTuple):
    """A plane as it is here.

    Attributes
    ----------
    storage : str
        How it is to be stored.
    stub : spt3g.maps.G3SkyMap
    told : object
        What the other ranks have to know of it.
    held : tuple
        The pixels, in the way that suits the storage.
    layout : RunLayout or None
        The runs that all ranks know it will have.
    """

    storage: str
    stub: SkyMap
    told: Any = None
    held: Any = ()
    layout: RunLayout | None = None


def _local(total: MapSum, name: str) -> _Local:
    storage, stub = total.summary.storage[name], total.summary.stubs[name]
    sums, plane = total.sums, total.blocks.planes[name]
    if storage == EMPTY:
        return _Local(EMPTY, stub)
    if storage == DENSE or sums.key == Whole.key:
        return _Local(DENSE, stub, held=(total.blocks.rows, plane))
    if storage == INDEXED or (storage == RING and stub.nested):
        pixels = sums.pixels.reshape(-1)
        values = plane.reshape(-1)
        held = np.flatnonzero((values != 0) & (pixels >= 0))
        return _Local(INDEXED, stub, len(held), (pixels[held], values[held]))
    lines = lines_of(stub)
    layout = sums.layout if sums.layout is not None and sums.layout.lines == lines else None
    return _Local(storage, stub, *_stretches_of(sums, name, stub, lines), layout)


def _share(local: _Local, rank: int, told: list[Any]) -> Share:
    if local.storage == EMPTY:
        return NoShare()
    if local.storage == DENSE:
        return DenseShare(local.stub, *local.held)
    if local.storage == INDEXED:
        return PairsShare(told, rank, *local.held)
    layout = local.layout
    if layout is None:
        layout = _layout_over(lines_of(local.stub), told)
    return RunsShare(local.storage, layout, _cut(layout, told, rank), local.held)


def _stretches_of(
    sums: PlaneSums, name: str, stub: SkyMap, lines: Lines
) -> tuple[_Stretches, _Held]:
    loops, plane, parts = kernels.loops(), sums.flat(name), sums.parts(lines)
    if sums.layout is not None and parts is not None:  # all ranks know the runs already
        return _Stretches(0, *_NOTHING[1:3], *parts.first()), _Held(plane, parts)
    if loops is not None and parts is not None:
        layout = trimmed(loops, lines, plane, parts)
        begins = _all_begins(sums, lines) if lines.shifted else parts.first()
    else:
        pixels = sums.pixels.reshape(-1)
        held = np.flatnonzero((plane != 0) & (pixels >= 0))
        pixels = pixels[held]
        if isinstance(lines, Columns):
            pixels = pixels % lines.n_x * lines.n_y + pixels // lines.n_x
        order = np.argsort(pixels)
        content = content_of(stub, SPARSE, pixels[order], plane[held[order]])
        if content.layout is None:
            raise TypeError("pixels in runs without runs")
        layout, plane = content.layout, content.values
        parts = LineParts.of_layout(layout)
        begins = _begins_of(*lines.locate(pixels))
    if not len(layout):
        return _NOTHING, _Held(plane[:0], LineParts.of_layout(layout))
    told = _Stretches(layout.offset, layout.starts, layout.lengths, *begins)
    return told, _Held(plane, parts)


def _all_begins(sums: PlaneSums, lines: Lines) -> tuple[Index, Index]:
    """Where, on the lines, the stretches begin of all pixels from the first to the last one."""
    first, last = sums.bounds  # of all pixels there would be an array as large as a plane
    parts = LineParts.of_stretches(lines, *np.array([[first], [last - first + 1], [0]]))
    return parts.lines, parts.positions


def _begins_of(lines: Index, positions: Index) -> tuple[Index, Index]:
    """Where stretches of neighbouring pixels begin."""
    order = np.lexsort((positions, lines))
    lines, positions = lines[order], positions[order]
    new = (np.diff(lines, prepend=-1) != 0) | (np.diff(positions, prepend=-2) != 1)
    return lines[new], positions[new]


def _layout_over(lines: Lines, told: list[_Stretches]) -> RunLayout:
    """The runs that span what all ranks have to store."""
    held = [one for one in told if len(one.starts)]
    if not held:
        return RunLayout(lines, 0, np.empty(0, HEADERS))
    offset = min(one.offset for one in held)
    count = max(one.offset + len(one.starts) for one in held) - offset
    starts, stops = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    for one in held:
        here = slice(one.offset - offset, one.offset - offset + len(one.starts))
        some = one.lengths > 0
        np.minimum(starts[here], one.starts, out=starts[here], where=some)
        np.maximum(stops[here], one.starts + one.lengths, out=stops[here], where=some)
    headers = np.zeros(count, HEADERS)
    hit = stops > 0
    headers["start"][hit], headers["length"][hit] = starts[hit], (stops - starts)[hit]
    return RunLayout(lines, offset, headers)


def _cut(layout: RunLayout, told: list[_Stretches], rank: int) -> list[tuple[int, int]]:
    """The parts of the archive that a rank writes: where each begins and ends."""
    ranks = np.repeat(np.arange(len(told)), [len(one.lines) for one in told])
    lines = np.concatenate([one.lines for one in told])
    positions = np.concatenate([one.positions for one in told])
    if not len(ranks):  # headers of runs alone
        return [(0, layout.nbytes)] if rank == 0 and layout.nbytes else []
    order = np.lexsort((positions, lines))
    ranks, begins = ranks[order], layout.places(lines[order], positions[order])
    first = np.flatnonzero(np.diff(ranks, prepend=-1) != 0)
    ranks, begins = ranks[first], begins[first]
    begins[0] = 0
    ends = np.append(begins[1:], layout.nbytes)
    mine = (ranks == rank) & (ends > begins)
    return list(zip(begins[mine].tolist(), ends[mine].tolist(), strict=True))
