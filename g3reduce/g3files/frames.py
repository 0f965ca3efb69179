"""Frames of .g3 files as bytes: walked by their headers, checked and written, never decoded.

A file is frames end to end. Each begins with a byte for the byte order (1: little), a 32-bit
class version, the number of entries and the type; then, for each entry, a 64-bit length and the
name, a 64-bit length and the blob; and it ends in a CRC32C (Castagnoli) over names and blobs.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn, Protocol, TypeAlias

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..limits import LIMITS
from .source import Ahead, Bytes, FileBytes, MemoryBytes

_HEAD = struct.Struct("<BIiI")  # byte order, class version, number of entries, type
_HEAD_BIG = struct.Struct(">BIiI")
_LENGTH = struct.Struct("<Q")
CRC = struct.Struct("<I")
_BIG, _LITTLE, _VERSION = 0, 1, 1
CRC_START = 0xFFFFFFFF  # spt3g does not invert at the beginning and the end, as is usual

# No key of a frame is longer. What a broken length claims must not be read, and not be put whole
# into a message.
_LONGEST_NAME = 2**20
_SHOWN = 80


class Unrecognised(Exception):
    """Bytes of a kind that is not known here; spt3g may know it."""


class Blob(NamedTuple):
    """An entry of a frame: its name, and where its content lies."""

    name: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.offset + self.size


class Fingerprint(NamedTuple):
    """What tells the content of a frame from that of others: frames that are equal have it alike.

    Attributes
    ----------
    checksum : int
        The CRC32C that the frame carries in its file.
    length : int
        Of the frame in its file, in bytes.
    """

    checksum: int
    length: int


@dataclass(frozen=True)
class RawFrame:
    """A frame that was walked, but not decoded.

    Attributes
    ----------
    source : Bytes
        Where it lies: the file, or the frame in memory if the file is compressed.
    index : int
        Which frame it is, counted from 0.
    type : int
        The number that stands for its type.
    start, end : int
        Its extent.
    blobs : tuple of Blob
        Its entries, in the order of the file.
    native : bool
        Whether it was written in the byte order and version that are written today.
    """

    source: Bytes
    index: int
    type: int
    start: int
    end: int
    blobs: tuple[Blob, ...]
    native: bool

    def __str__(self) -> str:
        return f"{self.source.name}, frame {self.index}"

    def read(self) -> bytes:
        """All of it."""
        return self.source.read(self.start, self.end - self.start)

    @property
    def small(self) -> bool:
        """Whether all of it is in memory already."""
        size = self.end - self.start
        return isinstance(self.source, Ahead | MemoryBytes) and size <= LIMITS.small_frame

    @property
    def fingerprint(self) -> Fingerprint:
        """Its checksum, as it stands there, and its length."""
        last = self.source.read(self.end - CRC.size, CRC.size)
        return Fingerprint(CRC.unpack(last.ljust(CRC.size))[0], self.end - self.start)

    def content(self, blob: Blob) -> bytes:
        """The content of one of its entries."""
        return self.source.read(blob.offset, blob.size)


def walk(source: Bytes, start: int = 0, index: int = 0) -> Iterator[RawFrame]:
    """The frames of a file, by their headers.

    Parameters
    ----------
    source : Bytes
    start, index : int
        Where to begin, and which frame that is.

    Raises
    ------
    InputError
        Where the file does not go on as a .g3 file does, with the byte.
    Unrecognised
        At a frame that was written in a newer version.
    """
    size = source.size - start  # of the next frame, at most; then of the last: most are alike
    near = source
    while source.reaches(start + 1):
        if size > LIMITS.small_frame or not isinstance(source, FileBytes):
            near = source
        elif not isinstance(near, Ahead) or start + size > near.end:
            near = Ahead(source, start)
        quick = _quickly(near, start, index) if isinstance(near, Ahead) else None
        frame = quick or _frame_at(near, start, index)
        yield frame
        size = frame.end - start
        start, index = frame.end, index + 1


def frame_in(content: bytes) -> RawFrame:
    """The only frame in these bytes, as spt3g serializes one."""
    (raw,) = walk(MemoryBytes(content))
    return raw


def digests_of(content: bytes) -> tuple[tuple[str, str], ...]:
    """Keys of a serialized frame, and digests of their values, in the order of the keys."""
    raw = frame_in(content)
    # spt3g keeps the keys of a frame in no particular order.
    return tuple(
        sorted(
            (blob.name, hashlib.blake2b(raw.content(blob), digest_size=16).hexdigest())
            for blob in raw.blobs
        )
    )


def _quickly(ahead: Ahead, start: int, index: int) -> RawFrame | None:
    """A frame of the usual kind that lies in memory; None for all others, broken ones too."""
    data, before, length_at = ahead.data, ahead.begin, _LENGTH.unpack_from
    try:
        order, version, count, kind = _HEAD.unpack_from(data, start - before)
        if order != _LITTLE or version != _VERSION or count <= 0:
            return None
        at = start - before + _HEAD.size
        blobs = []
        for _ in range(count):
            begin = at + _LENGTH.size
            at = begin + length_at(data, at)[0]
            if at - begin > _LONGEST_NAME:
                return None
            name = data[begin:at].decode("utf-8", "surrogateescape")
            size = length_at(data, at)[0]
            at += _LENGTH.size
            blobs.append(Blob(name, before + at, size))
            at += size
    except (struct.error, OverflowError):  # not all of it is here
        return None
    at += CRC.size
    if at > len(data):
        return None
    native = len({blob.name for blob in blobs}) == count
    return RawFrame(ahead, index, kind, start, before + at, tuple(blobs), native)


def _frame_at(source: Bytes, start: int, index: int) -> RawFrame:
    window = _Window(source, start, index)
    head = window.take(start, _HEAD.size, "the frame's head")
    order, version, count, kind = _HEAD.unpack(head)
    if order == _BIG:
        _, version, count, kind = _HEAD_BIG.unpack(head)
        window.lengths = "big"
    elif order != _LITTLE:
        window.refuse(start, f"the mark of the byte order is {order}, which should be 0 or 1")
    if version > _VERSION:
        raise Unrecognised(f"version {version} of a frame")
    if count < 0:
        window.refuse(start, f"the frame says that it has {count} entries")
    offset = start + _HEAD.size
    blobs = []
    for _ in range(count):
        size = window.length(offset, "name")
        if size > _LONGEST_NAME:
            window.refuse(offset, f"a name should have {size} bytes")
        offset += _LENGTH.size
        name = window.take(offset, size, "a name").decode("utf-8", "surrogateescape")
        offset += size
        size = window.length(offset, f"content of {name[:_SHOWN]!r}")
        offset += _LENGTH.size
        blobs.append(Blob(name, offset, size))
        offset += size
    window.take(offset, CRC.size, "the checksum")
    if not count and not kind:
        # To spt3g, 17 zeros are a frame, checksum and all.
        window.refuse(start, "there are zeros where a frame should be")
    native = order == _LITTLE and version == _VERSION
    # spt3g keeps the first of two entries of the same name.
    native = native and len({blob.name for blob in blobs}) == len(blobs)
    end = offset + CRC.size
    return RawFrame(source.part(start, end), index, kind, start, end, tuple(blobs), native)


class _Window:
    """A stretch of a source in memory: headers are small, and most lie close to each other."""

    def __init__(self, source: Bytes, start: int, index: int):
        self.lengths: Literal["little", "big"] = "little"
        self._source = source
        self._index = index
        if isinstance(source, Ahead):
            self._start, self._held = source.begin, source.data
        else:
            self._start, self._held = start, b""

    def take(self, offset: int, size: int, what: str) -> bytes:
        if not self._source.reaches(offset + size):
            self.refuse(
                offset,
                f"{what} should be here ({size} bytes), but the file ends at {self._source.size}",
                f"cut off at byte {self._source.size}",
            )
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._held):
            self._start, begin = offset, 0
            self._held = self._source.read(offset, max(size, 1024))
        return self._held[begin : begin + size]

    def length(self, offset: int, what: str) -> int:
        """A length, which the rest of the file must be able to hold."""
        taken = self.take(offset, _LENGTH.size, f"the length of the {what}")
        length = int.from_bytes(taken, self.lengths)
        begin = offset + _LENGTH.size
        if not self._source.reaches(begin + length):
            rest = self._source.size - begin
            problem = f"the {what} should have {length} bytes, but only {rest} are left"
            self.refuse(offset, problem, f"cut off at byte {self._source.size}")
        return length

    def refuse(self, offset: int, problem: str, fault: str = "") -> NoReturn:
        raise InputError(
            f"{self._source.name}, frame {self._index}, byte {offset}: this frame cannot be read, "
            f"the file is broken or cut off here ({problem}). `spt3g-verify` shows what can be "
            "read.",
            fault=fault or f"broken at byte {offset}, in frame {self._index}",
        )


Piece: TypeAlias = "bytes | memoryview | NDArray[np.generic]"


class Sink(Protocol):
    """A binary file, or something like one, to which bytes are written."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Write all of it."""
        ...


def head_of_frame(n_entries: int, kind: int) -> bytes:
    """What a frame begins with; `kind` is the number that stands for its type."""
    return _HEAD.pack(_LITTLE, _VERSION, n_entries, kind)


def head_of_entry(length: int) -> bytes:
    """What stands in front of a name, and of a content, of so many bytes."""
    return _LENGTH.pack(length)


def write_frame(file: Sink, kind: int, entries: Sequence[tuple[str, int, Iterable[Piece]]]) -> None:
    """Write a frame.

    Parameters
    ----------
    file : Sink
    kind : int
        The number that stands for its type.
    entries : list of (str, int, iterable of bytes-like)
        Of each entry its name, the size of its content in bytes, and the content in pieces, which
        may be large arrays, or buffers that are used again.
    """
    file.write(head_of_frame(len(entries), kind))
    state = CRC_START
    for key, size, pieces in entries:
        name = key.encode("utf-8", "surrogateescape")
        file.write(head_of_entry(len(name)))
        file.write(name)
        file.write(head_of_entry(size))
        state = google_crc32c.extend(state, name)
        written = 0
        for piece in pieces:
            whole = np.frombuffer(piece, np.uint8)
            # In steps, so that what the checksum has brought into the cache is written from there.
            for begin in range(0, len(whole), LIMITS.step):
                part = whole[begin : begin + LIMITS.step]
                covered = part[: max(0, (size & 0xFFFFFFFF) - written)]
                state = google_crc32c.extend(state, covered)
                file.write(part.data)
                written += len(part)
        if written != size:
            raise ValueError(f"{key}: {written} bytes were given, but {size} announced")
    file.write(CRC.pack(state ^ 0xFFFFFFFF))
