"""Frames of files as spt3g decodes them, each checked before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from spt3g import core

from ..errors import InputError
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from .checksum import Checksum
from .compressed import open_bytes
from .fileframe import SPT3G_ERRORS, FileFrame, first_line
from .frames import RawFrame, Unrecognised, walk
from .maps import MAP_KEYS
from .names import is_stream
from .source import Bytes, FileBytes, Stamp
from .values import broken_values

logger = unit_logger(__name__)

_MAP, _END = int(core.G3FrameType.Map), int(core.G3FrameType.EndProcessing)
_TYPES = frozenset(core.G3FrameType.values) - {_END}
_MAP_KEYS = frozenset(MAP_KEYS)

# An archive begins with the name of its class: that of maps is within so many bytes.
_CLASSES_OF_MAPS, _NAMED_WITHIN = (b"FlatSkyMap", b"HealpixSkyMap", b"G3SkyMapWeights"), 40


class Span(NamedTuple):
    """Where a frame lies in a file that is not compressed.

    Attributes
    ----------
    start, end : int
    stamp : Stamp
        Of the file, when it was opened.
    """

    start: int
    end: int
    stamp: Stamp

    def content(self, file: str) -> bytes | None:
        """The bytes of the frame; None if the file is gone, or is not the same any more."""
        try:
            with FileBytes(file) as source:
                if source.stamp != self.stamp:
                    return None
                return source.read(self.start, self.end - self.start)
        except InputError:
            return None


def frames_of(file: str) -> Iterator[Frame]:
    """The frames of a file, also of a compressed one, or of a stream.

    Raises
    ------
    InputError, RuntimeError
        If the file is broken.
    """
    if is_stream(file):
        yield from _frames_of_stream(file)
        return
    source = open_bytes(file)
    yield from walked(source, _Follower(source) if isinstance(source, FileBytes) else decoded)


def walked(source: Bytes, make: Callable[[RawFrame], Any]) -> Iterator[Any]:
    """Walk through frames: check type and keys of each, and yield what `make` makes of it.

    Parameters
    ----------
    source : Bytes
    make : callable
        Called with each frame; those of a newer version are left to spt3g.

    Raises
    ------
    InputError
        If the file is broken, was changed meanwhile, or has a frame of a type that does not exist.
    """
    frames = walk(source)
    start = index = 0
    while True:
        try:
            raw = next(frames, None)
        except Unrecognised as reason:
            yield from _rest_of(source, start, index, reason)
            return
        if raw is None:
            break
        _refuse_unknown_type(raw)
        _refuse_odd_keys(raw)
        start, index = raw.end, raw.index + 1
        yield make(raw)
    source.require_unchanged()


def decoded(raw: RawFrame) -> FileFrame:
    """A frame as spt3g has it, which compares its checksum.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    frame = FileFrame()
    try:
        frame._cereal_loads(raw.read())
    except SPT3G_ERRORS as error:
        raise _unreadable(raw, error) from error
    return _annotated(frame, raw)


class _Follower:
    """spt3g's own reader, which follows the walk: its frames know the name of their file."""

    def __init__(self, source: FileBytes):
        self._source = source
        self._reader = core.G3Reader(source.name, track_filename=True)
        self._require_the_same()

    def __call__(self, raw: RawFrame) -> FileFrame:
        source = self._source
        try:
            frames = self._reader.Process(None)
        except SPT3G_ERRORS as error:
            raise _unreadable(raw, error) from error
        if len(frames) != 1 or self._reader.tell() != raw.end:
            source.require_unchanged()
            self._require_the_same()
            raise InputError(f"{raw}, byte {raw.start}: spt3g reads another frame here.")
        frame = _annotated(FileFrame(frames[0]), raw)
        frame.span = Span(raw.start, raw.end, source.stamp)
        return frame

    def _require_the_same(self) -> None:
        """Refuse a name that stands for another file than the one that was opened."""
        name = self._source.name
        try:
            stamp = Stamp.of(os.stat(name))
        except OSError as error:
            raise InputError(f"{name}: {error.strerror or error}.") from error
        if stamp != self._source.stamp:
            raise InputError(f"{name}: the file was replaced or changed while it was opened.")


def _annotated(frame: FileFrame, raw: RawFrame) -> FileFrame:
    """A frame with its origin, and with the keys that must not be decoded."""
    if broken := broken_values(raw):
        frame.broken = broken
    if raw.type == _MAP:
        frame.fingerprint = raw.fingerprint
    elif found := maps_in(raw):
        frame.maps_inside = found
    return frame.of(raw.source.name, raw.index)


def _unreadable(raw: RawFrame, error: Exception) -> InputError:
    raw.source.require_unchanged()
    if raw.native:
        Checksum(raw).finish()  # its message says more
    return InputError(
        f"{raw}, byte {raw.start}: this frame cannot be read, the file is broken here "
        f"({first_line(error)}). `spt3g-verify` shows what can be read."
    )


def _refuse_odd_keys(raw: RawFrame) -> None:
    """Refuse keys that Python cannot ask for: spt3g could not even list them."""
    for name, *_ in raw.blobs:
        if not name.isascii() and any("\udc80" <= letter <= "\udcff" for letter in name):
            raise InputError(
                f"{raw}, byte {raw.start}: the key {name!r} is not UTF-8, so it cannot be read."
            )


def _refuse_unknown_type(raw: RawFrame) -> None:
    if raw.type in _TYPES:
        return
    known = ", ".join(sorted(core.G3FrameType.values[number].name for number in _TYPES))
    what = f"is {raw.type}, which does not exist" if raw.type != _END else "is EndProcessing"
    raise InputError(
        f"{raw}, byte {raw.start}: the type of this frame {what}; expected one of {known}. The "
        "file is broken here: no checksum covers the type.",
        fault=f"frame {raw.index} is of type {raw.type}, which no frame of input has",
    )


def maps_in(raw: RawFrame) -> list[str]:
    """The keys of a frame under which maps are expected, and that hold maps."""
    return [
        blob.name
        for blob in raw.blobs
        if blob.name in _MAP_KEYS
        and any(
            name in raw.source.read(blob.offset, min(blob.size, _NAMED_WITHIN))
            for name in _CLASSES_OF_MAPS
        )
    ]


def _rest_of(source: Bytes, start: int, index: int, reason: Unrecognised) -> Iterator[FileFrame]:
    """The frames in the rest of a file, read by spt3g alone."""
    if not isinstance(source, FileBytes):
        raise InputError(
            f"{source.name}, frame {index}, byte {start} of its content: {reason} is not known "
            "here. If the file is not broken, decompress it, so that spt3g can read it."
        )
    note(source.name, str(reason))
    reader = core.G3Reader(source.name, track_filename=True)
    reader.seek(start)
    while frames := reader.Process(None):
        yield from map(FileFrame, frames)


def _frames_of_stream(file: str) -> Iterator[FileFrame]:
    reader = core.G3Reader(file, track_filename=True)
    while frames := reader.Process(None):
        for frame in frames:
            if int(frame.type) not in _TYPES:
                raise InputError(f"{file}: a frame came of a type that does not exist.")
            yield FileFrame(frame)


_noted: set[str] = set()


def note(where: str, reason: str) -> None:
    """Log, once for each reason, that spt3g has to read something."""
    if reason not in _noted:
        _noted.add(reason)
        logger.info("%s is read by spt3g, which takes longer: %s is not known here", where, reason)
