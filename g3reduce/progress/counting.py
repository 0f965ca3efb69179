"""What rank 0 makes of the rows on the board: which files are done, and which ranks are behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from ..g3files.pieces import Piece
from . import board as boards
from .board import Board
from .events import Behind, Event, FileDone, FileStarted, Totals

# A rank is behind when its file takes so many times the median of those that are done, ...
_BEHIND = 3.0
# ... and at least so long; the median is taken when so many are done, and once in a while.
_BEHIND_S = 2.0
_ENOUGH = 5
_MEDIAN_S = 1.0
_LATEST = 1000


class Counting(Protocol):
    """Makes events and totals of what has changed on a board.

    Attributes
    ----------
    totals : Totals
    failed : int
        A rank that has failed and said so; -1 if there is none.
    """

    totals: Totals
    failed: int

    def look(self, now: float, *, each_file: bool) -> Iterable[Event]:
        """The events since the last look."""

    def count_aside(self, file: str) -> Totals:
        """Count a file that is left out; return the totals."""


class Pass:
    """What rank 0 knows of one pass over the files."""

    def __init__(
        self,
        board: Board,
        names: Sequence[str],
        pieces: Sequence[Piece],
        before: Totals,
        bad: set[str],
    ):
        self._board = board
        self._names = names
        self._file_of = {row: key for key, row in board.cut.items()}
        self._seen = np.zeros(board.n_rows, np.int64)
        self._low = 0  # all rows before it are done, or not to be read
        # Pieces of each file that are not done.
        self._left = Counter(piece.file for piece in pieces)
        self._wanted = np.zeros(board.n_rows, bool)
        self._wanted[[board.row_of(piece) for piece in pieces]] = True
        self._bad = bad  # of all passes
        n_files = len(names)
        self._mean = before.n_bytes / (before.n_files or n_files or 1)
        self._durations: list[Any] = []
        self._n_done = 0
        self._median, self._median_at = 0.0, 0.0
        self._told_behind: set[int] = set()
        self._inside = 0, 0  # bytes and frames of pieces that are not done, among the totals
        self.failed = -1
        n_earlier = max(0, n_files - len(self._left))
        self.totals = replace(
            before, n_files=n_files, files=n_earlier, bytes=int(n_earlier * self._mean), frames=0
        )

    def count_aside(self, file: str) -> Totals:
        """Count a file that is left out; return the totals."""
        if file not in self._bad:
            self._bad.add(file)
            self.totals = replace(self.totals, set_aside=len(self._bad))
        return self.totals

    def look(self, now: float, *, each_file: bool) -> Iterator[Event]:
        """The events of what has changed on the board."""
        rows, low = self._board.rows(), self._low
        self._count_inside((0, 0))
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
        reading = self._low + np.flatnonzero(self._seen[self._low :] == boards.STARTED)
        yield from self._behind(rows, reading, now)
        inside = rows[reading].copy()
        inside = inside[self._board.sound(inside) & (inside[:, 0] == boards.STARTED)]
        self._count_inside((int(inside[:, 4].sum()), int(inside[:, 5].sum())))

    def _count_inside(self, inside: tuple[int, int]) -> None:
        """Count these bytes and frames of pieces that are not done, in place of those before."""
        (n_bytes, n_frames), self._inside = self._inside, inside
        self.totals = replace(
            self.totals,
            bytes=self.totals.bytes - n_bytes + inside[0],
            frames=self.totals.frames - n_frames + inside[1],
        )

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

    def _behind(self, rows: Any, reading: Any, now: float) -> Iterator[Event]:
        """Ranks whose file, of these rows, takes much longer than those that are done."""
        if now - self._median_at >= _MEDIAN_S and self._n_done >= _ENOUGH:
            self._durations = [np.concatenate(self._durations)[-_LATEST:]]
            self._median, self._median_at = float(np.median(self._durations[0])), now
        if not self._median_at:
            return
        limit = max(_BEHIND_S, _BEHIND * self._median)
        late = reading[now - rows[reading, 2] / 1e6 > limit]
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
