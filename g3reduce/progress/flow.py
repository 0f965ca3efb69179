"""Counting frames that flow through pipelines, where any rank may get those of any file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from . import board as boards
from .board import Board
from .events import Event, FileDone, Totals


class Flow:
    """What rank 0 knows of frames that pass a module of each rank; see `counting.Counting`.

    The board has a row for each file, which is put when a frame of it comes first, and one for each
    rank: the file at which it is (in `end`, counted from 1), and its bytes and frames up to now.

    Parameters
    ----------
    board : Board
    names : sequence of str
    n_bytes : float
        About how many bytes there are in all; 0 if that is not known.
    before : Totals
    bad : set of str
        Files that were left out.
    """

    def __init__(
        self, board: Board, names: Sequence[str], n_bytes: float, before: Totals, bad: set[str]
    ):
        self._board = board
        self._names = names
        self._n_bytes = n_bytes
        self._bad = bad
        n_ranks = board.n_rows - len(names)
        self._ranks = np.zeros((n_ranks, 8), np.int64)
        self._done = np.zeros(len(names), bool)
        self.failed = -1
        self.totals = replace(before, n_files=len(names))

    def count_aside(self, file: str) -> Totals:
        """Count a file that is left out; return the totals."""
        self._bad.add(file)
        self.totals = replace(self.totals, set_aside=len(self._bad))
        return self.totals

    def look(self, now: float, *, each_file: bool) -> Iterator[Event]:
        """The files that no rank works on any more."""
        rows, n = self._board.rows().copy(), len(self._names)
        sound = self._board.sound(rows)
        failed = np.flatnonzero(sound[n:] & (rows[n:, 0] == boards.BAD))
        if len(failed):
            self.failed = int(failed[0])
            return
        self._ranks[sound[n:]] = rows[n:][sound[n:]]
        working = self._ranks[self._ranks[:, 0] == boards.STARTED]
        done = sound[:n] & (rows[:n, 0] != 0)
        done[working[working[:, 3] > 0, 3] - 1] = False
        new = np.flatnonzero(done & ~self._done)
        self._done |= done
        n_bytes = int(self._ranks[:, 4].sum())
        self.totals = replace(
            self.totals,
            files=int(self._done.sum()),
            bytes=n_bytes,
            n_bytes=max(self._n_bytes, n_bytes) if n_bytes else 0.0,
            frames=int(self._ranks[:, 5].sum()),
        )
        for file in new.tolist() if each_file else ():
            yield FileDone(
                time=int(self._ranks[:, 2].max()) / 1e6,  # of the latest frame
                rank=int(rows[file, 1]),
                file=self._names[file],
                began=rows[file, 2].item() / 1e6,
                totals=self.totals,
            )
