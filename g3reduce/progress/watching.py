"""A job that may be watched: events of what happens on all ranks, for observers on rank 0."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import InterruptedByUser, Stopped, UsageError
from ..g3files.names import about_bytes
from ..g3files.pieces import Piece
from ..mpi.communicators import Comm
from ..mpi.interrupts import obey
from ..mpi.launchers import named
from .board import Board
from .choosing import chosen
from .counting import Counting, Pass
from .events import Begun, Ended, Event, Observer, ReadAgain, StageBegun, Totals, Written
from .flow import Flow
from .reading import NoReading, Reading
from .telling import Teller

_ROOT = __name__.split(".")[0]

_NO_END = "the work did not come to its end"
# After a failure: so long rank 0 may take to see it, and to end what it shows.
_SEEN_S = 0.2
_AGAIN = "a file turned out to be bad of which frames may have been counted"


class Watch:
    """One job, whose progress an observer on rank 0 may be told of. Collective over `comm`.

    A context manager: inside of it, events are handed to the observer, in a thread of rank 0.

    Parameters
    ----------
    comm : communicator
        One that `private` gave. The constructor must follow an agreement directly.
    task : str
        What the job does: "coadd", "stitch", ...
    progress : None, bool or callable
        Who is told of it; the argument of rank 0 counts, see `choosing.chosen`.

    Attributes
    ----------
    watched : bool
        Whether anybody is, on all ranks.
    began : float
        When the work began on this rank, as `time.perf_counter` gives it.
    number, n_passes : int
        Which pass over the files this is, of how many that are planned; to be set.
    """

    def __init__(self, comm: Comm, task: str, progress: bool | Observer | None):
        self._comm = comm
        self._observer = chosen(progress) if comm.rank == 0 else None
        self.began = time.perf_counter()
        started = self._observer is not None and (self.began, time.time(), _boot())
        started = comm.bcast(started, 0)
        self.watched = bool(started)
        if started and comm.rank:
            self.began = _same_moment(*started)
        self._stages: set[tuple[str, int]] = set()
        self.number = self.n_passes = 1
        self._flow: Board | None = None
        self._teller = None
        if self._observer is not None:
            self._teller = Teller(self._observer, self.began)
            self._begun = _about(task, comm.size)

    def __enter__(self) -> Watch:
        obey()
        if self._teller is not None:
            self._teller.start()
            self.tell(self._begun)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._flow = None
        self._end(*_outcome(error))

    def give_up(self, error: BaseException | None) -> None:
        """End it on this rank if it has not ended; for work that does not come to its end.

        Parameters
        ----------
        error : exception or None
            By which the work has ended, if that is known.
        """
        flow, self._flow = self._flow, None
        if error is not None and flow is not None and self._comm.rank:
            flow.put_failure(flow.n_rows - self._comm.size + self._comm.rank)
            time.sleep(_SEEN_S)
        self._end(*(("failed", _NO_END) if error is None else _outcome(error)))

    def _end(self, outcome: str, reason: str) -> None:
        teller, self._teller = self._teller, None
        if teller is not None:
            now = time.perf_counter() - self.began
            teller.put(Ended(time=now, outcome=outcome, reason=reason))
            teller.end()

    def expect(self, n_files: int, n_bytes: float) -> None:
        """Say how much there is to do."""
        if self._teller is not None:
            self._teller.expect(n_files, n_bytes)

    def expect_files(self, names: Sequence[str]) -> None:
        """Say which files there are to do."""
        if self._teller is not None:
            self._teller.expect(len(names), about_bytes(names))

    def tell(self, make: Callable[[float], Event]) -> None:
        """Tell of something that has happened, on rank 0; elsewhere do nothing.

        Parameters
        ----------
        make : callable
            ``make(time)`` makes the event; its totals are filled in.
        """
        if self._teller is not None:
            self._teller.put(make(time.perf_counter() - self.began))

    def stage(self, stage: str) -> None:
        """Tell that a stage of the work begins."""
        self.tell(lambda now: self._stage(stage, now))

    def _stage(self, stage: str, now: float) -> StageBegun:
        return StageBegun(time=now, stage=stage, number=self.number, n_passes=self.n_passes)

    def written(self, files: Sequence[str]) -> None:
        """Tell that output files are complete."""
        if self._teller is not None:
            for file in files:
                self.tell(functools.partial(_written, file))

    def set_aside(self, left_out: Sequence[Any]) -> None:
        """Tell of files and frames that were left out, each once."""
        if self._teller is not None:
            self._teller.set_aside(left_out)

    def reading(
        self, names: Sequence[str], pieces: Sequence[Piece], stage: str = "reading"
    ) -> NoReading:
        """What each rank tells of the pieces that it reads, in one pass. Collective.

        It begins a stage, or begins it once more. To be called directly after an agreement.

        Parameters
        ----------
        names : sequence of str
            The files.
        pieces : sequence of Piece
            What is left to read, the same on all ranks.
        stage : str
        """
        if not self.watched:
            return NoReading()
        board = self._followed(
            len(names), pieces, lambda board, *before: Pass(board, names, pieces, *before), stage
        )
        if (stage, self.number) in self._stages:
            self.tell(lambda now: ReadAgain(time=now, reason=_AGAIN))
        self._stages.add((stage, self.number))
        return Reading(board)

    def flowing(self, names: Sequence[str], n_bytes: float) -> Board:
        """A board on which all ranks count frames that pass; see `flow.Flow`. Collective.

        Where somebody watches, and directly after an agreement only.
        """
        self._flow = self._followed(
            len(names) + self._comm.size,
            (),
            lambda board, *before: Flow(board, names, n_bytes, *before),
            "reading",
        )
        return self._flow

    def _followed(
        self,
        n_rows: int,
        pieces: Sequence[Piece],
        make: Callable[[Board, Totals, set[str]], Counting],
        stage: str,
    ) -> Board:
        """A new board, by which all is counted from now on."""
        if self._teller is not None:
            self._teller.look()  # no rank writes any more: all have met since the last pass
        now = time.perf_counter() - self.began  # before any rank begins with a file
        board = Board(self._comm, n_rows, pieces, self.began)
        if self._teller is not None:
            self._teller.follow(functools.partial(make, board), self._stage(stage, now))
        return board


def _boot() -> str:
    """Which start of which machine this is: processes of one have the same clock."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read()
    except OSError:
        return socket.gethostname()


def _same_moment(counter: float, clock: float, boot: str) -> float:
    """When another rank began, as `time.perf_counter` would have given it here."""
    if boot == _boot():
        return counter
    return time.perf_counter() - max(0.0, time.time() - clock)


def _written(file: str, now: float) -> Written:
    try:
        size = os.path.getsize(file)
    except OSError:  # it was taken away already
        size = 0
    return Written(time=now, file=file, n_bytes=size)


def _outcome(error: BaseException | None) -> tuple[str, str]:
    """How a job has ended."""
    if error is None:
        return "done", ""
    if isinstance(error, Stopped) and not isinstance(error, InterruptedByUser):
        return "stopped", str(error)
    if isinstance(error, KeyboardInterrupt | InterruptedByUser):
        return "interrupted", str(error)
    return "failed", f"{type(error).__name__}: {error}"


def _about(task: str, n_ranks: int) -> Callable[[float], Event]:
    """What is known at the beginning."""
    versions = {"python": platform.python_version()}
    root = sys.modules.get(_ROOT)
    if root is not None:
        versions["g3reduce"] = getattr(root, "__version__", "")
    versions["numpy"] = np.__version__
    if (spt3g := sys.modules.get("spt3g")) is not None:
        versions["spt3g"] = str(getattr(spt3g, "__version__", ""))
    if (mpi := sys.modules.get("mpi4py.MPI")) is not None and n_ranks > 1:
        versions["mpi"] = named(mpi.Get_library_version())
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return lambda now: Begun(
        time=now,
        task=task,
        n_ranks=n_ranks,
        started=started,
        host=socket.gethostname(),
        command=_command(),
        versions=versions,
    )


def _command() -> tuple[str, ...]:
    """The command line, as it can be typed again: without the place where a command is."""
    program, *words = sys.argv or [""]
    name = os.path.basename(program)
    if name == "__main__.py":  # of python -m
        name = os.path.basename(os.path.dirname(program))
    return (name if name == _ROOT else program, *words)


def require_progress(progress: object) -> None:
    """Check an argument ``progress``.

    Raises
    ------
    UsageError
    """
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise UsageError(
            f"progress is {progress!r}; expected None, True, or a function that takes events."
        )
