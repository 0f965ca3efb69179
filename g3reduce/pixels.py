"""The pixels of spt3g maps as numpy arrays, and back, in the storage that the map has.

A dense map shares its memory with numpy. A sparse one is read from, and written as, the archive
into which spt3g serializes maps: the same runs of pixels, without walking them one by one, and
without ever making the map dense.

Pixels are numbered as the map's geometry does, with one exception: those of sparse flat-sky maps
are numbered column by column (``x * ny + y``), because that is how their runs lie.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from spt3g import maps

Index = NDArray[np.int64]
Values = NDArray[np.float64]

DENSE, SPARSE, RING, INDEXED, EMPTY = "dense", "sparse", "ring-sparse", "indexed-sparse", "empty"

# How much of the sky each storage spells out: where maps of several kinds are added, the sum is
# stored like the fullest of them.
FULLNESS = {EMPTY: 0, INDEXED: 1, SPARSE: 2, RING: 2, DENSE: 3}

# Codes of the storage in the archives of FlatSkyMap and HealpixSkyMap.
_STORE_FLAT = {SPARSE: 1}
_STORE_HEALPIX = {INDEXED: 1, RING: 2}

_SPARSE_HEADER = struct.Struct("<IQQQQ")  # class version, xlen, ylen, offset, number of runs
_RUN_HEADER = struct.Struct("<iQ")  # where the run starts in its column or ring, its length
_SPARSE_VERSION = 1
_PAIR = np.dtype([("pixel", "<u8"), ("value", "<f8")])


@dataclass(frozen=True)
class Dense:
    """Every pixel of the map, shape (npix,)."""

    values: Values


@dataclass(frozen=True)
class Runs:
    """Stretches of neighbouring pixels: the number of the first of each, and their values."""

    first: Index
    values: list[Values]


@dataclass(frozen=True)
class Points:
    """Single pixels, each at most once."""

    pixels: Index
    values: Values


Pixels: TypeAlias = "Dense | Runs | Points"


@dataclass(frozen=True)
class Plane:
    """One map, ready to be added.

    Attributes
    ----------
    stub : spt3g.maps.G3SkyMap
        An empty map with the geometry and the attributes.
    storage : str
        How the map is stored: one of `FULLNESS`.
    overflow : float
        What the map-maker found outside of the map.
    pixels : callable
        Returns the pixels. Nothing is decoded before.
    """

    stub: Any
    storage: str
    overflow: float
    pixels: Callable[[], Pixels]

    @classmethod
    def of(cls, skymap: Any) -> Plane:
        """The plane that a map is. It stays the map's own: do not change it."""
        return cls(
            skymap.clone(False), storage_of(skymap), skymap.overflow, partial(decode, skymap)
        )


def is_flat(skymap: Any) -> bool:
    """Whether this is a flat-sky map."""
    return isinstance(skymap, maps.FlatSkyMap)


def storage_of(skymap: Any) -> str:
    """How a map is stored: one of `DENSE`, `SPARSE`, `RING`, `INDEXED`, `EMPTY`."""
    if skymap.npix_allocated == 0:
        return EMPTY
    if is_flat(skymap):
        return SPARSE if skymap.sparse else DENSE
    if skymap.dense:
        return DENSE
    return RING if skymap.ringsparse else INDEXED


def decode(skymap: Any) -> Pixels:
    """The pixels of a map, in its own storage.

    The values are views of the map's memory where it is dense: do not change them.
    """
    storage = storage_of(skymap)
    if storage == EMPTY:
        return Points(np.empty(0, np.int64), np.empty(0))
    if storage == DENSE:
        return Dense(np.asarray(skymap).reshape(-1))
    if storage == RING and skymap.nested:
        return _nonzero(skymap)  # rings are no runs of pixels in this order
    archive = skymap._cereal_dumps()
    start = len(_prefix(skymap)) + 4
    if storage == INDEXED:
        count = int.from_bytes(archive[start : start + 8], "little")
        pairs = np.frombuffer(archive, _PAIR, count, start + 8)
        return Points(pairs["pixel"].astype(np.int64), pairs["value"].astype(np.float64))
    if int.from_bytes(archive[start : start + 4], "little") != _SPARSE_VERSION:
        return _nonzero(skymap)  # a newer spt3g
    lines, starts, values = _read_runs(archive, start)
    if is_flat(skymap):
        return Runs(lines * skymap.shape[0] + starts, values)
    return _runs_on_rings(skymap, lines, starts, values)


def encode(stub: Any, storage: str, pixels: Index, values: Values) -> Any:
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
    if storage == EMPTY:
        empty = stub.clone(False)
        empty.overflow = stub.overflow
        return empty
    if storage == INDEXED:
        pairs = np.empty(len(pixels), _PAIR)
        pairs["pixel"], pairs["value"] = pixels, values
        return _load(stub, storage, len(pixels).to_bytes(8, "little"), pairs)
    if storage == RING and stub.nested:
        skymap = encode(stub, INDEXED, pixels, values)
        skymap.ringsparse = True
        return skymap
    if is_flat(stub):
        n_y, n_x = stub.shape
        lines, places = np.divmod(pixels, n_y)
        return _load(stub, storage, *_write_runs((n_x, n_y), lines, places, values))
    rings = _Rings(stub.nside)
    lines, places = rings.locate(pixels, stub.shift_ra)
    return _load(stub, storage, *_write_runs((rings.count, rings.count), lines, places, values))


def fuller(*storages: str) -> str:
    """How a sum of maps in these storages is stored: like the fullest of them."""
    return max(storages, key=FULLNESS.__getitem__)


def as_points(pixels: Pixels, shape: tuple[int, ...]) -> Points:
    """The same pixels one by one, in rising order, without those of a dense map that are 0.

    Parameters
    ----------
    pixels : Dense, Runs or Points
    shape : tuple of int
        Of the map: of a flat-sky map two numbers, and the points are numbered by columns.
    """
    if isinstance(pixels, Dense):
        values = pixels.values
        if len(shape) == 2:
            values = values.reshape(shape).T.reshape(-1)
        held = np.flatnonzero(values)
        return Points(held, values[held])
    if isinstance(pixels, Runs):
        if not pixels.values:
            return Points(np.empty(0, np.int64), np.empty(0))
        length = np.array([len(values) for values in pixels.values])
        before = np.cumsum(length) - length
        numbers = np.repeat(pixels.first - before, length) + np.arange(length.sum())
        pixels = Points(numbers, np.concatenate(pixels.values))
    order = np.argsort(pixels.pixels, kind="stable")
    return Points(pixels.pixels[order], pixels.values[order])


def _nonzero(skymap: Any) -> Points:
    pixels, values = (np.asarray(part) for part in skymap.nonzero_pixels())
    pixels = pixels.astype(np.int64)
    if is_flat(skymap):
        n_y, n_x = skymap.shape
        pixels = pixels % n_x * n_y + pixels // n_x
    return Points(pixels, values)


def _prefix(skymap: Any) -> bytes:
    """What stands in a map's archive before the code of its storage."""
    empty: bytes = skymap.clone(False)._cereal_dumps()
    return empty[: -5 if is_flat(skymap) else -4]


def _load(stub: Any, storage: str, *data: bytes | NDArray[Any]) -> Any:
    """A map like `stub` whose archive ends in this storage and data."""
    empty = stub.clone(False)
    empty.overflow = stub.overflow
    archive = empty._cereal_dumps()
    code = (_STORE_FLAT if is_flat(stub) else _STORE_HEALPIX)[storage]
    tail = archive[-1:] if is_flat(stub) else b""  # flat_pol
    parts = [archive[: -5 if is_flat(stub) else -4], code.to_bytes(4, "little")]
    skymap = type(stub)()
    skymap._cereal_loads(b"".join([*parts, *map(_as_bytes, data), tail]))
    return skymap


def _as_bytes(part: bytes | NDArray[Any]) -> bytes | memoryview:
    return part if isinstance(part, bytes) else part.data.cast("B")


def _read_runs(archive: bytes, start: int) -> tuple[Index, Index, list[Values]]:
    """Column (or ring), start and values of each run that is not empty."""
    _, _, _, offset, count = _SPARSE_HEADER.unpack_from(archive, start)
    position = start + _SPARSE_HEADER.size
    lines, starts, values = [], [], []
    for line in range(offset, offset + count):
        first, length = _RUN_HEADER.unpack_from(archive, position)
        position += _RUN_HEADER.size
        if length:
            lines.append(line)
            starts.append(first)
            values.append(np.frombuffer(archive, "<f8", length, position))
        position += 8 * length
    return np.array(lines, np.int64), np.array(starts, np.int64), values


def _write_runs(
    shape: tuple[int, int], lines: Index, places: Index, values: Values
) -> list[bytes | NDArray[Any]]:
    """The archive's sparse data: of each line, the run from its first pixel to its last."""
    if not len(lines):
        return [_SPARSE_HEADER.pack(_SPARSE_VERSION, *shape, 0, 0)]
    begins = np.flatnonzero(np.diff(lines, prepend=-1))
    held = lines[begins]
    first = np.minimum.reduceat(places, begins)
    length = np.maximum.reduceat(places, begins) - first + 1
    ends = np.cumsum(length)
    filled = np.zeros(ends[-1])
    run = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(lines)))
    filled[(ends - length)[run] + places - first[run]] = values

    offset, count = int(held[0]), int(held[-1] - held[0] + 1)
    parts: list[bytes | NDArray[Any]] = [
        _SPARSE_HEADER.pack(_SPARSE_VERSION, *shape, offset, count)
    ]
    empty = _RUN_HEADER.pack(0, 0)
    line = offset
    for i, end in enumerate(ends):
        parts.append(empty * int(held[i] - line))
        parts.append(_RUN_HEADER.pack(int(first[i]), int(length[i])))
        parts.append(filled[end - length[i] : end])
        line = int(held[i]) + 1
    return parts


def _runs_on_rings(skymap: Any, lines: Index, starts: Index, values: list[Values]) -> Runs:
    rings = _Rings(skymap.nside)
    if not skymap.shift_ra:
        return Runs(rings.begin[lines] + starts, values)
    # Rings begin half-way round: a run may have to be cut where the pixel numbers begin.
    first, cut = [], []
    for ring, start, run in zip(lines, starts, values, strict=True):
        length = rings.length[ring]
        start = (start + length // 2) % length
        before = min(len(run), length - start)
        first.append(rings.begin[ring] + start)
        cut.append(run[:before])
        if before < len(run):
            first.append(rings.begin[ring])
            cut.append(run[before:])
    return Runs(np.array(first, np.int64), cut)


class _Rings:
    """Where the rings of HEALPix pixels in RING order lie (Gorski et al. 2005, section 5.1)."""

    def __init__(self, nside: int):
        ring = np.arange(4 * nside)
        to_pole = np.minimum(ring, 4 * nside - ring)
        self.count = 4 * nside  # spt3g counts from 1 and keeps an empty ring 0
        self.length: Index = 4 * np.minimum(to_pole, nside)
        self.begin: Index = np.cumsum(self.length) - self.length

    def locate(self, pixels: Index, shifted: bool) -> tuple[Index, Index]:
        """Ring of each pixel, and its place in it, counted from half-way round if `shifted`."""
        ring = np.searchsorted(self.begin, pixels, side="right") - 1
        place = pixels - self.begin[ring]
        if shifted:
            place = (place + self.length[ring] // 2) % self.length[ring]
        return ring, place
