"""Bytes of a file that are read once, so that the checksum covers exactly what is used."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Iterator

from ..limits import LIMITS
from .source import Bytes


class ReadOnce:
    """A source that keeps the bytes that `read` has given, in pieces up to `LIMITS.kept_read`.

    Reading them again, by `read` or by `read_into`, gives the same, even if the file has changed.
    What only `read_into` gives is not kept.

    Parameters
    ----------
    source : Bytes
    """

    def __init__(self, source: Bytes):
        self.name = source.name
        self.size = source.size
        self._source = source
        self._kept: list[tuple[int, bytes]] = []  # in rising order; they do not overlap

    def reaches(self, offset: int) -> bool:
        """Whether there are so many bytes."""
        return self._source.reaches(offset)

    def read(self, offset: int, size: int) -> bytes:
        """These bytes, or as many of them as there are."""
        end = offset + size
        parts = [part for _, part in self._within(offset, end)]
        if sum(map(len, parts)) == size:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        data = self._source.read(offset, size)
        if parts:
            whole = bytearray(data)
            self._lay_over(offset, memoryview(whole))
            data = bytes(whole)
        if size <= LIMITS.kept_read:
            for begin, stop in list(self._between(offset, offset + len(data))):
                insort(self._kept, (begin, data[begin - offset : stop - offset]))
        return data

    def peek(self, offset: int, size: int) -> bytes:
        """These bytes as they are now."""
        return self._source.peek(offset, size)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer of bytes from there on."""
        self._source.read_into(offset, buffer)
        self._lay_over(offset, buffer)

    def part(self, start: int, end: int) -> ReadOnce:
        """These bytes themselves."""
        return self

    def require_unchanged(self) -> None:
        """Refuse what was changed while it was read."""
        self._source.require_unchanged()

    def _lay_over(self, offset: int, buffer: memoryview) -> None:
        for begin, part in self._within(offset, offset + len(buffer)):
            buffer[begin - offset : begin - offset + len(part)] = part

    def _within(self, begin: int, end: int) -> Iterator[tuple[int, bytes]]:
        """The kept parts of a stretch, and where each begins."""
        first = max(0, bisect(self._kept, (begin,)) - 1)
        for at, data in self._kept[first:]:
            if at >= end:
                return
            if at + len(data) > begin:
                cut = data[max(0, begin - at) : end - at]
                yield max(begin, at), cut

    def _between(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of a stretch that are not kept."""
        for at, part in self._within(begin, end):
            if at > begin:
                yield begin, at
            begin = at + len(part)
        if begin < end:
            yield begin, end
