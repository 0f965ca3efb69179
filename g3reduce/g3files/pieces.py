"""Pieces of files: large files of many frames are shared out by frames, not only by files.

A piece is a stretch of bytes of a file. A frame belongs to the piece in which it begins. A rank
that takes a piece walks to it by the headers of the frames before it, or on from its last piece of
the same file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..errors import InputError
from ..limits import LIMITS
from ..spt3gtypes import Frame
from .decoding import walked
from .frames import RawFrame
from .source import FileBytes, Stamp


class Piece(NamedTuple):
    """A file, or a stretch of one.

    Attributes
    ----------
    file : int
        Which of the files it is.
    part : int
        Which piece of it.
    start, end : int
        Its extent in bytes, where the file is cut.
    stamp : Stamp or None
        Of a file that is cut: all ranks must see the same.
    """

    file: int
    part: int = 0
    start: int = 0
    end: int = 0
    stamp: Stamp | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the file."""
        return self.stamp is None


def plan(files: Sequence[str], n_ranks: int) -> list[Piece]:
    """The pieces in which files are shared out, in the order of the files."""
    wanted = LIMITS.pieces_per_rank * n_ranks
    pieces, few = [], n_ranks > 1 and len(files) < wanted
    for number, file in enumerate(files):
        # In others, compressed files and streams, it is not known where frames begin.
        plain = few and file.endswith(".g3") and os.path.isfile(file)
        stamp = Stamp.of(os.stat(file)) if plain else None
        n_parts = min(wanted, stamp.size // LIMITS.smallest_piece) if stamp else 1
        if stamp is None or n_parts < 2:
            pieces.append(Piece(number))
            continue
        size = stamp.size
        cuts = [size * part // n_parts for part in range(n_parts + 1)]
        pieces += [
            Piece(number, part, cuts[part], cuts[part + 1], stamp) for part in range(n_parts)
        ]
    return pieces


class WalkedFrame(NamedTuple):
    """A frame that a walk has come to.

    Attributes
    ----------
    number : int
        Which frame of the file it is.
    frame : RawFrame or FileFrame
        Not decoded; or, after a frame of a newer version, as spt3g decodes it.
    inside : bool
        Whether it belongs to the piece, and not to one before it.
    """

    number: int
    frame: Frame
    inside: bool


class Walk:
    """A walk through a file, piece by piece in the order of the file.

    Parameters
    ----------
    file : str
    stamp : Stamp
        That of the file when it was cut.

    Raises
    ------
    InputError
        If the file has changed since.
    """

    def __init__(self, file: str, stamp: Stamp):
        source = FileBytes(file)
        # The number of a device is not the same on all hosts.
        if source.stamp[1:] != stamp[1:]:
            raise InputError(f"{file}: the file was replaced or changed while it was read.")
        self._source = source
        self._frames = enumerate(walked(source, lambda raw: raw))
        self._ahead: tuple[int, Any] | None = None
        self._end = 0  # of the last frame whose extent is known

    def to_the_end_of(self, piece: Piece) -> Iterator[WalkedFrame]:
        """The frames from where this walk stands to the end of a piece.

        Raises
        ------
        InputError
            If the file is broken there, or was changed.
        """
        while (following := self._ahead or next(self._frames, None)) is not None:
            self._ahead = None
            index, frame = following
            start = frame.start if isinstance(frame, RawFrame) else self._end
            if start >= piece.end:
                self._ahead = following
                break
            self._end = frame.end if isinstance(frame, RawFrame) else start
            yield WalkedFrame(index, frame, start >= piece.start)
        self._source.require_unchanged()
