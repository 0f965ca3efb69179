"""Bringing the frames of files to a coadder, on each rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spt3g import core

from ..choices import Schedule
from ..g3files.pieces import Piece
from ..mpi import communicators
from ..mpi.counter import SharedCounter
from ..pipeline.parallelblock import blocks_of
from ..pipeline.reader import MPIFileReader
from ..pipeline.units import unit_of
from .checkpointing import Work
from .coadder import MPIMapCoadder
from .intake import Pending
from .mapopener import MapOpener
from .tally import Tally

# Frames that are added together at most: with more, little is gained.
_AT_ONCE = 8
_SMALL_AT_ONCE = 64  # of those that are in memory anyway


class Reader(MPIFileReader):
    """Reads files on whose names and pieces all ranks have agreed, so that it is not collective."""

    def __init__(
        self,
        comm: communicators.Comm,
        names: Sequence[str],
        pieces: Sequence[Piece],
        counter: SharedCounter,
        schedule: Schedule,
    ):
        self._set_up(comm, blocks_of([names], schedule), schedule, MapOpener(), [counter], [pieces])


def _at_once(pending: Sequence[Pending], n_files: int, n_ranks: int) -> int:
    """How many frames like these are added together."""
    if pending[-1].small:
        return _SMALL_AT_ONCE
    if not pending[-1].in_file:  # its pixels are in memory: those of several would be, too
        return 1
    unit = unit_of(pending[0].frame)
    if n_ranks == 1 or unit is None:
        return _AT_ONCE
    # At the end no more than this rank's part of what is left, or others would wait for it.
    return min(_AT_ONCE, math.ceil((n_files - unit.position) / n_ranks))


def feed(
    coadder: MPIMapCoadder,
    reader: Reader,
    n_files: int,
    n_ranks: int,
    tally: Tally,
    work: Work,
) -> Exception | None:
    """Bring the frames of this rank to the coadder.

    Parameters
    ----------
    coadder : MPIMapCoadder
    reader : Reader
    n_files, n_ranks : int
        How many files there are, and how many ranks read them.
    tally : Tally
        What this rank reads is counted there.
    work : Work
        Says what was added in an earlier run, and does what is to be done between two frames.

    Returns
    -------
    Exception or None
        The error of this rank. Then no rank begins another file, and all raise at the join.
    """
    checkpoints = work.checkpoints
    pending: list[Pending] = []
    checkpoints.begin(tally)
    try:
        for frame in reader:
            tally.see(frame)
            coadder.observe(frame)
            if frame.type == core.G3FrameType.Map and not work.earlier.has(frame):
                if one := coadder.take(frame):
                    pending.append(one)
                enough = pending and len(pending) >= _at_once(pending, n_files, n_ranks)
                if enough or checkpoints.due:
                    coadder.add_taken(pending)
                    pending.clear()
            if not pending and checkpoints.at_border():
                return None
        coadder.add_taken(pending)
        tally.end_file()
    except Exception as error:  # of any kind: all ranks raise when they join
        reader.stop()
        return error
    return None
