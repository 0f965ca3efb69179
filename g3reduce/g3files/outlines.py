"""Blobs of maps without their pixels, and blobs that are like the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from .archive import U32
from .maps import MapExtent
from .source import Bytes


def hollow(source: Bytes, begin: int, end: int, found: Mapping[str, MapExtent]) -> bytes:
    """The blob without the pixels: the same maps, but empty."""
    parts, position = [], begin
    for extent in found.values():
        parts += [source.read(position, extent.code_at - position), U32.pack(0)]
        position = extent.end
    parts.append(source.read(position, end - position))
    return b"".join(parts)


class Outline(NamedTuple):
    """A blob of maps without their pixels: most small ones are equal but for these.

    Attributes
    ----------
    begin : int
        Where the blob lay.
    found : dict of str to MapExtent
        The maps in it.
    parts : tuple of (int, bytes)
        Its bytes but for the pixels, and how far from its beginning they are.
    size : int
        Of all of it.
    empty : bytes
        What `hollow` makes of it.
    """

    begin: int
    found: dict[str, MapExtent]
    parts: tuple[tuple[int, bytes], ...]
    size: int
    empty: bytes

    @classmethod
    def of(cls, source: Bytes, begin: int, end: int, found: dict[str, MapExtent]) -> Outline:
        """The outline of a blob in which these maps were found."""
        starts = [begin, *(extent.end for extent in found.values())]
        stops = [*(extent.begin for extent in found.values()), end]
        parts = [
            (start - begin, source.read(start, stop - start))
            for start, stop in zip(starts, stops, strict=True)
        ]
        return cls(begin, found, tuple(parts), end - begin, hollow(source, begin, end, found))

    def fits(self, source: Bytes, begin: int, size: int) -> bool:
        """Whether another blob is like this one; runs in it are compared when they are read."""
        return size == self.size and all(
            source.read(begin + at, len(part)) == part for at, part in self.parts
        )

    def at(self, begin: int) -> dict[str, MapExtent]:
        """The maps in a blob that fits."""
        by = begin - self.begin
        return {
            name: MapExtent(
                one.storage,
                one.code_at + by,
                one.begin + by,
                one.end + by,
                one.count,
                one.layout,
                one.lines,
            )
            for name, one in self.found.items()
        }


# The outlines of the last frame of a file, by key.
Outlines: TypeAlias = "dict[str, Outline]"
