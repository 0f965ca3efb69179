"""Where bytes are read from: a file, or memory."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

from ..errors import InputError
from .names import refuse_nul

# The system gives less than 2 GiB at once.
_MOST_AT_ONCE = 2**30


class Stamp(NamedTuple):
    """Identity and state of a file, by which a change or replacement is noticed."""

    device: int
    inode: int
    size: int
    changed_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of a file with this status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class Bytes(Protocol):
    """Where bytes are read from.

    Attributes
    ----------
    name : str
        How messages name them.
    size : int
        How many there are; of a stream, how many have come so far.
    """

    name: str
    size: int

    def reaches(self, offset: int) -> bool:
        """Whether there are so many bytes; a stream is read up to there to find out."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        ...

    def peek(self, offset: int, size: int) -> bytes:
        """As `read`, of bytes that will be read again and compared: they need not be kept."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        ...

    def part(self, start: int, end: int) -> Bytes:
        """A source of these bytes. Those before `end` must not be read from this one any more."""
        ...

    def require_unchanged(self) -> None:
        """Refuse what was changed while it was read."""
        ...


class FileBytes:
    """The bytes of a file.

    Parameters
    ----------
    name : str
        A regular file. It is open until `close`, or until this object is deleted.

    Attributes
    ----------
    stamp : Stamp
        What the file was like when it was opened.
    """

    def __init__(self, name: str):
        self.name = name
        self._file = -1
        refuse_nul(name)
        try:
            self._file = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            self.stamp = Stamp.of(os.fstat(self._file))
        except OSError as error:
            raise self._failed(None, error) from error
        self.size = self.stamp.size

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def reaches(self, offset: int) -> bool:
        """Whether there are so many bytes."""
        return offset <= self.size

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there were when the file was opened."""
        size = max(0, min(size, self.size - offset))
        if size < _MOST_AT_ONCE:
            try:
                data = os.pread(self._file, size, offset)
            except OSError as error:
                raise self._failed(offset, error) from error
            if len(data) == size:
                return data
        whole = bytearray(size)
        self.read_into(offset, memoryview(whole))
        return bytes(whole)

    def peek(self, offset: int, size: int) -> bytes:
        """As `read`."""
        try:
            data = os.pread(self._file, size, offset)
        except OSError as error:
            raise self._failed(offset, error) from error
        return data if len(data) == size else self.read(offset, size)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        while len(buffer):
            try:
                count = os.preadv(self._file, [buffer], offset)
            except OSError as error:
                raise self._failed(offset, error) from error
            if not count:
                raise InputError(
                    f"{self.name}, byte {offset}: the file was cut off while it was read."
                )
            offset, buffer = offset + count, buffer[count:]

    def part(self, start: int, end: int) -> FileBytes:
        """The file itself."""
        return self

    def require_unchanged(self) -> None:
        """Refuse a file that was written to while it was read.

        Raises
        ------
        InputError
        """
        try:
            stamp = Stamp.of(os.fstat(self._file))
        except OSError as error:
            raise self._failed(None, error) from error
        if stamp != self.stamp:
            before, now = self.stamp.size, stamp.size
            sizes = f"it had {before} bytes, and has {now} now"
            how = sizes if before != now else "its size is the same"
            raise InputError(
                f"{self.name}: the file was changed while it was read ({how}). Is it still being "
                "written?"
            )

    def _failed(self, offset: int | None, error: OSError) -> InputError:
        place = "" if offset is None else f", byte {offset}"
        return InputError(f"{self.name}{place}: {error.strerror or error}.")


class Ahead:
    """A file of which a stretch was read ahead, so that small frames lie in memory.

    Parameters
    ----------
    file : FileBytes
    begin : int
        Where the stretch begins.

    Attributes
    ----------
    begin, end : int
        Its extent.
    data : bytes
        What it holds.

    Raises
    ------
    InputError
        If the file was changed since it was opened.
    """

    STRETCH = 2**20

    def __init__(self, file: FileBytes, begin: int):
        self.name = file.name
        self.size = file.size
        self.begin = begin
        self.data = file.read(begin, self.STRETCH)
        self.end = begin + len(self.data)
        self._file = file
        file.require_unchanged()

    def reaches(self, offset: int) -> bool:
        """Whether there are so many bytes."""
        return offset <= self.size

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        if self.begin <= offset and offset + size <= self.end:
            return self.data[offset - self.begin : offset - self.begin + size]
        return self._file.read(offset, size)

    peek = read

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        if self.begin <= offset and offset + len(buffer) <= self.end:
            buffer[:] = self.data[offset - self.begin : offset - self.begin + len(buffer)]
        else:
            self._file.read_into(offset, buffer)

    def part(self, start: int, end: int) -> Ahead | FileBytes:
        """These bytes where they are in memory, else the file."""
        return self if self.begin <= start and end <= self.end else self._file

    def require_unchanged(self) -> None:
        """Nothing to do: what is in memory does not change."""


class MemoryBytes:
    """Bytes in memory.

    Parameters
    ----------
    data : bytes or bytearray
    name : str
        How messages name them.
    begin : int
        The offset that the first of them has.
    """

    def __init__(self, data: bytes | bytearray, name: str = "memory", begin: int = 0):
        self.name = name
        self.size = begin + len(data)
        self._begin = begin
        self._data = memoryview(data)

    def reaches(self, offset: int) -> bool:
        """Whether there are so many bytes."""
        return offset <= self.size

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        offset -= self._begin
        return bytes(self._data[offset : offset + size])

    peek = read

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        offset -= self._begin
        buffer[:] = self._data[offset : offset + len(buffer)]

    def part(self, start: int, end: int) -> MemoryBytes:
        """These bytes themselves."""
        return self

    def require_unchanged(self) -> None:
        """Nothing to do: they do not change."""
