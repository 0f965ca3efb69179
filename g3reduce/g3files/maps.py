"""Maps as spt3g writes them: where in the bytes of a frame the pixels lie.

A blob of a frame is an archive of its own. Of a map it holds the attributes, the geometry, a code
for the storage, and the pixels; of weights, up to six such maps. Here it is taken apart into the
pixels and the rest, and put together again. The rest, an archive of empty maps, is left to spt3g.

Only the class versions that spt3g writes today are known; others are `Unrecognised`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .archive import (
    DENSE,
    EMPTY,
    FLAT,
    HEALPIX,
    INDEXED,
    RING,
    SPARSE,
    STORAGE,
    U8,
    U32,
    U64,
    VERSIONS,
    WEIGHTS,
    Archive,
)
from .frames import Piece, Unrecognised
from .lines import Columns, Lines, Rings
from .runs import RunGroup, RunLayout
from .source import Bytes, MemoryBytes

# The names that a map frame gives to its maps.
STOKES = ("T", "Q", "U")
MAP_KEYS = (*STOKES, "Wpol", "Wunpol", "H")

PAIR = np.dtype([("pixel", "<u8"), ("value", "<f8")])

_COMPONENTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")

_MOST_PIXELS = 2**62


class MapExtent(NamedTuple):
    """Where one map lies in an archive.

    Attributes
    ----------
    storage : str
        How it is stored: `DENSE`, `SPARSE`, `RING`, `INDEXED` or `EMPTY`.
    overflow_at : int
        Where the overflow stands, a float64.
    code_at : int
        Where the code of the storage stands.
    begin : int
        Where the pixels begin: the values of a dense map, the header of the first run, the first
        pair of pixel and value.
    end : int
        Where they end, and the archive goes on.
    n_items : int
        Values of a dense map, or pairs.
    layout : RunLayout or None
        The runs, which are to be compared when the pixels are read; None if there are none.
    lines : Columns or Rings
        The lines on which runs lie.
    """

    storage: str
    overflow_at: int
    code_at: int
    begin: int
    end: int
    n_items: int
    layout: RunLayout | None
    lines: Lines

    @property
    def sized_at(self) -> int:
        """Where the part begins that depends on which pixels there are, in front of these: the
        range of the runs, the number of pairs."""
        if self.layout is not None:
            return self.begin - len(self.layout.head)
        return self.begin - U64.size if self.storage == INDEXED else self.begin


def find_maps(source: Bytes, begin: int, end: int, kind: str | None = None) -> dict[str, MapExtent]:
    """The maps in a blob.

    Parameters
    ----------
    source : Bytes
    begin, end : int
        The extent of the blob.
    kind : str or None
        The class; None if it is named in front, as in frames.

    Returns
    -------
    dict of str to MapExtent
        The map of a blob that is one by the name ``""``, those of weights by their component.

    Raises
    ------
    Unrecognised
        If this is something else, or was written by another version of spt3g.
    InputError
        If it is not a valid map.
    """
    archive = Archive(source, begin, end)
    if archive.take(U8) != 1:
        raise Unrecognised("a map in another byte order")
    name = kind or archive.pointer()
    if name == WEIGHTS:
        archive.version(WEIGHTS)
        archive.version("G3FrameObject")
        found = _maps_of_weights(archive)
    elif name in (FLAT, HEALPIX):
        found = {"": _map(archive, name, lambda: archive.position == end)}
    else:
        raise Unrecognised(f"a {name}")
    if archive.position != end:
        raise InputError("a map with something behind it")
    return found


@dataclass(frozen=True)
class Content:
    """The pixels that are to be put into an empty map.

    Attributes
    ----------
    storage : str
        `DENSE`, `SPARSE`, `RING`, `INDEXED` or `EMPTY`.
    values : array
        Of a dense map all values, of a sparse one those of all runs, float64; else pairs of pixel
        and value, of dtype `PAIR`.
    layout : RunLayout or None
        The runs.
    fill : callable or None
        Puts the archive of a group of runs into bytes; then `values` are empty. It reads the sum
        when it is called, so that the sum must not move before the pixels are written.
    """

    storage: str
    values: NDArray[Any]
    layout: RunLayout | None = None
    fill: Callable[[RunGroup, NDArray[np.uint8]], None] | None = None

    @property
    def nbytes(self) -> int:
        """The size of the pixels in an archive."""
        return self.values.nbytes if self.layout is None else self.layout.nbytes

    def pieces(self) -> Iterator[Piece]:
        """The pixels as an archive has them; a piece may be overwritten by the next."""
        if self.layout is None:
            yield np.ascontiguousarray(self.values)
        elif self.fill is None:
            yield from self.layout.packed(self.values)
        else:
            yield from self.layout.packed_by(self.fill)

    def put(self, whole: NDArray[np.uint8]) -> None:
        """Put the same into bytes, `nbytes` of them."""
        if self.layout is not None and self.fill is not None:
            for group in self.layout.groups:
                self.fill(group, whole[group.begin : group.begin + group.nbytes])
            return
        position = 0
        for piece in self.pieces():
            part = np.frombuffer(piece, np.uint8)
            whole[position : position + len(part)] = part
            position += len(part)

    def values_of_runs(self) -> NDArray[np.float64]:
        """The values of all runs."""
        if self.layout is None or self.fill is None:
            return self.values
        values = np.empty(self.layout.size)
        for group in self.layout.groups:
            self.fill(group, self.layout.copier(group).raw)
            values[group.start : group.stop] = self.layout.unpack(group)
        return values


class Filled(NamedTuple):
    """A blob of maps: its bytes but for the pixels, and these, in turn.

    Attributes
    ----------
    size : int
        Of all of it, in bytes.
    parts : list of (bytes, Content or None)
    """

    size: int
    parts: list[tuple[bytes, Content | None]]

    def pieces(self) -> Iterator[Piece]:
        """All of it, in pieces; one may be overwritten by the next."""
        for before, content in self.parts:
            yield before
            if content is not None:
                yield from content.pieces()

    def put(self, whole: NDArray[np.uint8]) -> None:
        """Put all of it into bytes, `size` of them."""
        position = 0
        for before, content in self.parts:
            end = position + len(before)
            whole[position:end] = np.frombuffer(before, np.uint8)
            position = end + (content.nbytes if content is not None else 0)
            if content is not None:
                content.put(whole[end:position])


def filled(blob: bytes, contents: Mapping[str, Content], kind: str | None = None) -> Filled:
    """A blob of empty maps with pixels put into them.

    Parameters
    ----------
    blob : bytes
        As a frame holds it.
    contents : dict of str to Content
        The pixels of each map, by the names that `find_maps` gives.
    kind : str or None
        As in `find_maps`.
    """
    found = find_maps(MemoryBytes(blob), 0, len(blob), kind)
    versions: set[str] = set()
    parts: list[tuple[bytes, Content | None]] = []
    position = 0
    for name, extent in found.items():
        if extent.storage != EMPTY:
            raise ValueError(f"the map {name!r} is not empty")
        head = _head_of(extent, contents[name], versions)
        parts.append((blob[position : extent.code_at] + head, contents[name]))
        position = extent.end
    parts.append((blob[position:], None))
    size = sum(len(before) + (content.nbytes if content else 0) for before, content in parts)
    return Filled(size, parts)


def _head_of(extent: MapExtent, content: Content, versions: set[str]) -> bytes:
    """What stands before the pixels: the code of the storage, class version and sizes."""
    kind = FLAT if isinstance(extent.lines, Columns) else HEALPIX
    code = next(key for key, value in STORAGE[kind].items() if value == content.storage)
    head = U32.pack(code)
    if content.layout is not None:
        return head + _version_once("SparseMapData", versions) + content.layout.head
    if content.storage == EMPTY:
        return head
    if content.storage == DENSE and isinstance(extent.lines, Columns):
        head += _version_once("DenseMapData", versions)
        head += struct.pack("<QQ", extent.lines.n_x, extent.lines.n_y)
    return head + U64.pack(len(content.values))


def _version_once(name: str, written: set[str]) -> bytes:
    if name in written:
        return b""
    written.add(name)
    return U32.pack(VERSIONS[name])


def _maps_of_weights(archive: Archive) -> dict[str, MapExtent]:
    found = {}
    for number, component in enumerate(_COMPONENTS):
        kind = archive.pointer()
        if kind is None:
            continue
        if kind not in (FLAT, HEALPIX):
            raise Unrecognised(f"weights with a {kind}")
        left = len(_COMPONENTS) - number - 1
        found[component] = _map(archive, kind, lambda left=left: archive.may_go_on(left))  # type: ignore[misc]
    return found


def _map(archive: Archive, kind: str, fits: Callable[[], bool]) -> MapExtent:
    archive.version(kind)
    archive.version("G3FrameObject")
    archive.version("G3SkyMap")
    archive.skip(4 + 4)  # coordinates, units
    overflow_at = archive.position
    archive.skip(8 + 4 + 1 + 4)  # overflow, polarization, weighted
    if kind == FLAT:
        return _flat(archive, overflow_at, fits)
    return _healpix(archive, overflow_at, fits)


def _flat(archive: Archive, overflow_at: int, fits: Callable[[], bool]) -> MapExtent:
    archive.version("FlatSkyProjection")
    archive.version("G3FrameObject")
    archive.skip(8 + 8 + 4 + 6 * 8)  # size, projection, centre and resolution
    lines = Columns(archive.take(U64), archive.take(U64))
    if not 0 < lines.n_x * lines.n_y < _MOST_PIXELS:
        raise InputError("a flat map without pixels, or with too many")
    code_at, storage = archive.storage(FLAT)

    def with_tail() -> bool:
        archive.skip(1)  # flat_pol
        return fits()

    begin, count, layout = archive.position, 0, None
    if storage == SPARSE:
        begin, layout = archive.runs(lines, with_tail)
    elif storage == DENSE:
        archive.version("DenseMapData")
        archive.expect(U64, lines.n_x, "width")
        archive.expect(U64, lines.n_y, "height")
        begin, count = archive.vector(8, lines.n_x * lines.n_y)
    data_end = archive.position
    archive.skip(1)
    return MapExtent(storage, overflow_at, code_at, begin, data_end, count, layout, lines)


def _healpix(archive: Archive, overflow_at: int, fits: Callable[[], bool]) -> MapExtent:
    archive.version("HealpixSkyMapInfo")
    archive.version("G3FrameObject")
    nside, nested, shifted = archive.take(U64), archive.take(U8), archive.take(U8)
    if not 0 < 12 * nside**2 < _MOST_PIXELS:
        raise InputError("a HEALPix map without pixels, or with too many")
    lines = Rings(nside, bool(shifted))
    code_at, storage = archive.storage(HEALPIX)
    begin, count, layout = archive.position, 0, None
    if storage == RING:
        if nested:
            raise Unrecognised("rings of a map in NESTED order")
        begin, layout = archive.runs(lines, fits)
    elif storage == DENSE:
        begin, count = archive.vector(8, 12 * nside**2)
    elif storage == INDEXED:
        begin, count = archive.vector(PAIR.itemsize)
    end = archive.position
    return MapExtent(storage, overflow_at, code_at, begin, end, count, layout, lines)
