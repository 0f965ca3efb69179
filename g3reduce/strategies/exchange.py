"""Blocks on their way between two ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import transfer
from ..blocks import Blocks
from ..reductions import Reduction

if TYPE_CHECKING:
    from mpi4py import MPI


def send(comm: MPI.Intracomm, blocks: Blocks, dest: int) -> None:
    """Send blocks to a rank that calls `receive_into`."""
    comm.send(len(blocks.rows), dest)
    transfer.send(comm, blocks.rows, dest)
    for name in sorted(blocks.planes):
        transfer.send(comm, blocks.planes[name], dest)


def receive_into(comm: MPI.Intracomm, blocks: Blocks, source: int, reduction: Reduction) -> None:
    """Combine blocks with those that another rank sends, piece by piece as they come."""
    rows = np.empty(comm.recv(source=source), np.int64)
    transfer.receive(comm, rows, source)
    blocks.insert(rows)
    places = blocks.locate(rows)
    # Neighbours here as well as there: then a piece is combined where it lies.
    together = len(rows) > 0 and places[-1] - places[0] + 1 == len(rows)
    scratch = None
    for name in sorted(blocks.planes):
        plane = blocks.planes[name]
        if scratch is None or scratch.dtype != plane.dtype:
            scratch = np.empty(transfer.PIECE // plane.itemsize, plane.dtype)
        mine = plane[places[0] : places[-1] + 1].reshape(-1) if together else plane[places]
        mine = mine.reshape(-1)
        for piece in transfer.pieces(mine):
            theirs = scratch[: len(piece)]
            comm.Recv(theirs, source)
            reduction.combine(piece, theirs, out=piece)
        if not together:
            plane[places] = mine.reshape(-1, blocks.row_length)
