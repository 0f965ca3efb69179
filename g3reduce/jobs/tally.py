"""The tally of one rank: which input files it has read to their ends, and what was in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from spt3g import core

from ..g3files.pieces import Piece
from ..pipeline.units import unit_of
from ..spt3gtypes import Frame


class Tally:
    """Counts the Map frames of each Id that one rank reads, file by file.

    Files are known by their positions in the list. One that is read in pieces is never done: no
    rank sees all of it.

    Parameters
    ----------
    pieces : sequence of Piece
        How the files are handed out.
    done : dict of int to Counter, optional
        What was read earlier, and counts here.
    base : str, optional
        A file whose maps are not counted: the coadd to which those of others are added.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        done: Mapping[int, Counter[str]] | None = None,
        base: str | None = None,
    ):
        self._base = base
        self.done: dict[int, Counter[str]] = dict(done or {})
        self._whole = {piece.file for piece in pieces if piece.is_whole}
        self._of_pieces: Counter[str] = Counter()
        self._in_pieces: set[int] = set()  # files read in pieces, in which maps were seen
        self._file = -1
        self._seen: Counter[str] = Counter()

    def see(self, frame: Frame) -> None:
        """Count a frame that was read, of any type."""
        unit = unit_of(frame)
        if unit is not None and unit.position != self._file:
            self.end_file()
            self._file = unit.position
        counts = unit is None or unit.file != self._base
        if frame.type == core.G3FrameType.Map and counts:
            self._seen[str(frame.get("Id", None))] += 1

    @property
    def with_maps(self) -> frozenset[int]:
        """The files in which Map frames were seen."""
        whole = {file for file, seen in self.done.items() if seen}
        return frozenset(whole | self._in_pieces | ({self._file} if self._seen else set()))

    def end_file(self) -> None:
        """Take note that the file of the last frame was read to its end."""
        if self._file in self._whole:
            self.done[self._file] = self._seen
        else:
            self._of_pieces += self._seen
            self._in_pieces |= {self._file} if self._seen else set()
        self._file, self._seen = -1, Counter()

    @property
    def n_read(self) -> Counter[str]:
        """How many Map frames of each Id were read, in this run and in those before."""
        return sum(self.done.values(), self._of_pieces + self._seen)
