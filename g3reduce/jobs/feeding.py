"""Bringing the frames of files to a coadder, on each rank."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from spt3g import core

from ..choices import Schedule
from ..coadd.adding import Pending
from ..coadd.coadder import MPIMapCoadder
from ..coadd.settings import Terms
from ..errors import InputError, about_file
from ..formats.firstlook import check_file
from ..g3files.names import is_stream
from ..g3files.pieces import Piece
from ..maps.assumed import Assumed
from ..mpi import communicators
from ..mpi.counter import SharedCounter
from ..pipeline.parallelblock import ParallelBlock, blocks_of
from ..pipeline.reader import MPIFileReader
from ..pipeline.units import unit_of
from ..progress.reading import NoReading
from ..spt3gtypes import Frame
from .examining import fault_of, look_through
from .mapopener import MapOpener
from .tally import Tally
from .work import Work

# Frames that are added together at most: with more, little is gained.
_AT_ONCE = 8
_SMALL_AT_ONCE = 64  # of those that are in memory anyway


class Reader(MPIFileReader):
    """Reads files on whose names and pieces all ranks have agreed, so that it is not collective.

    Parameters
    ----------
    comm, schedule
        As of `MPIFileReader`.
    names, pieces
        The files, and how they are shared out.
    counter : SharedCounter
    terms : Terms, optional
        If given, each piece is looked through before its first frame is given out, and passed over
        if anything is wrong with it.
    assumed : Assumed, optional
        What holds of input whose headers are silent.
    reading : NoReading, optional
        It is told of each piece.

    Attributes
    ----------
    bad : dict of int to str
        The files of which a piece was passed over, by their positions, and why.
    cut_short : InputError or None
        Why nothing more is read: a file of which frames may have been given out is bad.
    """

    def __init__(
        self,
        comm: communicators.Comm,
        names: Sequence[str],
        pieces: Sequence[Piece],
        counter: SharedCounter,
        schedule: Schedule,
        terms: Terms | None = None,
        assumed: Assumed | None = None,
        reading: NoReading | None = None,
    ):
        self.bad: dict[int, str] = {}
        self.cut_short: InputError | None = None
        self._terms = terms
        self._before = MapOpener(assumed)  # it walks through files ahead of the one that reads them
        self._set_up(
            comm, blocks_of([names], schedule), schedule, MapOpener(assumed), [counter], [pieces]
        )
        self.reading = reading or NoReading()

    def set_aside(self, error: InputError) -> bool:
        """Read nothing more, because a file of which frames were given out is bad.

        Returns
        -------
        bool
            Whether that is possible: bad files are passed over, it is known which one it is, and
            all others can be read once more, which streams cannot.
        """
        files = self._blocks[0].files
        if self._terms is None or error.file is None or any(map(is_stream, files)):
            return False
        for position, name in enumerate(files):
            if name == error.file:
                self.bad[position] = fault_of(error)
        self.cut_short = error
        self.stop()
        return True

    def _frames_in(self, block: ParallelBlock, piece: Piece) -> Iterator[Frame]:
        file = block.files[piece.file]
        if self._terms is not None and not is_stream(file):
            try:
                check_file(file)
                look_through(self._before, file, piece, self._terms)
            except InputError as error:
                if piece.is_whole:
                    self.bad[piece.file] = fault_of(error)
                elif not self.set_aside(error):
                    raise
                self.reading.bad(piece)
                return
        yield from super()._frames_in(block, piece)


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


class Fed(NamedTuple):
    """What came of feeding a coadder on this rank.

    Attributes
    ----------
    failure : Exception or None
        The error of this rank. Then no rank begins another file, and all raise at the join.
    bad : dict of int to str
        The files that were set aside, by their positions, and why.
    again : InputError or None
        Why all is to be added again: frames of such a file may have been counted.
    """

    failure: Exception | None
    bad: dict[int, str]
    again: InputError | None


def feed(
    coadder: MPIMapCoadder,
    reader: Reader,
    n_files: int,
    n_ranks: int,
    tally: Tally,
    work: Work,
) -> Fed:
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
    """
    failure: Exception | None = None
    try:
        _feed(coadder, reader, n_files, n_ranks, tally, work)
    except InputError as error:
        if not reader.set_aside(error):
            failure = error
    except Exception as error:  # of any kind: all ranks raise when they join
        failure = error
    if failure is not None:
        reader.stop()
    return Fed(failure, reader.bad, reader.cut_short)


def _feed(
    coadder: MPIMapCoadder,
    reader: Reader,
    n_files: int,
    n_ranks: int,
    tally: Tally,
    work: Work,
) -> None:
    checkpoints = work.checkpoints
    pending: list[Pending] = []
    checkpoints.begin(tally)
    for frame in reader:
        tally.see(frame)
        with about_file(frame.unit.file):
            coadder.observe(frame)
        if frame.type == core.G3FrameType.Map and not work.earlier.has(frame):
            with about_file(frame.unit.file):
                one = coadder.take(frame)
            if one:
                pending.append(one)
            enough = pending and len(pending) >= _at_once(pending, n_files, n_ranks)
            if enough or checkpoints.due:
                coadder.add_taken(pending)
                pending.clear()
        if not pending and checkpoints.at_border():
            return
    coadder.add_taken(pending)
    tally.end_file()
