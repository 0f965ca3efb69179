"""Where bytes are read from: a file, or memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from .errors import InputError

# The system gives less than 2 GiB at once.
_MOST_AT_ONCE = 2**30


class Bytes(Protocol):
    """Where bytes are read from."""

    name: str
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        ...


class FileBytes:
    """The bytes of a file.

    Parameters
    ----------
    name : str
        A regular file. It is open until `close`, or until nobody has this object any more.
    """

    def __init__(self, name: str):
        self.name = name
        self._file = -1
        with self._named(0):
            self._file = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._file).st_size

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        if size < _MOST_AT_ONCE:
            with self._named(offset):
                return os.pread(self._file, size, offset)
        data = bytearray(max(0, min(size, self.size - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        while len(buffer):
            with self._named(offset):
                count = os.preadv(self._file, [buffer], offset)
            if not count:
                raise InputError(f"{self.name}, byte {offset}: the file was cut off while read.")
            offset, buffer = offset + count, buffer[count:]

    @contextmanager
    def _named(self, offset: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.name}, byte {offset}: {error.strerror or error}.") from error


class MemoryBytes:
    """Bytes in memory.

    Parameters
    ----------
    data : bytes
    name : str
        How messages name them.
    begin : int
        The offset that the first of them has.
    """

    def __init__(self, data: bytes, name: str = "memory", begin: int = 0):
        self.name = name
        self.size = begin + len(data)
        self._begin = begin
        self._data = memoryview(data)

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        offset -= self._begin
        return bytes(self._data[offset : offset + size])

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        offset -= self._begin
        buffer[:] = self._data[offset : offset + len(buffer)]
