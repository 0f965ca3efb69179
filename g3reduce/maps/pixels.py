"""The pixels of maps as numpy arrays, and back, in the storage that the map has.

They come from memory or straight from a file, in chunks, and never become dense on the way.

Pixels are numbered as the map's geometry does, with one exception: those of sparse flat-sky maps
are numbered column by column (``x * ny + y``), because that is how their runs lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
from spt3g import maps

from ..g3files.archive import DENSE, EMPTY, F64, INDEXED, RING, SPARSE
from ..g3files.checksum import Checksum
from ..g3files.frames import Unrecognised
from ..g3files.lines import Columns, Index, Lines, Rings, Values
from ..g3files.maps import PAIR, Content, MapExtent, filled, find_maps
from ..g3files.runs import LayoutFinder, RunLayout
from ..g3files.source import Bytes, MemoryBytes
from ..spt3gtypes import SkyMap
from .chunks import Chunk, DenseChunk, PointsChunk, RunsChunk, Stored, dense_chunks, dense_starts

# Storages in the order of how many pixels they spell out: the sum of maps in several storages is
# stored like the fullest of them.
FULLNESS = {EMPTY: 0, INDEXED: 1, SPARSE: 2, RING: 2, DENSE: 3}


class Plane(NamedTuple):
    """One map, ready to be added.

    Attributes
    ----------
    stub : spt3g.maps.G3SkyMap
        An empty map with the geometry and the attributes.
    storage : str
        How the map is stored: one of `FULLNESS`.
    overflow : float
        The sum of what the map-maker found outside of the map.
    chunks : callable
        Returns an iterator over the pixels, in the order in which they are stored. Nothing is
        decoded before. The values of a chunk may be overwritten by the next, of whatever map; do
        not change them.
    layout : RunLayout or None
        The runs that are to be expected, where they are known before.
    in_file : bool
        Whether the pixels stay in a file until they are asked for.
    """

    stub: SkyMap
    storage: str
    overflow: float
    chunks: Callable[[], Iterator[Chunk]]
    layout: RunLayout | None = None
    in_file: bool = False

    @property
    def chunk_ends(self) -> Sequence[int] | None:
        """Where chunks end, if that is known before: pixels of dense maps, lines of sparse ones."""
        if self.storage == DENSE:
            starts = dense_starts(self.stub.size)
            return range(starts.step, starts.stop + starts.step, starts.step)
        if self.layout is not None:
            return self.layout.group_ends
        return None

    @classmethod
    def of(cls, skymap: SkyMap) -> Plane:
        """The plane that a map is. It stays the map's own: do not change it."""
        return cls(
            skymap.clone(False), storage_of(skymap), skymap.overflow, partial(decode, skymap)
        )

    def stored(
        self,
        source: Bytes,
        extent: MapExtent,
        checksum: Checksum | None,
        where: str,
        *,
        in_file: bool = True,
    ) -> Plane:
        """The same map with the pixels that a file has for it."""
        found = Stored(source, extent, self.stub.size, where, checksum).chunks
        empty = extent.begin == extent.end or (extent.layout is not None and not extent.layout.size)
        storage = EMPTY if empty else extent.storage
        layout = None if empty else extent.layout
        (overflow,) = F64.unpack(source.read(extent.overflow_at, F64.size))
        return Plane(self.stub, storage, overflow, found, layout, in_file)


def is_flat(skymap: SkyMap) -> bool:
    """Whether this is a flat-sky map."""
    return isinstance(skymap, maps.FlatSkyMap)


def storage_of(skymap: SkyMap) -> str:
    """How a map is stored: one of `DENSE`, `SPARSE`, `RING`, `INDEXED`, `EMPTY`."""
    if skymap.npix_allocated == 0:
        return EMPTY
    if is_flat(skymap):
        return SPARSE if skymap.sparse else DENSE
    if skymap.dense:
        return DENSE
    return RING if skymap.ringsparse else INDEXED


def lines_of(skymap: SkyMap) -> Lines:
    """The lines along which a map stores its runs."""
    if is_flat(skymap):
        n_y, n_x = skymap.shape
        return Columns(n_x, n_y)
    return Rings(skymap.nside, skymap.shift_ra)


def decode(skymap: SkyMap) -> Iterator[Chunk]:
    """The pixels of a map in memory, in its own storage.

    The values are views of the map's memory where it is dense: do not change them.
    """
    storage = storage_of(skymap)
    if storage == EMPTY:
        return iter(())
    if storage == DENSE:
        return dense_chunks(np.asarray(skymap).reshape(-1))
    archive = MemoryBytes(skymap._cereal_dumps())
    try:
        found = find_maps(archive, 0, archive.size, type(skymap).__name__)
    except Unrecognised:  # rings that are no runs of pixels, or a newer spt3g
        return iter([_nonzero(skymap)])
    extent = found[""]
    return Stored(archive, extent, skymap.size, "a map in memory", by_spt3g=True).chunks()


def encode(stub: SkyMap, storage: str, pixels: Index, values: Values) -> SkyMap:
    """A new sparse map with these pixels.

    Parameters
    ----------
    stub : spt3g.maps.G3SkyMap
        A map that has the geometry and the attributes. It is not changed.
    storage : str
        `SPARSE`, `RING`, `INDEXED` or `EMPTY`.
    pixels : int64 array
        Numbers of pixels (by columns in a flat-sky map), rising, each once.
    values : float64 array of the same shape
    """
    if storage == RING and stub.nested:
        skymap = to_map(stub, content_of(stub, INDEXED, pixels, values))
        skymap.ringsparse = True
        return skymap
    return to_map(stub, content_of(stub, storage, pixels, values))


def content_of(
    stub: SkyMap,
    storage: str,
    pixels: Index,
    values: Values,
    layouts: LayoutFinder | None = None,
) -> Content:
    """Pixels as they are stored; see `encode`.

    With the same `layouts`, maps that come in a row may share what is found out about their pixels.
    """
    if storage == INDEXED:
        pairs = np.empty(len(pixels), PAIR)
        pairs["pixel"], pairs["value"] = pixels, values
        return Content(storage, pairs)
    if storage == EMPTY:
        return Content(storage, np.empty(0))
    layout, positions = (layouts or LayoutFinder()).find(lines_of(stub), pixels)
    spread = np.zeros(layout.size)
    spread[positions] = values
    return Content(storage, spread, layout)


def to_map(stub: SkyMap, content: Content, scratch: bytearray | None = None) -> SkyMap:
    """A new map like `stub`, with these pixels.

    Parameters
    ----------
    stub : spt3g.maps.G3SkyMap
    content : Content
    scratch : bytearray, optional
        Memory to be used; to be given again for the next map of the kind.
    """
    empty = stub
    if stub.npix_allocated:  # else it need not be copied: spt3g has tables of all rings in each
        empty = stub.clone(False)
        empty.overflow = stub.overflow
    try:
        whole = filled(empty._cereal_dumps(), {"": content}, type(stub).__name__)
    except Unrecognised:  # a newer spt3g
        return _set_one_by_one(stub, content)
    if scratch is None:
        scratch = bytearray()
    del scratch[whole.size :]
    scratch += bytes(whole.size - len(scratch))
    whole.put(np.frombuffer(scratch, np.uint8))
    skymap = type(stub)()
    skymap._cereal_loads(scratch)
    return skymap


def map_of(plane: Plane) -> SkyMap:
    """A new map with the pixels of a plane, stored as the plane says."""
    stub = plane.stub.clone(False)
    stub.overflow = plane.overflow
    if plane.storage == DENSE:
        return to_map(stub, Content(DENSE, whole(plane.chunks(), stub)))
    return encode(stub, plane.storage, *as_points(plane.chunks(), stub.shape))


def _set_one_by_one(stub: SkyMap, content: Content) -> SkyMap:
    """Do what `to_map` does by spt3g's own means, which are slow."""
    empty = stub.clone(False)
    empty.overflow = stub.overflow
    if content.layout is not None:
        numbers = lines_of(empty).as_mapped(content.layout.pixels())
        values = content.values_of_runs()
    else:
        numbers, values = content.values["pixel"], content.values["value"]
    if content.storage in (SPARSE, RING):
        setattr(empty, "sparse" if is_flat(empty) else "ringsparse", True)
    for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
        empty[number] = value
    return empty


def fuller(*storages: str) -> str:
    """How a sum of maps in these storages is stored: like the fullest of them."""
    return max(storages, key=FULLNESS.__getitem__)


def whole(chunks: Iterable[Chunk], stub: SkyMap) -> Values:
    """All values of a map, as it numbers them itself, shape (npix,).

    Parameters
    ----------
    chunks : iterable of Chunk
    stub : spt3g.maps.G3SkyMap
        A map of this geometry.
    """
    values, lines = np.zeros(stub.size), lines_of(stub)
    for chunk in chunks:
        if isinstance(chunk, DenseChunk):
            values[chunk.start : chunk.start + len(chunk.values)] = chunk.values
        else:
            numbers, found = _points_of(chunk)
            values[lines.as_mapped(numbers)] = found
    return values


def as_points(
    chunks: Iterable[Chunk], shape: tuple[int, ...], known: dict[RunLayout, Index] | None = None
) -> PointsChunk:
    """The same pixels one by one, in rising order, without those of a dense map that are 0.

    Parameters
    ----------
    chunks : iterable of Chunk
        All of a map.
    shape : tuple of int
        Of the map: of a flat-sky map two numbers, and the points are numbered by columns.
    known : dict, optional
        Given again for the other maps of a frame, it lets those of the same runs share one array of
        numbers.
    """
    coming = iter(chunks)
    first = next(coming, None)
    if isinstance(first, RunsChunk):
        return _in_order(_points_of_runs(first, coming, {} if known is None else known))
    found = [PointsChunk(np.empty(0, np.int64), np.empty(0))]
    for chunk in chain([] if first is None else [first], coming):
        if isinstance(chunk, DenseChunk):
            held = np.flatnonzero(chunk.values)
            numbers = held + chunk.start
            if len(shape) == 2:
                numbers = numbers % shape[1] * shape[0] + numbers // shape[1]
            found.append(PointsChunk(numbers, chunk.values[held]))
        else:
            numbers, values = _points_of(chunk)
            found.append(PointsChunk(numbers, values.copy()))
    return _in_order(PointsChunk(*(np.concatenate(part) for part in zip(*found, strict=True))))


def _points_of_runs(
    first: RunsChunk, others: Iterator[Chunk], known: dict[RunLayout, Index]
) -> PointsChunk:
    """The pixels of runs: each value is copied once, to where it stays."""
    values = np.empty(first.layout.size)
    layout = first.layout
    for chunk in chain([first], others):
        if not isinstance(chunk, RunsChunk) or chunk.layout.size != len(values):
            raise TypeError(f"runs are followed by {type(chunk).__name__} of another map")
        layout = chunk.layout  # the true one, where the file has not what was expected
        values[chunk.group.start : chunk.group.stop] = chunk.values
    if layout not in known:
        known[layout] = layout.pixels()
    return PointsChunk(known[layout], values)


def _in_order(points: PointsChunk) -> PointsChunk:
    numbers, values = points
    if np.all(numbers[1:] > numbers[:-1]):  # as runs along rings mostly come
        return points
    order = np.argsort(numbers, kind="stable")
    return PointsChunk(numbers[order], values[order])


def merged(first: Index, *others: Index) -> Index:
    """All numbers of pixels that are in any of these, each once, rising.

    Parameters
    ----------
    first, others : int64 array
        Each rising. Those of the planes of a frame are mostly the same.
    """
    if all(np.array_equal(first, one) for one in others):
        return first
    numbers = np.concatenate([first, *others])
    numbers.sort(kind="stable")  # merges what rises; numpy.unique takes a hundred times as long
    once: Index = numbers[np.append(True, numbers[1:] != numbers[:-1])]
    return once


def _points_of(chunk: RunsChunk | PointsChunk) -> PointsChunk:
    if isinstance(chunk, PointsChunk):
        return chunk
    return PointsChunk(chunk.layout.pixels(chunk.group), chunk.values)


def _nonzero(skymap: SkyMap) -> PointsChunk:
    pixels, values = (np.asarray(part) for part in skymap.nonzero_pixels())
    pixels = pixels.astype(np.int64)
    if is_flat(skymap):
        n_y, n_x = skymap.shape
        pixels = pixels % n_x * n_y + pixels // n_x
    return PointsChunk(pixels, values)
