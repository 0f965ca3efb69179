"""A Map frame as a table: a row for each pixel that was hit, a column for each plane."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, OutputError
from ..g3files.maps import MAP_KEYS, STOKES
from ..maps.agreement import weights_key
from ..maps.attributes import with_attributes
from ..maps.mapfile import planes_of
from ..maps.mapframe import to_frame
from ..maps.pixels import as_points, is_flat, lines_of, merged
from ..maps.shard import Shard
from ..maps.storedframe import verified_on_error, verify
from ..maps.unweighting import COMPONENTS, divide
from ..pipeline.units import where_of
from ..spt3gtypes import Frame, SkyMap

Pixels = NDArray[np.int64]
Values = NDArray[np.float64]

# Rows that stay in the cache while they are turned into those of a file.
BLOCK = 2**15


class PixelTable:
    """The pixels of a Map frame, or those of them that this rank owns, in rising order.

    A pixel was hit if any map, weight or hit count is not 0 in it. Nothing ever becomes dense that
    was not.

    Parameters
    ----------
    outline : G3Frame
        The frame with empty maps: its Id, its ledger and whatever else there is.
    stubs : dict of str to spt3g.maps.G3SkyMap
        An empty map for each plane, with geometry and attributes.
    pixels : int64 array
        The numbers of pixels, as the map itself numbers them (of flat maps ``y * nx + x``), each
        once, in any order; -1 where there is none.
    planes : dict of str to float64 array of the same length
        Their values. They are not changed.
    storages : dict of str to str, optional
        How maps are stored, or would be, in a .g3 file.

    Attributes
    ----------
    outline, stubs, storages
        As above.
    """

    def __init__(
        self,
        outline: Frame,
        stubs: Mapping[str, SkyMap],
        pixels: Pixels,
        planes: Mapping[str, Values],
        storages: Mapping[str, str] | None = None,
    ):
        self.storages = dict(storages or {})
        self.outline, self.stubs = outline, dict(stubs)
        self._pixels, self._planes = pixels, dict(planes)
        if not _is_rising(pixels):
            order = np.argsort(pixels, kind="stable")
            order = order[np.count_nonzero(pixels < 0) :]
            self._pixels = pixels[order]
            self._planes = {name: plane[order] for name, plane in planes.items()}

    @classmethod
    def of_shard(
        cls, outline: Frame, shard: Shard, storages: Mapping[str, str] | None = None
    ) -> PixelTable:
        """The table of a sum, or of the part of it that this rank owns."""
        planes = {name: plane.reshape(-1) for name, plane in shard.planes.items()}
        return cls(outline, shard.stubs, shard.pixels.reshape(-1), planes, storages)

    @classmethod
    def of_frame(cls, frame: Frame) -> PixelTable:
        """The table of a frame, in memory or in a file.

        Raises
        ------
        InputError
            If a map cannot be read.
        """
        with verified_on_error(frame):
            planes = planes_of(frame, where_of(frame))
            if not planes:
                raise InputError(f"{where_of(frame)}: there is no map in it.")
            # The stubs of several files may be the same objects.
            stubs = {name: plane.stub.clone(False) for name, plane in planes.items()}
            for name, plane in planes.items():
                stubs[name].overflow = plane.overflow
            first = next(iter(stubs.values()))
            shape = tuple(first.shape)
            known: dict[Any, Pixels] = {}
            found = {
                name: as_points(plane.chunks(), shape, known) for name, plane in planes.items()
            }
        verify(frame)
        held = merged(*(points.pixels for points in found.values()))
        values = {name: _spread(points, held) for name, points in found.items()}
        pixels = lines_of(first).as_mapped(held) if is_flat(first) else held
        storages = {name: plane.storage for name, plane in planes.items()}
        return cls(_outline_of(frame, stubs), stubs, pixels, values, storages)

    def renumbered(self, number: Callable[[Pixels], Pixels]) -> PixelTable:
        """The pixels that were hit with other numbers. The stubs stay as they are."""
        held = np.flatnonzero(self._hit)
        planes = {name: plane[held] for name, plane in self._planes.items()}
        pixels = number(self._pixels[held])
        return PixelTable(self.outline, self.stubs, pixels, planes, self.storages)

    def unweighted(self) -> PixelTable:
        """The same with maps that are divided by their weights; 0 where that cannot be done.

        Raises
        ------
        OutputError
            If they are weighted, and there are no weights.
        """
        stokes = [name for name in STOKES if name in self.stubs]
        if not stokes or not self.stubs[stokes[0]].weighted:
            return self
        key = weights_key(self.stubs)
        if key is None:
            raise OutputError(
                f"{self.outline['Id']!r}: the maps are weighted, and there are no weights to "
                "divide them by. Write them as they are, or coadd maps with weights."
            )
        components = COMPONENTS if "Q" in stokes else ("TT",)
        planes = self._planes | {name: self._planes[name].copy() for name in stokes}
        divide([planes[name] for name in stokes], [planes[f"{key}.{c}"] for c in components], 0.0)
        stubs = {
            name: with_attributes(stub, weighted=False) if name in stokes else stub
            for name, stub in self.stubs.items()
        }
        return PixelTable(self.outline, stubs, self._pixels, planes, self.storages)

    @property
    def stub(self) -> SkyMap:
        """An empty map with the geometry of all."""
        return next(iter(self.stubs.values()))

    @property
    def names(self) -> list[str]:
        """The planes, T, Q and U first."""
        order = {name: place for place, name in enumerate(_ORDER)}
        return sorted(self.stubs, key=order.__getitem__)

    @functools.cached_property
    def n_hit(self) -> int:
        """How many pixels were hit."""
        return int(np.count_nonzero(self._hit))

    @property
    def first(self) -> int | None:
        """The first pixel that was hit; None if none was."""
        return next((int(pixels[0]) for pixels, _ in self.blocks(1)), None)

    @property
    def last(self) -> int | None:
        """The last pixel that was hit; None if none was."""
        held = np.flatnonzero(self._hit)
        return int(self._pixels[held[-1]]) if len(held) else None

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[Pixels, dict[str, Values]]]:
        """The pixels that were hit with their values, at most `size` at a time, in rising order."""
        held = np.flatnonzero(self._hit) if self.n_hit < len(self._pixels) else None
        for begin in range(0, self.n_hit, size):
            # Views, where nothing is to be left out: they are much faster.
            at = slice(begin, begin + size) if held is None else held[begin : begin + size]
            yield self._pixels[at], {name: self._planes[name][at] for name in self.names}

    def span(self, start: int, stop: int) -> tuple[Pixels, dict[str, Values]]:
        """The pixels from one number up to another, with their values, hit or not."""
        begin, end = np.searchsorted(self._rising, [start, stop])
        part = slice(int(begin), int(end))
        return self._pixels[part], {name: self._planes[name][part] for name in self.names}

    @functools.cached_property
    def _rising(self) -> Pixels:
        """The pixels without -1, which stands at the end if at all."""
        return self._pixels[: len(self._pixels) - np.count_nonzero(self._pixels < 0)]

    @functools.cached_property
    def _hit(self) -> NDArray[np.bool_]:
        hit = np.zeros(len(self._pixels), bool)
        for plane in self._planes.values():
            for begin in range(0, len(hit), BLOCK):
                part = slice(begin, begin + BLOCK)
                hit[part] |= plane[part] != 0
        hit &= self._pixels >= 0
        return hit


_COMPONENTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")
_ORDER = (
    *("T", "Q", "U"),
    *(f"{key}.{component}" for key in ("Wpol", "Wunpol") for component in _COMPONENTS),
    "H",
)


def _is_rising(pixels: Pixels) -> bool:
    """Whether pixels rise, with -1 at the end only."""
    n = len(pixels) - np.count_nonzero(pixels < 0)
    held = pixels[:n]
    return not n or bool(held[0] >= 0 and np.all(held[1:] > held[:-1]))


def _spread(points: Any, pixels: Pixels) -> Values:
    if len(points.pixels) == len(pixels):
        values: Values = points.values
        return values
    spread = np.zeros(len(pixels))
    spread[np.searchsorted(pixels, points.pixels)] = points.values
    return spread


def _outline_of(frame: Frame, stubs: Mapping[str, SkyMap]) -> Frame:
    """The frame with empty maps."""
    outline = to_frame(str(frame.get("Id", "")), stubs)
    for key in frame.keys():  # noqa: SIM118 (not a dictionary)
        if key not in MAP_KEYS and key not in outline:
            outline[key] = frame[key]
    return outline
