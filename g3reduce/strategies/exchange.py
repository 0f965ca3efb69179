"""Blocks on their way between two ranks."""

from __future__ import annotations

import numpy as np

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from ..mpi import transfer
from .rows import Scratch, combine_into, cuts
from .traffic import Traffic


def send(traffic: Traffic, blocks: Blocks, dest: int) -> None:
    """Send blocks to a rank that calls `receive_into`."""
    traffic.comm.send(len(blocks.rows), dest)
    traffic.send(blocks.rows, dest)
    for name in sorted(blocks.planes):
        plane = blocks.planes[name]
        for rows, columns in cuts(len(blocks.rows), plane, transfer.PIECE):
            traffic.send(plane[rows, columns], dest)


def receive_into(traffic: Traffic, blocks: Blocks, source: int, reduction: Reduction) -> None:
    """Combine blocks with those that another rank sends, piece by piece as they come."""
    rows_there = np.empty(traffic.comm.recv(source=source), np.int64)
    traffic.receive(rows_there, source)
    blocks.insert(rows_there)
    places = blocks.locate(rows_there)
    scratch = Scratch()
    for name in sorted(blocks.planes):
        plane = blocks.planes[name]
        for rows, columns in cuts(len(places), plane, transfer.PIECE):
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            theirs = scratch.array("theirs", shape, plane.dtype)
            traffic.receive(theirs, source)
            combine_into(plane, places[rows], columns, theirs, reduction)
