"""Transfers of large arrays, cut into pieces.

MPI libraries differ in what they make of messages of 2 GiB and more (Open MPI refuses them), so
every transfer whose size depends on the data goes through here. A rank that is brought out of one,
as by a signal, meets the others no more: see `meetings.counted_on`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..limits import LIMITS
from . import meetings

if TYPE_CHECKING:
    from mpi4py import MPI


def pieces(array: NDArray[np.generic], nbytes: int = 0) -> Iterator[NDArray[np.generic]]:
    """Cut a contiguous array into flat views of at most `nbytes` bytes, in order.

    With 0 these are `LIMITS.message_piece`.
    """
    flat = array.reshape(-1)
    if flat.size and not np.shares_memory(flat[:1], array):
        raise ValueError("only a contiguous array can be cut into pieces without copying it")
    step = max(1, (nbytes or LIMITS.message_piece) // flat.itemsize)
    for start in range(0, flat.size, step):
        yield flat[start : start + step]


def send(comm: MPI.Intracomm, array: NDArray[np.generic], dest: int, tag: int = 0) -> None:
    """Send a contiguous array whose shape and dtype the receiver knows."""
    with meetings.counted_on(comm, "a transfer"):
        for piece in pieces(array):
            comm.Send(piece, dest, tag)


def receive(comm: MPI.Intracomm, array: NDArray[np.generic], source: int, tag: int = 0) -> None:
    """Receive into a contiguous array what `send` sent from one of the same shape and dtype."""
    with meetings.counted_on(comm, "a transfer"):
        for piece in pieces(array):
            comm.Recv(piece, source, tag)


def broadcast_bytes(comm: MPI.Intracomm, data: bytes | None, root: int = 0) -> bytes:
    """Bring `root`'s bytes to all ranks. Collective over `comm`."""
    with meetings.counted_on(comm, "a transfer"):
        size = comm.bcast(None if data is None else len(data), root)
        buffer = (
            np.frombuffer(data, np.uint8)
            if comm.rank == root and data is not None
            else np.empty(size, np.uint8)
        )
        for piece in pieces(buffer):
            comm.Bcast(piece, root)
    return data if data is not None else buffer.tobytes()
