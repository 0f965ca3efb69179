"""A job that may be watched: events of what happens on all ranks, for observers on rank 0."""

from __future__ import annotations

import contextlib
import datetime
import heapq
import logging
import os
import platform
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import InterruptedByUser, Stopped, UsageError
from ..g3files.pieces import Piece
from ..mpi.communicators import Comm
from . import board as boards
from .board import Board
from .choosing import chosen
from .events import (
    Begun,
    Behind,
    Ended,
    Event,
    FileDone,
    FileStarted,
    Observer,
    ReadAgain,
    SetAside,
    StageBegun,
    Totals,
)

logger = logging.getLogger(__name__)

# How often rank 0 looks at the board; less often if that would take more than a part of its time.
_LOOK_S, _SELDOM_S = 0.1, 0.5
_SHARE = 0.02

# A rank is behind when its file takes so many times the median of those that are done, ...
_BEHIND = 3.0
# ... and at least so long; the median is taken when so many are done, and once in a while.
_BEHIND_S = 2.0
_ENOUGH = 5
_MEDIAN_S = 1.0
_LATEST = 1000


class NoReading:
    """The interface of `Reading`, for work that nobody watches."""

    def began(self, piece: Piece) -> None:
        """Note that this rank begins to read a piece."""

    def done(self, piece: Piece, file: str, n_frames: int) -> None:
        """Note that this rank has read it."""

    def bad(self, piece: Piece) -> None:
        """Note that this rank has passed it over."""

    def end(self) -> None:
        """Note that this rank is through with all of its pieces."""


class Reading(NoReading):
    """Notes on the board what one rank reads.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, board: Board):
        self._board = board
        self._begin = 0

    def began(self, piece: Piece) -> None:
        """Note that this rank begins to read a piece."""
        self._begin = self._board.now()
        self._board.put(self._board.row_of(piece), boards.STARTED, self._begin)

    def done(self, piece: Piece, file: str, n_frames: int) -> None:
        """Note that this rank has read it."""
        n_bytes = piece.end - piece.start
        if piece.is_whole:
            with contextlib.suppress(OSError):  # a stream, for example
                n_bytes = os.stat(file).st_size
        self._note(piece, boards.DONE, n_bytes, n_frames)

    def bad(self, piece: Piece) -> None:
        """Note that this rank has passed it over."""
        self._note(piece, boards.BAD)

    def end(self) -> None:
        """Note that this rank is through with all of its pieces."""
        self._board.end()

    def _note(self, piece: Piece, state: int, n_bytes: int = 0, n_frames: int = 0) -> None:
        row, end = self._board.row_of(piece), self._board.now()
        self._board.put(row, state, self._begin, end, n_bytes, n_frames)


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
    """

    def __init__(self, comm: Comm, task: str, progress: bool | Observer | None):
        self._comm = comm
        self._observer = chosen(progress) if comm.rank == 0 else None
        self.watched = bool(comm.bcast(self._observer is not None, 0))
        self._began = time.perf_counter()
        self._teller = None
        if self._observer is not None:
            self._teller = _Teller(self._observer, self._began)
            self._begun = _about(task, comm.size)

    def __enter__(self) -> Watch:
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
        if self._teller is not None:
            outcome, reason = _outcome(error)
            self.tell(lambda now: Ended(time=now, outcome=outcome, reason=reason))
            self._teller.end()

    def expect(self, n_files: int, n_bytes: float) -> None:
        """Say how much there is to do."""
        if self._teller is not None:
            self._teller.expect(n_files, n_bytes)

    def tell(self, make: Callable[[float], Event]) -> None:
        """Tell of something that has happened, on rank 0; elsewhere do nothing.

        Parameters
        ----------
        make : callable
            ``make(time)`` makes the event; its totals are filled in.
        """
        if self._teller is not None:
            self._teller.put(make(time.perf_counter() - self._began))

    def stage(self, stage: str) -> None:
        """Tell that a stage of the work begins."""
        self.tell(lambda now: StageBegun(time=now, stage=stage))

    def set_aside(self, left_out: Sequence[Any]) -> None:
        """Tell of files and frames that were left out, each once."""
        if self._teller is not None:
            self._teller.set_aside(left_out)

    def reading(self, names: Sequence[str], pieces: Sequence[Piece]) -> NoReading:
        """What each rank tells of the pieces that it reads, in one pass. Collective.

        Parameters
        ----------
        names : sequence of str
            The files.
        pieces : sequence of Piece
            What is left to read, the same on all ranks.
        """
        if not self.watched:
            return NoReading()
        if self._teller is not None:
            self._teller.look()  # no rank writes any more: all have met since the last pass
        board = Board(self._comm, len(names), pieces, self._began)
        if self._teller is not None:
            self._teller.follow(board, names, pieces)
        return Reading(board)


class _Teller:
    """Tells an observer what happens, in a thread of its own.

    Parameters
    ----------
    observer : callable
    began : float
        Time 0, as `time.perf_counter` gives it.
    """

    def __init__(self, observer: Observer, began: float):
        self._observer = observer
        # Some observers need no events of files, only totals from time to time.
        self._each_file = getattr(observer, "each_file", True)
        self._look_of: Callable[[float, Totals], object] | None = getattr(observer, "look", None)
        self._broken = False
        self._began = began
        self._events: deque[Event] = deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="g3reduce progress", daemon=True)
        self._totals = Totals()
        self._told: set[object] = set()
        self._n_bytes = 0.0
        self._pass: _Pass | None = None

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Tell all that has happened, and end the observer."""
        self._stop.set()
        self._thread.join()
        self.look()
        if (close := getattr(self._observer, "close", None)) is not None:
            self._guarded(close)

    def put(self, event: Event) -> None:
        self._events.append(event)

    def expect(self, n_files: int, n_bytes: float) -> None:
        with self._lock:
            self._totals = replace(self._totals, n_files=n_files, n_bytes=n_bytes)

    def set_aside(self, left_out: Sequence[Any]) -> None:
        now = time.perf_counter() - self._began
        for one in left_out:
            if (one.file, one.frame) not in self._told:
                self._told.add((one.file, one.frame))
                self.put(SetAside(time=now, file=one.file, frame=one.frame, reason=one.reason))

    def follow(self, board: Board, names: Sequence[str], pieces: Sequence[Piece]) -> None:
        """Look at this board from now on."""
        with self._lock:
            again = self._pass is not None
            self._pass = _Pass(board, names, pieces, self._totals)
            self._totals = self._pass.totals
        if again:
            now = time.perf_counter() - self._began
            self.put(ReadAgain(time=now, reason="another pass over the files"))

    def _run(self) -> None:
        pause = _LOOK_S
        while not self._stop.wait(pause):
            begin = time.thread_time()
            self.look()
            pause = min(_SELDOM_S, max(_LOOK_S, (time.thread_time() - begin) / _SHARE))

    def look(self) -> None:
        """Tell what has happened since."""
        with self._lock:
            now = time.perf_counter() - self._began
            # First these: what was put there later comes with the next look.
            put = [self._events.popleft() for _ in range(len(self._events))]
            of_files: list[Event] = []
            if self._pass is not None:
                before = self._totals
                of_files += self._pass.look(now, each_file=self._each_file)
                self._totals = before if of_files else self._pass.totals
            for event in heapq.merge(of_files, put, key=lambda one: one.time):
                if isinstance(event, FileStarted | FileDone | Behind):
                    self._totals = event.totals
                elif isinstance(event, SetAside) and event.frame < 0:
                    self._count_aside(event)
                self._tell(replace(event, totals=self._totals))
            if self._pass is not None:
                self._totals = self._pass.totals
            if self._look_of is not None:
                self._guarded(self._look_of, now, self._totals)

    def _count_aside(self, event: SetAside) -> None:
        if self._pass is not None:
            self._totals = self._pass.count_aside(event.file)
        else:
            self._totals = replace(self._totals, set_aside=self._totals.set_aside + 1)

    def _tell(self, event: Event) -> None:
        self._guarded(self._observer, event)

    def _guarded(self, call: Callable[..., object], *arguments: object) -> None:
        """Call the observer; after its first error no more, since the work matters more."""
        if self._broken:
            return
        try:
            call(*arguments)
        except Exception as error:  # of any kind: the user's
            self._broken = True
            logger.warning(
                "progress: %s failed (%s: %s) and is told nothing more; the work goes on.",
                *(getattr(self._observer, "__name__", self._observer), type(error).__name__, error),
            )


class _Pass:
    """What rank 0 knows of one pass over the files."""

    def __init__(self, board: Board, names: Sequence[str], pieces: Sequence[Piece], before: Totals):
        self._board = board
        self._names = names
        self._file_of = {row: key for key, row in board.cut.items()}
        self._seen = np.zeros(board.n_rows, np.int64)
        self._low = 0  # all rows before it are done, or not to be read
        # Pieces of each file that are not done.
        self._left = Counter(piece.file for piece in pieces)
        self._wanted = np.zeros(board.n_rows, bool)
        self._wanted[[board.row_of(piece) for piece in pieces]] = True
        self._bad: set[str] = set()
        self._aside_before = before.set_aside
        n_files = before.n_files or len(names)
        self._mean = before.n_bytes / n_files if n_files else 0.0
        self._durations: list[Any] = []
        self._n_done = 0
        self._median, self._median_at = 0.0, 0.0
        self._told_behind: set[int] = set()
        n_earlier = max(0, n_files - len(self._left))
        self.totals = replace(
            before, n_files=n_files, files=n_earlier, bytes=int(n_earlier * self._mean), frames=0
        )

    def count_aside(self, file: str) -> Totals:
        """Count a file that is left out; return the totals."""
        if file not in self._bad:
            self._bad.add(file)
            self.totals = replace(self.totals, set_aside=self._aside_before + len(self._bad))
        return self.totals

    def look(self, now: float, *, each_file: bool) -> Iterator[Event]:
        """The events of what has changed on the board."""
        rows, low = self._board.rows(), self._low
        changed = low + np.flatnonzero(rows[low:, 0] != self._seen[low:])
        news = rows[changed].copy()
        sound = self._board.sound(news)
        changed, news = changed[sound], news[sound]
        self._seen[changed] = news[:, 0]
        pending = np.flatnonzero((self._seen[low:] < boards.DONE) & self._wanted[low:])
        self._low = low + int(pending[0]) if len(pending) else self._board.n_rows
        ended = news[:, 0] >= boards.DONE
        if each_file:
            order = np.argsort(np.where(ended, news[:, 3], news[:, 2]), kind="stable")
            for row, values in zip(changed[order].tolist(), news[order].tolist(), strict=True):
                yield self._event(row, *values[:6])
        else:
            self._count(changed[ended], news[ended])
        self._durations.append((news[ended, 3] - news[ended, 2]) / 1e6)
        self._n_done += int(ended.sum())
        yield from self._behind(rows, now)

    def _event(
        self, row: int, state: int, rank: int, begin: int, end: int, n_bytes: int, n_frames: int
    ) -> Event:
        """The event of one row."""
        file, part = self._file_of.get(row, (row, 0))
        name = self._names[file]
        if state == boards.STARTED:
            return FileStarted(
                time=begin / 1e6, rank=rank, file=name, part=part, totals=self.totals
            )
        if state == boards.BAD:
            self.count_aside(name)
        self._add(self._ended(row), n_bytes, n_frames)
        return FileDone(
            time=end / 1e6,
            rank=rank,
            file=name,
            part=part,
            began=begin / 1e6,
            n_bytes=n_bytes,
            n_frames=n_frames,
            sound=state == boards.DONE,
            totals=self.totals,
        )

    def _count(self, ended: Any, news: Any) -> None:
        """Count pieces that have ended, all at once."""
        whole = ended < len(self._names)
        files = int(whole.sum()) + sum(map(self._ended, ended[~whole].tolist()))
        for row in ended[news[:, 0] == boards.BAD].tolist():
            self.count_aside(self._names[self._file_of.get(row, (row, 0))[0]])
        if len(ended):
            self._add(files, int(news[:, 4].sum()), int(news[:, 5].sum()))

    def _ended(self, row: int) -> int:
        """How many files have ended with a piece: 1 or 0."""
        if row < len(self._names):
            return 1
        file = self._file_of[row][0]
        self._left[file] -= 1
        return int(self._left[file] == 0)

    def _add(self, n_files: int, n_bytes: int, n_frames: int) -> None:
        totals = self.totals
        files, n_bytes = totals.files + n_files, totals.bytes + n_bytes
        self.totals = Totals(
            files,
            totals.n_files,
            n_bytes,
            n_bytes + max(0, totals.n_files - files) * self._mean,
            totals.frames + n_frames,
            totals.set_aside,
            totals.behind,
        )

    def _behind(self, rows: Any, now: float) -> Iterator[Event]:
        """Ranks whose file takes much longer than those that are done."""
        if now - self._median_at >= _MEDIAN_S and self._n_done >= _ENOUGH:
            self._durations = [np.concatenate(self._durations)[-_LATEST:]]
            self._median, self._median_at = float(np.median(self._durations[0])), now
        if not self._median_at:
            return
        limit = max(_BEHIND_S, _BEHIND * self._median)
        low = self._low
        open_rows = low + np.flatnonzero(self._seen[low:] == boards.STARTED)
        late = open_rows[now - rows[open_rows, 2] / 1e6 > limit]
        self.totals = replace(self.totals, behind=tuple(sorted(set(rows[late, 1].tolist()))))
        for row in late.tolist():
            if row not in self._told_behind:
                self._told_behind.add(row)
                yield Behind(
                    time=now,
                    rank=int(rows[row, 1]),
                    file=self._names[self._file_of.get(row, (row, 0))[0]],
                    seconds=now - rows[row, 2] / 1e6,
                    median=self._median,
                    totals=self.totals,
                )


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
    root = sys.modules.get(__name__.split(".")[0])
    if root is not None:
        versions["g3reduce"] = getattr(root, "__version__", "")
    versions["numpy"] = np.__version__
    if (spt3g := sys.modules.get("spt3g")) is not None:
        versions["spt3g"] = str(getattr(spt3g, "__version__", ""))
    if (mpi := sys.modules.get("mpi4py.MPI")) is not None and n_ranks > 1:
        versions["mpi"] = mpi.Get_library_version().splitlines()[0].strip(" \0")
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return lambda now: Begun(
        time=now,
        task=task,
        n_ranks=n_ranks,
        started=started,
        host=socket.gethostname(),
        command=tuple(sys.argv),
        versions=versions,
    )


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
