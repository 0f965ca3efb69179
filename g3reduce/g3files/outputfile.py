"""A .g3 file, plain or compressed, or a folder, that is either complete or not there."""

from __future__ import annotations

import bz2
import contextlib
import errno
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from ..errors import OutputError
from ..temporary import TemporaryFile, TemporaryFolder

# How much is compressed in one go: the result is held in memory.
_PIECE = 1 << 20

# Of files that are written together, so many are kept open, and with that locked.
_MOST_OPEN = 100


class Compressor(Protocol):
    """The interface of Python's compressors."""

    def compress(self, data: Any, /) -> bytes:
        """Compress data; return as much of the result as is ready."""

    def flush(self) -> bytes:
        """Return the rest, with the end of the stream."""


# One member each, without a name and a time: the same frames make the same bytes.
_COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    ".gz": lambda: zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS),
    ".bz2": bz2.BZ2Compressor,
    ".xz": lzma.LZMACompressor,
}


Held = TypeVar("Held", TemporaryFile, TemporaryFolder)


class _Output(Generic[Held]):
    """Output under a temporary name until it is complete; system errors become `OutputError`."""

    def __init__(self, name: str, hold: Callable[[str], Held]):
        self._name: str = name
        with as_output_error(name):
            self._held: Held = hold(os.path.realpath(name))  # of a link, its target is replaced

    @property
    def path(self) -> str:
        """Where it is until it is published."""
        return self._held.path

    def complete(self) -> None:
        """Make sure that everything is on the disk.

        Raises
        ------
        OutputError
        """
        with as_output_error(self._name):
            self._held.complete()

    def publish(self) -> None:
        """Give the output its name, once it is complete; a file of that name is replaced.

        Raises
        ------
        OutputError
        """
        with as_output_error(self._name):
            self._held.publish()

    def close(self) -> None:
        """Close it, once it is complete. Others cannot see any more that somebody works on it.

        Raises
        ------
        OutputError
        """
        with as_output_error(self._name):
            self._held.close()

    def discard(self) -> None:
        """Remove it, unless it was published."""
        self._held.discard()


class OutputFile(_Output[TemporaryFile]):
    """A .g3 file that is written piece by piece, and has its name once it is complete.

    After a system error nothing more is written, but `write` may still be called: so output that
    other ranks send can be received to the end. `check` and `complete` raise the error.

    Parameters
    ----------
    file : str
        If it ends in ``.gz``, ``.bz2`` or ``.xz``, the content is compressed.

    Raises
    ------
    OutputError
        If it cannot be opened.
    """

    def __init__(self, file: str):
        super().__init__(file, TemporaryFile)
        self._problem: OSError | None = None
        make = _COMPRESSORS.get(os.path.splitext(file)[1])
        self._compressor = make() if make else None

    def write(self, data: bytes | memoryview) -> int:
        """Write all of it, unless something failed before."""
        if self._problem is None:
            try:
                if self._compressor is None:
                    self._held.write(data)
                else:
                    self._compress(self._compressor, memoryview(data).cast("B"))
            except OSError as error:
                self._problem = error
        return len(data)

    def _compress(self, compressor: Compressor, data: memoryview) -> None:
        for begin in range(0, len(data), _PIECE):
            self._held.write(compressor.compress(data[begin : begin + _PIECE]))

    def check(self) -> None:
        """Raise the error by which writing has failed, if it has.

        Raises
        ------
        OutputError
        """
        if self._problem is not None:
            raise failure(self._name, self._problem) from self._problem

    def complete(self) -> None:
        """Write the end, and make sure that everything is on the disk.

        Raises
        ------
        OutputError
            If anything failed.
        """
        self.check()
        if self._compressor is not None:
            with as_output_error(self._name):
                self._held.write(self._compressor.flush())
        super().complete()


class PlacedOutput(_Output[TemporaryFile]):
    """A file of a known size, whose parts are written at their places, also by other processes.

    Parameters
    ----------
    file : str
    size : int
        In bytes.

    Raises
    ------
    OutputError
        If it cannot be opened.
    """

    def __init__(self, file: str, size: int):
        super().__init__(file, TemporaryFile)
        try:
            os.ftruncate(self._held.fd, size)
        except OSError as error:
            self.discard()
            raise failure(file, error) from error
        self._held.written = size


class OutputPath(_Output[TemporaryFile]):
    """A file that another library writes into `path`, and that has its name once it is complete.

    Parameters
    ----------
    file : str

    Raises
    ------
    OutputError
        If it cannot be opened.
    """

    def __init__(self, file: str):
        super().__init__(file, TemporaryFile)

    def complete(self) -> None:
        """Make sure that everything is on the disk.

        Raises
        ------
        OutputError
        """
        self._held.written = os.fstat(self._held.fd).st_size
        super().complete()


def begin_sync(fd: int, offset: int, size: int) -> None:
    """Let the system begin to bring a part of a file to its disk, while others are prepared."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):  # it is advice: not all file systems take it
            os.posix_fadvise(fd, offset, size, os.POSIX_FADV_DONTNEED)


def write_at(fd: int, data: Any, offset: int) -> None:
    """Write all of a buffer at a place of a file.

    Raises
    ------
    OSError
    """
    rest = memoryview(data).cast("B")
    while len(rest):
        taken = os.pwrite(fd, rest, offset)
        if not taken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        offset += taken
        rest = rest[taken:]


class Outputs:
    """Files that get their names together, once all are complete."""

    def __init__(self) -> None:
        self._all: list[OutputFile | PlacedOutput] = []
        self._open: list[OutputFile | PlacedOutput] = []

    def add(self, output: OutputFile | PlacedOutput) -> None:
        """Take one that is about to be written.

        Raises
        ------
        OutputError
            If those before are so many that they are completed now, and one cannot be.
        """
        self._all.append(output)
        if len(self._open) == _MOST_OPEN:
            self.complete()
            while self._open:
                self._open.pop().close()
        self._open.append(output)

    def complete(self) -> None:
        """Make sure that all are on the disk.

        Raises
        ------
        OutputError
        """
        for output in self._open:
            output.complete()

    def publish(self) -> None:
        """Give all of them their names; files of these names are replaced.

        Raises
        ------
        OutputError
        """
        for output in self._all:
            output.publish()

    def discard(self) -> None:
        """Remove those that were not published."""
        for output in self._all:
            output.discard()


class OutputFolder(_Output[TemporaryFolder]):
    """A folder of files that others write into `path`, which has its name once all are complete.

    Parameters
    ----------
    folder : str
        It must not exist, or be empty.

    Raises
    ------
    OutputError
        If it cannot be created.
    """

    def __init__(self, folder: str):
        super().__init__(folder, TemporaryFolder)


@contextlib.contextmanager
def as_output_error(file: str) -> Iterator[None]:
    """Make an `OutputError` about a file of what the system says against writing it."""
    try:
        yield
    except OSError as error:
        raise failure(file, error) from error


def failure(file: str, error: Exception) -> OutputError:
    """The error that says why a file cannot be written."""
    reason = getattr(error, "strerror", None) or (str(error).splitlines() or [repr(error)])[0]
    return OutputError(f"{file}: writing failed ({reason}).")
