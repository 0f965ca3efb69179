"""The memory of the other ranks of a node, which this one reads and writes without their help.

The system copies between the memory of two processes (``process_vm_readv``, ``process_vm_writev``),
straight from where the one has its array to where the other wants it. So arrays lie in ordinary
memory, which is fast to fill and may have huge pages, and no rank needs to send what it has.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mpi4py import MPI

# Where something lies in the memory of a process: addresses and lengths in bytes, shape (n, 2),
# contiguous.
Extents = NDArray[np.uint64]

# The system takes so many of them in one call (UIO_MAXIOV).
_MOST_EXTENTS = 1024


def address_of(array: NDArray[np.generic]) -> int:
    """The address at which an array begins."""
    address: int = array.__array_interface__["data"][0]
    return address


class Peers:
    """The processes of the ranks of a node.

    Parameters
    ----------
    pids : list of int
        Of each rank of the node.
    """

    def __init__(self, pids: list[int]):
        self._pids = pids

    def read(self, rank: int, extents: Extents, into: NDArray[np.generic]) -> None:
        """Fill a contiguous array from the memory of another rank.

        Raises
        ------
        OSError
            If the system refuses it.
        """
        _transfer("process_vm_readv", self._pids[rank], extents, into)

    def write(self, rank: int, extents: Extents, array: NDArray[np.generic]) -> None:
        """Copy a contiguous array to the memory of another rank.

        Raises
        ------
        OSError
            If the system refuses it.
        """
        _transfer("process_vm_writev", self._pids[rank], extents, array)


def find_peers(node: MPI.Intracomm) -> tuple[Peers, str]:
    """Find out whether each rank can read and write the memory of each other one of its node.

    Collective over `node`.

    Returns
    -------
    peers : Peers
    why : str
        Why this rank cannot; empty if it can.
    """
    # Numbers that no other process has where this one has them: with pids of another container a
    # rank would meet somebody else.
    mine = np.zeros(2 + node.size, np.uint64)
    mine[:2] = np.frombuffer(os.urandom(16), np.uint64)
    everyone = node.allgather((os.getpid(), address_of(mine), mine[:2].tolist()))
    peers = Peers([pid for pid, _, _ in everyone])
    why = ""
    for rank, (_, address, expected) in enumerate(everyone):
        seen = np.zeros(2, np.uint64)
        try:
            peers.read(rank, _extent(address, seen.nbytes), seen)
            if seen.tolist() != expected:
                raise OSError("its memory is not where it says")
            peers.write(rank, _extent(address + 8 * (2 + node.rank), 8), seen[:1])
        except OSError as error:
            why = f"the memory of rank {rank} of its node cannot be used ({error})"
            break
    refused = any(node.allgather(why))  # and all have written
    if not refused and not mine[2:].all():
        why = "what other ranks of its node write does not come"
    return peers, why


def _extent(address: int, nbytes: int) -> Extents:
    return np.array([[address, nbytes]], np.uint64)


class _Local(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("nbytes", ctypes.c_size_t))


@functools.cache
def _system_call(name: str) -> Any:
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (AttributeError, OSError) as error:
        raise OSError(f"this system has no {name}") from error
    pointer, count = ctypes.c_void_p, ctypes.c_ulong
    function.argtypes = (ctypes.c_int, pointer, count, pointer, count, count)
    function.restype = ctypes.c_ssize_t
    return function


def _transfer(name: str, pid: int, extents: Extents, array: NDArray[np.generic]) -> None:
    """Copy between an array and what lies in the memory of another process, as long together."""
    function, address = _system_call(name), address_of(array)
    if len(extents) <= _MOST_EXTENTS:
        parts = [(extents, array.nbytes)]
    else:
        begins = range(0, len(extents), _MOST_EXTENTS)
        several = [extents[begin : begin + _MOST_EXTENTS] for begin in begins]
        parts = [(part, int(part[:, 1].sum())) for part in several]
    for there, nbytes in parts:
        here = _Local(address, nbytes)
        moved = function(pid, ctypes.byref(here), 1, address_of(there), len(there), 0)
        if moved < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")
        if moved != nbytes:
            raise OSError(f"{name} moved {moved} of {nbytes} bytes")
        address += nbytes
