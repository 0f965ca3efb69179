"""A file as HDF5 may write it: a disk that is full must not be told to HDF5, which crashes then."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..g3files.outputfile import write_at


class _Unbroken(io.RawIOBase):
    """A file for reading and writing, whose first problem is kept and not raised.

    After it nothing more is written: what is there is useless, and to be removed. HDF5 cannot close
    a file that it could not write, and ends the process by a segmentation fault later on.

    Parameters
    ----------
    path : str
        An existing file.

    Attributes
    ----------
    problem : OSError or None
        What has failed.
    """

    def __init__(self, path: str):
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._at = 0
        self.problem: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, unless something failed before."""
        length = memoryview(data).nbytes
        if self.problem is None:
            try:
                write_at(self._fd, data, self._at)
            except OSError as error:
                self.problem = error
        self._at += length
        return length

    def readinto(self, buffer: Any) -> int:
        """Read; beyond what could be written there are zeros."""
        into = memoryview(buffer).cast("B")
        found = os.pread(self._fd, len(into), self._at)
        into[: len(found)] = found
        into[len(found) :] = bytes(len(into) - len(found))
        self._at += len(into)
        return len(into)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._fd).st_size}
        self._at = start[whence] + offset
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Make the file so long."""
        size = self._at if size is None else size
        if self.problem is None:
            try:
                os.ftruncate(self._fd, size)
            except OSError as error:
                self.problem = error
        return size

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            os.close(self._fd)
        super().close()


@contextmanager
def opened_hdf5(h5py: Any, path: str, mode: str, **options: Any) -> Iterator[Any]:
    """An HDF5 file that can be written.

    Parameters
    ----------
    h5py : module
    path : str
        An existing file.
    mode : {"w", "r+"}
    **options
        Of `h5py.File`.

    Raises
    ------
    OSError
        If writing fails, once the file is closed.
    """
    stream = _Unbroken(path)
    try:
        with h5py.File(stream, mode, **options) as opened:
            yield opened
    finally:
        stream.close()
        if stream.problem is not None:
            raise stream.problem
