"""Memory of this process alone, or memory that other processes of the node can map.

Shared memory is one anonymous file for each process (``memfd_create``). It has no name, so nothing
is left behind however a process ends; it is not limited by the size of /dev/shm; and a process that
may look at this one opens it as ``/proc/<pid>/fd/<fd>``. Each array is a stretch of that file, made
and given back without the other ranks, so sums may grow at different times on different ranks.
"""

from __future__ import annotations

import functools
import itertools
import mmap
import os
import threading
import weakref
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..limits import LIMITS

_NAME = "g3reduce"

# Large arrays begin at each quarter of a page in turn. A cache finds data by few bits of the
# address: arrays that begin alike and are walked side by side may get into each other's way, which
# can take twice the time.
_OFFSETS = itertools.cycle(range(0, 4096, 1024))


class Memory(Protocol):
    """Memory for the planes of `Blocks`: of this process alone, or shared."""

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """Make a contiguous array of zeros, which is freed with the last view of it."""
        ...


class PrivateMemory:
    """Memory of this process alone."""

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """See `Memory.zeros`."""
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        if nbytes < LIMITS.smallest_mapped:
            return np.zeros(shape, dtype)
        begin = next(_OFFSETS)
        return np.zeros(begin + nbytes, np.uint8)[begin:].view(dtype).reshape(shape)


PRIVATE = PrivateMemory()


class Stretch(NamedTuple):
    """The location of an array in the shared memory of its process, to be sent to others."""

    pid: int
    fd: int
    offset: int
    nbytes: int


class SharedMemory:
    """Memory that other processes of the node can map, for arrays that are large enough.

    Arrays that cannot be shared (too small, too many, refused by the system) are private, and
    `stretch_of` gives None. A process that was forked off may read the arrays, but must not change
    them, because it would for its parent, too; it gets private memory itself.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._fd = os.memfd_create(_NAME)
        self._end = 0
        self._growing = threading.Lock()
        self._stretches: dict[int, Stretch] = {}
        weakref.finalize(self, os.close, self._fd).atexit = False

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """See `Memory.zeros`."""
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        if nbytes < LIMITS.smallest_mapped or len(self._stretches) >= LIMITS.most_mapped:
            return np.zeros(shape, dtype)
        if os.getpid() != self._pid:
            return PRIVATE.zeros(shape, dtype)
        try:
            return self.require(shape, dtype)
        except OSError:
            return np.zeros(shape, dtype)

    def require(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """As `zeros`, but shared whatever its size, or an error.

        Raises
        ------
        OSError
            If the system has no memory or no file descriptor left, or if this is the memory of a
            process from which this one was forked off.
        """
        if os.getpid() != self._pid:
            raise OSError("this process was forked off from the one whose memory it is")
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        begin = next(_OFFSETS)
        length = -(-(begin + max(nbytes, 1)) // mmap.PAGESIZE) * mmap.PAGESIZE
        with self._growing:
            # No part of the file is used twice. It is sparse, so that this costs nothing.
            offset, self._end = self._end, self._end + length
            os.ftruncate(self._fd, self._end)
        mapping = mmap.mmap(self._fd, length, offset=offset)
        whole = np.frombuffer(mapping, np.uint8)
        address = _address(whole) + begin
        self._stretches[address] = Stretch(self._pid, self._fd, offset + begin, nbytes)
        # All views have `whole` as their base, and so keep it.
        release = weakref.finalize(whole, self._release, address, mapping)
        release.atexit = False
        return whole[begin:][:nbytes].view(dtype).reshape(shape)

    def stretch_of(self, array: NDArray[np.generic]) -> Stretch | None:
        """The location of an array that `zeros` made; None if it is private."""
        stretch = self._stretches.get(_address(array))
        return stretch if stretch and stretch.nbytes >= array.nbytes else None

    def _release(self, address: int, mapping: mmap.mmap) -> None:
        del self._stretches[address]
        if os.getpid() == self._pid:  # a forked process must not empty its parent's arrays
            mapping.madvise(mmap.MADV_REMOVE)


@functools.lru_cache(maxsize=1)
def shared() -> SharedMemory:
    """The shared memory of this process.

    Raises
    ------
    OSError
        If the system has none.
    """
    if not hasattr(os, "memfd_create") or not hasattr(mmap, "MADV_REMOVE"):
        raise OSError("this system has no memfd_create")
    return SharedMemory()


def attach(stretch: Stretch, begin: int, end: int, *, writable: bool = False) -> NDArray[np.uint8]:
    """Map bytes ``begin <= i < end`` of an array of another process.

    Raises
    ------
    OSError
        If that process does not exist, or if this one may not look at it.
    """
    if end <= begin:
        return np.empty(0, np.uint8)
    path = f"/proc/{stretch.pid}/fd/{stretch.fd}"
    # In another container the pid may be that of another process; to open a pipe could block.
    if not os.readlink(path).startswith(f"/memfd:{_NAME}"):
        raise OSError(f"{path} is no memory of g3reduce")
    fd = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        if os.fstat(fd).st_size < stretch.offset + stretch.nbytes:  # to read it would be fatal
            raise OSError(f"{path} is not the memory that was announced")
        first = (stretch.offset + begin) // mmap.PAGESIZE * mmap.PAGESIZE
        before = stretch.offset + begin - first
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        mapping = mmap.mmap(fd, before + end - begin, prot=protection, offset=first)
    finally:
        os.close(fd)
    return np.frombuffer(mapping, np.uint8, end - begin, before)


def _address(array: NDArray[np.generic]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
