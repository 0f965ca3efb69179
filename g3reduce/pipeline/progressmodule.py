"""A module that shows how far a pipeline is."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from spt3g import core

from ..g3files.names import about_bytes
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments
from ..mpi.meetings import come_together
from ..progress import board as boards
from ..progress.events import Observer
from ..progress.unended import end_with
from ..progress.watching import Watch, require_progress
from ..spt3gmarks import g3module
from ..spt3gtypes import Frame
from .parallelblock import Files, blocks_of
from .units import file_of, length_in_file, unit_of


@g3module
class ProgressModule:
    """Show how far a pipeline is, on all ranks together; a G3 module for any pipeline.

    Add it directly behind the module that reads, on each rank. Frames pass as they are.

    If the pipeline ends in an exception, what is shown ends before the traceback is printed. Where
    you catch the exception, put ``with ProgressModule(...) as progress:`` around ``pipe.Run()``.

    Collective over `mpicomm`: the constructor, and the end of processing.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    files : list of (str, path, or list of these)
        Those that are read, as `MPIFileReader` and `MPIIODistributor` have them. Without them only
        frames are counted. (spt3g's own reader says where frames are from with
        ``track_filename=True``.)
    progress : None, bool or callable
        Who is told: see `g3reduce.coadd_files`. The argument of the first rank counts.
    task : str
        What is done, in a word.

    Raises
    ------
    UsageError
        On all ranks, if an argument cannot be used or differs between ranks.

    Examples
    --------
    >>> pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files])  # doctest: +SKIP
    >>> pipe.Add(g3reduce.ProgressModule, mpicomm=comm, files=[files])  # doctest: +SKIP
    """

    def __init__(
        self,
        mpicomm: communicators.Comm | None = None,
        files: Files = (),
        progress: bool | Observer | None = True,
        task: str = "pipeline",
    ):
        self._comm = communicators.private(mpicomm)

        def check() -> tuple[list[str], dict[str, object]]:
            require_progress(progress)
            # A file that is named twice is one: frames do not tell which time they are from.
            names = list(dict.fromkeys(file for block in blocks_of(files) for file in block.files))
            return names, {"files": names}

        names = agreed_arguments(self._comm, "The arguments of ProgressModule", check)
        self._positions = {name: position for position, name in enumerate(names)}
        self._row = len(names) + self._comm.rank
        self._at, self._n_bytes, self._n_frames = -1, 0, 0
        self._watch = Watch(self._comm, task, progress)
        self._watch.__enter__()
        self._begun = False
        self._board = None
        if self._watch.watched:
            # Lengths of frames do not tell how far one is in a file that is compressed.
            plain = all(name.endswith(".g3") for name in names)
            self._board = self._watch.flowing(names, about_bytes(names) if plain else 0.0)

    def __call__(self, frame: Frame) -> None:
        """Count a frame."""
        if self._board is None:
            return
        if not self._begun:
            self._begun = True
            end_with(self._watch, self)
        now = self._board.now()
        if frame.type == core.G3FrameType.EndProcessing:
            self._end(now)
            return
        unit: Any = unit_of(frame)
        at = self._positions.get(unit.file if unit else file_of(frame) or "", -1)
        if at not in (-1, self._at):
            self._board.put(at, boards.STARTED, now)
            self._at = at
        # What all ranks see is counted by the last one, which works also where others read for it.
        if not (unit and unit.shared) or self._comm.rank == self._comm.size - 1:
            self._n_frames += 1
            self._n_bytes += length_in_file(frame)
        self._note(self._board, boards.STARTED, now)

    def __enter__(self) -> ProgressModule:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._board = None
        self._watch.give_up(error)

    def _note(self, board: boards.Board, state: int, now: int) -> None:
        board.put(self._row, state, now, self._at + 1, self._n_bytes, self._n_frames)

    def _end(self, now: int) -> None:
        """End the line once all ranks are through. Collective."""
        board, self._board = self._board, None
        if board is None:
            return
        self._note(board, boards.DONE, now)
        board.end()
        come_together(self._comm, "the end of their pipelines")
        self._watch.__exit__(None, None, None)
