"""The content of compressed files, as a stream that is checked to its end.

A file may hold several compressed streams, one behind the other, as ``cat``, ``bgzip`` and
``pbzip2`` make them; their contents are one content, wherever it was cut. Each must come to its
own end, with the checksum that it carries. Behind the last one there may be zeros, as gzip(1) and
xz(1) have it. Where gzip(1) warns of anything else there, it is an error here: a stream whose first
bytes have changed looks just like that.
"""

from __future__ import annotations

import bz2
import lzma
from collections.abc import Callable
from typing import NoReturn, Protocol, cast

from isal import isal_zlib  # zlib's functions, a third faster

from ..errors import InputError
from ..limits import LIMITS
from .source import Bytes, FileBytes, MemoryBytes

_ERRORS = (cast("type[Exception]", isal_zlib.error), lzma.LZMAError)

# In the header of a gzip stream (RFC 1952).
_FLAGS_AT, _RESERVED = 3, 0xE0

# The dictionary of an .xz file is as large as its header says: of `xz -9`, 64 MiB.
_MOST_FOR_XZ = 2**30


class _Stream(Protocol):
    """The interface of decompressors of one stream, such as those of bz2 and lzma."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """One gzip stream."""

    def __init__(self) -> None:
        self._stream = isal_zlib.decompressobj(16 + isal_zlib.MAX_WBITS)
        self._left = self._head = b""
        self._has_more = False

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    @property
    def needs_input(self) -> bool:
        return not (self._left or self._has_more or self.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._stream.unused_data)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if len(self._head) < _FLAGS_AT + 1:
            self._head += data[: _FLAGS_AT + 1 - len(self._head)]
            if len(self._head) > _FLAGS_AT and self._head[_FLAGS_AT] & _RESERVED:
                raise ValueError("its header has flags that are reserved")  # isal passes them over
        content: bytes = self._stream.decompress(self._left + data, max_length)
        self._left = self._stream.unconsumed_tail
        # Where all has gone in, but no more could come out, the rest of it is inside.
        self._has_more = len(content) == max_length
        return content


def _xz() -> _Stream:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_FOR_XZ)


# By the ending of the name: the program, whose word for the kind is also good for messages.
_KINDS: dict[str, tuple[str, Callable[[], _Stream]]] = {
    ".gz": ("gzip", _Gzip),
    ".bz2": ("bzip2", bz2.BZ2Decompressor),
    ".xz": ("xz", _xz),
}


def open_bytes(file: str) -> Bytes:
    """The bytes of a regular file; decompressed, if its name says that it is compressed.

    Raises
    ------
    InputError
        If it cannot be opened.
    """
    ending = next((ending for ending in _KINDS if file.endswith(ending)), None)
    return FileBytes(file) if ending is None else CompressedBytes(file, *_KINDS[ending])


class CompressedBytes:
    """The content of a compressed file.

    Content is held from the end of the last `part` on. Memory is taken as content comes, not for
    the sizes that headers claim.

    Parameters
    ----------
    name : str
    kind : str
        How messages name the kind of compression.
    new_stream : callable
        Returns what decompresses one stream.
    """

    def __init__(self, name: str, kind: str, new_stream: Callable[[], _Stream]):
        self.name = name
        self.size = 0
        self._kind = kind
        self._file = FileBytes(name)
        self._at = 0  # in the file
        self._ahead = b""  # read, but not decompressed
        self._new_stream = new_stream
        self._stream = new_stream()
        self._streams = 0  # that have ended
        self._begun = self._ended = False
        self._held, self._begin = bytearray(), 0
        self._parts = 0  # that were given

    def reaches(self, offset: int) -> bool:
        """Whether there is so much content. It is decompressed up to there.

        Raises
        ------
        InputError
            If the file is broken or cut off.
        """
        while self.size < offset and not self._ended:
            piece = self._next_piece()
            self._held += piece
            self.size += len(piece)
        return offset <= self.size

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        self.reaches(offset + size)
        offset -= self._begin
        return bytes(memoryview(self._held)[offset : offset + size])

    peek = read

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        self.reaches(offset + len(buffer))
        offset -= self._begin
        buffer[:] = memoryview(self._held)[offset : offset + len(buffer)]

    def part(self, start: int, end: int) -> MemoryBytes:
        """These bytes in memory. Bytes before `end` are not held here any more."""
        self.reaches(end)
        first, behind = start - self._begin, end - self._begin
        if behind - first > len(self._held) - behind:  # the smaller part is copied
            held, self._held = self._held, self._held[behind:]
            del held[behind:]
            given = MemoryBytes(held, self.name, self._begin)
        else:
            given = MemoryBytes(self._held[first:behind], self.name, start)
            del self._held[:behind]
        self._begin = end
        self._parts += 1
        return given

    def require_unchanged(self) -> None:
        """Refuse a file that was written to while it was read."""
        self._file.require_unchanged()

    def _next_piece(self) -> bytes:
        """The next bytes of the content; none at the end."""
        while True:
            data = self._to_decompress() if self._stream.needs_input else b""
            if not data and self._stream.needs_input:
                self._end()
                return b""
            self._begun = True
            try:
                piece = self._stream.decompress(data, LIMITS.compressed_made)
            except (OSError, EOFError, ValueError, MemoryError, *_ERRORS) as error:
                self._refuse(f"the {self._kind} file is broken here ({error})")
            if self._stream.eof:
                self._ahead = self._stream.unused_data
                self._stream, self._begun = self._new_stream(), False
                self._streams += 1
            if piece:
                return piece

    def _to_decompress(self) -> bytes:
        """The next bytes of the compressed file; none at its end."""
        data, self._ahead = self._ahead, b""
        while True:
            # Zeros may stand between streams, and behind the last one.
            if self._streams and not self._begun:
                data = data.lstrip(b"\0")
            if data or self._at >= self._file.size:
                return data
            data = self._file.read(self._at, LIMITS.compressed_read)
            self._at += len(data)

    def _end(self) -> None:
        if self._begun or not self._streams:
            self._refuse(f"the {self._kind} file is cut off here, at {self._file.size} bytes")
        self._ended = True
        self._file.require_unchanged()

    def _refuse(self, problem: str) -> NoReturn:
        if not self.size:
            problem += ", or it is not compressed as its name says"
        raise InputError(
            f"{self.name}, after {self._parts} frames, {self.size} bytes of content: {problem}. "
            f"`{self._kind} -t` tests such a file.",
            fault=f"{problem}, after {self._parts} frames".removeprefix("the "),
        )
