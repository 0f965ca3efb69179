"""What a rank notes on the board of the files that it reads."""

from __future__ import annotations

import contextlib
import os
from typing import ClassVar

from ..g3files.pieces import Piece
from . import board as boards
from .board import Board

# Inside of a file this rank notes how far it is after so many microseconds.
_BETWEEN = 100_000


class NoReading:
    """The interface of `Reading`, for work that nobody watches.

    Attributes
    ----------
    watched : bool
        Whether somebody does.
    """

    watched: ClassVar[bool] = False

    def began(self, piece: Piece) -> None:
        """Note that this rank begins to read a piece."""

    def passed(self, piece: Piece, n_bytes: int, n_frames: int) -> None:
        """Note that so many more bytes of it are done, and so many frames of it up to now."""

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

    watched = True

    def __init__(self, board: Board):
        self._board = board
        self._begin = 0
        self._open = False
        self._n_bytes, self._note_at = 0, 0

    def began(self, piece: Piece) -> None:
        """Note that this rank begins to read a piece."""
        self._open = True
        self._begin = self._board.now()
        self._n_bytes, self._note_at = 0, self._begin + _BETWEEN
        self._board.put(self._board.row_of(piece), boards.STARTED, self._begin)

    def passed(self, piece: Piece, n_bytes: int, n_frames: int) -> None:
        """Note that so many more bytes of it are done, and so many frames of it up to now."""
        self._n_bytes += n_bytes
        now = self._board.now()
        if self._open and now >= self._note_at:
            self._note_at = now + _BETWEEN
            row = self._board.row_of(piece)
            self._board.put(row, boards.STARTED, self._begin, 0, self._n_bytes, n_frames)

    def done(self, piece: Piece, file: str, n_frames: int) -> None:
        """Note that this rank has read it; nothing if it has passed it over."""
        if not self._open:
            return
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
        self._open = False
        row, end = self._board.row_of(piece), self._board.now()
        self._board.put(row, state, self._begin, end, n_bytes, n_frames)
