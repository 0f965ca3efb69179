"""Opening of files of maps whose maps are only to be added."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..coadd.provenance import OBSERVED
from ..formats.kinds import format_of
from ..formats.reading import frames_of as frames_of_other
from ..g3files.decoding import decoded, note
from ..g3files.frames import RawFrame
from ..g3files.names import is_stream
from ..g3files.outlines import Outlines
from ..g3files.pieces import Piece, Walk, plan
from ..g3files.source import Stamp
from ..maps.assumed import Assumed
from ..maps.mapfile import best_of, frames_of
from ..mpi import communicators
from ..mpi.agreement import from_rank
from ..pipeline.reader import WholeFiles
from ..spt3gtypes import Frame

# If this variable of the environment is "spt3g", spt3g reads all files, also those whose maps could
# be added without it.
READ_WITH, SPT3G = "G3REDUCE_READ_WITH", "spt3g"


def pieces_of(files: Sequence[str], n_ranks: int) -> list[Piece]:
    """The pieces in which files of maps are handed out to so many ranks."""
    return plan(files, 1 if _by_spt3g() else n_ranks)


class MapOpener(WholeFiles):
    """Opens files for `MPIFileReader` so that the pixels of maps stay in the file until they are
    added.

    Large files that are not compressed are handed out in pieces: each frame is read by one rank,
    whatever rank reads those before it. Frames before a piece that name an observation are passed
    on.

    Parameters
    ----------
    assumed : Assumed, optional
        What holds of FITS and HDF5 files whose headers are silent.
    """

    def __init__(self, assumed: Assumed | None = None) -> None:
        self._assumed = assumed or Assumed()
        self._walk: Walk | None = None
        self._walked = "", 0, 0  # the file, its number, and the latest piece of it
        self._outlines = Outlines()

    def pieces(self, comm: communicators.Comm, files: Sequence[str]) -> list[Piece]:
        """Large files in pieces, as rank 0 sees them. Collective over `comm`."""
        return from_rank(comm, 0, lambda: pieces_of(files, comm.size))

    def frames(self, file: str, piece: Piece) -> Iterator[tuple[int, Frame]]:
        """Map frames as `StoredFrame` where that is possible, others as spt3g has them."""
        if piece.stamp is not None:
            return self._frames_of_piece(file, piece, piece.stamp)
        if not is_stream(file) and format_of(file) != "g3":
            return enumerate(frames_of_other(file, self._assumed))
        if is_stream(file):
            note(file, "a stream")
        elif _by_spt3g():
            note(file, f"by {READ_WITH}={SPT3G}, what there is")
        else:
            return enumerate(frames_of(file, self._outlines))
        return super().frames(file, piece)

    def _frames_of_piece(
        self, file: str, piece: Piece, stamp: Stamp
    ) -> Iterator[tuple[int, Frame]]:
        # A file may come twice, in one parallel block or in two; a walk does not go back.
        *before, part = self._walked
        if self._walk is None or before != [file, piece.file] or piece.part <= part:
            self._walk = Walk(file, stamp)
        self._walked = file, piece.file, piece.part
        for index, met, inside in self._walk.to_the_end_of(piece):
            if not inside:
                yield index, _observation_in(met)
            else:
                yield index, best_of(self._outlines, met) if isinstance(met, RawFrame) else met


class _BeforePiece:
    """A frame before a piece, of which only the observation is of use."""

    type = None

    def __init__(self, keys: Sequence[str], decode: Callable[[], Any]):
        self.unit: Any = None
        self._keys = keys
        self._decode = decode

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    @functools.cached_property
    def _frame(self) -> Frame:
        return self._decode()

    def __getitem__(self, key: str) -> Any:
        return self._frame[key]


def _observation_in(met: Any) -> _BeforePiece | None:
    """A frame before a piece, if it names an observation."""
    if isinstance(met, RawFrame):
        frame = _BeforePiece([blob.name for blob in met.blobs], lambda: decoded(met))
    else:
        frame = _BeforePiece(list(met.keys()), lambda: met)
    return frame if OBSERVED in frame else None


def _by_spt3g() -> bool:
    return os.environ.get(READ_WITH) == SPT3G
