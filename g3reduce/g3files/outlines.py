"""Blobs of maps without what differs from frame to frame: pixels, and what fell off the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..errors import InputError
from .archive import F64, INDEXED, U32, U64, runs_at
from .maps import PAIR, MapExtent
from .runs import RunLayout
from .source import Bytes

# How many outlines of a key are kept: maps of a few kinds may come in turn.
_KEPT = 4


class _Map(NamedTuple):
    """A map of a blob: its bytes before its overflow, and those between this and its pixels."""

    name: str
    extent: MapExtent
    before: bytes
    between: bytes


class _Behind(NamedTuple):
    """Bytes that follow on the pixels of a map, and where these end, if that is known."""

    data: bytes
    end: int | None


class Outline(NamedTuple):
    """A blob of maps without their pixels and overflows: most are equal but for these.

    Attributes
    ----------
    maps : tuple of _Map
    tail : bytes
        What stands behind the pixels of the last map.
    empty : bytes
        The blob of the same maps without pixels and overflows.
    """

    maps: tuple[_Map, ...]
    tail: bytes
    empty: bytes

    @classmethod
    def of(cls, source: Bytes, begin: int, end: int, found: Mapping[str, MapExtent]) -> Outline:
        """The outline of a blob in which these maps were found."""
        maps, empty, position = [], [], begin
        for name, extent in found.items():
            at = extent.overflow_at + F64.size
            before = source.read(position, extent.overflow_at - position)
            between = source.read(at, extent.sized_at - at)
            maps.append(_Map(name, extent, before, between))
            empty += [before, bytes(F64.size), between[: extent.code_at - at], U32.pack(0)]
            position = extent.end
        tail = source.read(position, end - position)
        return cls(tuple(maps), tail, b"".join([*empty, tail]))

    def find_maps(self, source: Bytes, begin: int, end: int) -> dict[str, MapExtent] | None:
        """The maps in another blob; None if it differs in more than pixels and overflows.

        Runs are compared when they are read.
        """
        found = {}
        position = begin
        behind = [_Behind(one.before, None) for one in self.maps[1:]] + [_Behind(self.tail, end)]
        for (name, like, before, between), after in zip(self.maps, behind, strict=True):
            overflow_at = position + len(before)
            sized_at = overflow_at + F64.size + len(between)
            if (
                source.read(position, len(before)) != before
                or source.read(overflow_at + F64.size, len(between)) != between
            ):
                return None
            pixels = _pixels_at(source, like, sized_at, end, after)
            if pixels is None:
                return None
            first, position, count, layout = pixels
            code_at = overflow_at + like.code_at - like.overflow_at
            found[name] = MapExtent(
                *(like.storage, overflow_at, code_at, first, position, count, layout, like.lines)
            )
        if position + len(self.tail) != end or source.read(position, len(self.tail)) != self.tail:
            return None
        return found


def _pixels_at(
    source: Bytes, like: MapExtent, at: int, end: int, behind: _Behind
) -> tuple[int, int, int, RunLayout | None] | None:
    """Begin and end of the pixels of a map, their count and layout; None if there are none such.

    Parameters
    ----------
    source : Bytes
    like : MapExtent
        A map that is stored in the same way.
    at, end : int
        Where their range or number stands, and where the blob ends.
    behind : _Behind
        What stands behind them.
    """
    if like.layout is not None:

        def fits(stop: int) -> bool:
            here = behind.end is None or stop + len(behind.data) == behind.end
            return here and source.read(stop, len(behind.data)) == behind.data

        try:
            layout, begin = runs_at(source, like.lines, at, end, fits)
        except InputError:
            return None
        return begin, begin + layout.nbytes, 0, layout
    if like.storage == INDEXED:
        (count,) = U64.unpack(source.read(at, U64.size).ljust(U64.size))
        begin = at + U64.size
        stop = begin + PAIR.itemsize * count
        return None if stop > end else (begin, stop, count, None)
    return at, at + like.end - like.begin, like.n_items, None


class Outlines:
    """The outlines that were met last, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[Outline]] = {}

    def find_maps(
        self,
        key: str,
        source: Bytes,
        begin: int,
        end: int,
        otherwise: Callable[[], dict[str, MapExtent]],
    ) -> tuple[dict[str, MapExtent], Outline]:
        """The maps in a blob, and its outline.

        Parameters
        ----------
        key : str
            The name of the blob in its frame.
        source : Bytes
        begin, end : int
            Its extent.
        otherwise : callable
            Finds the maps if the blob is like none of those before.
        """
        known = self._by_key.setdefault(key, [])
        for outline in known:
            found = outline.find_maps(source, begin, end)
            if found is not None:
                return found, outline
        found = otherwise()
        outline = Outline.of(source, begin, end, found)
        known.insert(0, outline)
        del known[_KEPT:]
        return found, outline
