"""A Map frame in a file, whose pixels stay there until they are added."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from numpy.typing import NDArray
from spt3g import core

from ..errors import InputError, about_file
from ..g3files.checksum import Checksum
from ..g3files.decoding import decoded
from ..g3files.fileframe import SPT3G_ERRORS, undecodable
from ..g3files.frames import Blob, Fingerprint, RawFrame, write_frame
from ..g3files.maps import MAP_KEYS, MapExtent, find_maps
from ..g3files.outlines import Outlines
from ..g3files.plain import plain_value
from ..g3files.readonce import ReadOnce
from ..g3files.source import MemoryBytes
from ..g3files.values import broken_values
from ..g3files.vectors import numbers_in
from ..limits import LIMITS
from ..spt3gtypes import Frame
from .mapframe import maps_of
from .pixels import Plane

_Entries: TypeAlias = "tuple[tuple[str, bytes], ...]"


class StoredFrame:
    """A Map frame in a file: to be read like a `G3Frame`, but not to be changed.

    Its maps are decoded only if one is asked for.

    Parameters
    ----------
    raw : RawFrame
    outlines : Outlines, optional
        Those of frames before.

    Raises
    ------
    Unrecognised
        If there are maps in it that are not known here.
    """

    type = core.G3FrameType.Map

    def __init__(self, raw: RawFrame, outlines: Outlines | None = None):
        self.unit: Any = None
        self._in_file = not isinstance(raw.source, MemoryBytes)  # as in compressed files
        if not raw.small:
            # The checksum covers what is read now, even if the file changes.
            raw = replace(raw, source=ReadOnce(raw.source))
        self._raw = raw
        self._extents: dict[str, MapExtent] = {}  # in the order of the file
        self._maps: _Entries = ()
        self._plains: dict[str, Any] = {}
        self._checksum: Checksum | None = Checksum(raw)
        if raw.small:  # it is in memory, and stays as it is
            self._checksum.finish()
            self._checksum = None
        self._names = [blob.name for blob in raw.blobs]
        self._find_all(outlines or Outlines())

    def __contains__(self, key: str) -> bool:
        return key in self._names

    def __getitem__(self, key: str) -> Any:
        if (value := self._plain(key)) is not None:
            return value
        if key not in self._names:
            raise KeyError(key)
        self.verify()  # before anything is decoded: it may be broken
        try:
            if problem := broken_values(self._raw).get(key):
                raise ValueError(problem)
            if key in self._outline:
                return self._outline[key]
            return self._whole[key] if key in MAP_KEYS else self._alone(key)
        except SPT3G_ERRORS as error:
            raise undecodable(self._raw, key, error) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def keys(self) -> list[str]:
        """The names of its entries."""
        return list(self._names)

    def values(self) -> list[Any]:
        """Its entries."""
        return [self[key] for key in self]

    def items(self) -> list[tuple[str, Any]]:
        """The names of its entries, and these."""
        return [(key, self[key]) for key in self]

    def get(self, key: str, default: Any = None) -> Any:
        """An entry, or `default` if there is none."""
        return self[key] if key in self._names else default

    def numbers(self, key: str) -> NDArray[Any]:
        """A vector of numbers, as float64 or int64, without a detour by spt3g.

        Raises
        ------
        InputError
            If it is something else.
        """
        self.verify()
        return numbers_in(self._raw, next(blob for blob in self._raw.blobs if blob.name == key))

    def planes(self, where: str, *, verified: bool = False) -> dict[str, Plane]:
        """Its maps, in the order of the file; see `g3reduce.maps.mapfile.planes_of`.

        What was verified can be read in any order.
        """
        deep = any(extent.lines.deep for extent in self._extents.values())
        planes = _empty_planes(self._maps, where, keep=not deep)
        source, name_of_frame = self._raw.source, str(self._raw)
        checksum = None if verified else self._checksum
        return {
            name: planes[name].stored(
                source, extent, checksum, name_of_frame, in_file=self._in_file
            )
            for name, extent in self._extents.items()
        }

    @property
    def small(self) -> bool:
        """Whether it is in memory already, as small frames are."""
        return self._raw.small

    @property
    def fingerprint(self) -> Fingerprint:
        """Its checksum and length."""
        return self._raw.fingerprint

    def verify(self) -> None:
        """Compare what was read with the checksum; what was not read so far is read now.

        Raises
        ------
        InputError
            If they differ.
        """
        if self._checksum is not None:
            with about_file(self._raw.source.name):
                self._checksum.finish()

    def _plain(self, key: str) -> Any:
        """A value that can be read at once: texts, numbers; None if this is something else."""
        if key not in self._plains:
            blob = next((blob for blob in self._raw.blobs if blob.name == key), None)
            value = None
            if blob is not None and blob.size <= LIMITS.kept_text:
                value = plain_value(self._raw.content(blob))
            self._plains[key] = value
        return self._plains[key]

    @functools.cached_property
    def _whole(self) -> Frame:
        return decoded(self._raw)

    def _alone(self, key: str) -> Any:
        """An entry that is long, without the others."""
        blob = next(blob for blob in self._raw.blobs if blob.name == key)
        return _frame_with([(key, self._raw.content(blob))])[key]

    def _find_maps(self, blob: Blob) -> dict[str, MapExtent]:
        try:
            return find_maps(self._raw.source, blob.offset, blob.end)
        except InputError as error:
            self.verify()
            raise InputError(
                f"{self._raw}, byte {blob.offset}: {blob.name} is not a valid map ({error}), "
                "though its checksum is right."
            ) from error

    def _find_all(self, outlines: Outlines) -> None:
        source = self._raw.source
        for blob in self._raw.blobs:
            if blob.name not in MAP_KEYS:
                continue
            found, outline = outlines.find_maps(
                *(blob.name, source, blob.offset, blob.end), partial(self._find_maps, blob)
            )
            for name, extent in found.items():
                self._extents[f"{blob.name}.{name}" if name else blob.name] = extent
            self._maps += ((blob.name, outline.empty),)

    @functools.cached_property
    def _outline(self) -> Frame:
        """The frame without its maps, and without what is long."""
        raw = self._raw
        return _frame_with(
            (blob.name, raw.content(blob))
            for blob in raw.blobs
            if blob.name not in MAP_KEYS and blob.size <= LIMITS.kept_read
        )


def _empty_planes(maps: _Entries, where: str, *, keep: bool) -> dict[str, Plane]:
    try:
        return _known_planes(maps) if keep else _planes_of(maps, where)
    except InputError:
        return _planes_of(maps, where)  # with the right name in the message


@functools.lru_cache(maxsize=16)
def _known_planes(maps: _Entries) -> dict[str, Plane]:
    """The planes of empty maps. Those of most files are the same, and some take long to make."""
    return _planes_of(maps, "")


def _planes_of(maps: _Entries, where: str) -> dict[str, Plane]:
    return {name: Plane.of(skymap) for name, skymap in maps_of(_frame_with(maps), where).items()}


def _frame_with(entries: Iterable[tuple[str, bytes]]) -> Frame:
    data = io.BytesIO()
    kind = int(core.G3FrameType.Map)
    write_frame(data, kind, [(name, len(content), [content]) for name, content in entries])
    frame = core.G3Frame()
    frame._cereal_loads(data.getvalue())
    return frame


def verify(*frames: Frame) -> None:
    """Compare those frames that are stored with their checksums.

    Raises
    ------
    InputError
        If one differs.
    """
    for frame in frames:
        if isinstance(frame, StoredFrame):
            frame.verify()


@contextmanager
def verified_on_error(*frames: Frame) -> Iterator[None]:
    """Verify frames after an error: a broken file is reported as such, not by what follows."""
    try:
        yield
    except Exception:
        verify(*frames)
        raise
