"""Reading map frames on many ranks at once, where maps are only to be added."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..g3files.decoding import decoded, note
from ..g3files.frames import RawFrame
from ..g3files.names import is_stream
from ..g3files.pieces import Walk, plan
from ..maps.mapfile import Outlines, best_of, frames_of
from ..mpi import communicators
from ..mpi.agreement import from_rank
from ..pipeline.ledger import attach
from ..pipeline.reader import SCHEDULES, Block, Files, MPIFileReader, naming, unit_in
from .provenance import OBSERVED

# What this variable of the environment names (spt3g) reads all files, also those whose maps could
# be added without it.
READ_WITH, SPT3G = "G3REDUCE_READ_WITH", "spt3g"


class MapReader(MPIFileReader):
    """Reads files whose maps are only to be added: their pixels stay in the file until then.

    Large files that are not compressed are shared out by frames: each frame is read by one rank,
    whatever rank reads those before it. What names an observation on the way is passed on.
    """

    def __init__(
        self, mpicomm: communicators.Comm | None, files: Files, *, schedule: str = SCHEDULES[0]
    ):
        super().__init__(mpicomm, files, schedule=schedule)
        n_ranks = 1 if _by_spt3g() else self._comm.size
        self._pieces = from_rank(
            self._comm,
            0,
            lambda: {block.first_position: plan(block.files, n_ranks) for block in self._blocks},
        )
        self._walk: tuple[int, Walk] | None = None
        self._outlines: Outlines = {}

    @staticmethod
    def open_file(file: str) -> Iterator[Any]:
        """Map frames as `StoredFrame` where that can be, others as spt3g has them."""
        if is_stream(file):
            note(file, "a stream")
        elif _by_spt3g():
            note(file, f"by {READ_WITH}={SPT3G}, what there is")
        else:
            return frames_of(file)
        return MPIFileReader.open_file(file)

    def _n_shares(self, block: Block) -> int:
        return len(self._pieces[block.first_position])

    def _dealt_to_me(self, block: Block) -> Sequence[int]:
        # So that files whose frames all begin in one piece are dealt out as files are.
        rank, size = self._comm.rank, self._comm.size
        pieces = self._pieces[block.first_position]
        return [n for n, one in enumerate(pieces) if (one.file + one.part) % size == rank]

    def _share_of(self, block: Block, number: int) -> Iterator[Any]:
        piece = self._pieces[block.first_position][number]
        if piece.stamp is None:
            yield from super()._share_of(block, piece.file)
            return
        file, place, index = block.files[piece.file], block.first_position + piece.file, 0
        self._files_begun += not piece.part
        if self._walk is None or self._walk[0] != place:
            self._walk, self._outlines = (place, Walk(file, piece.stamp)), {}
        with naming(file, lambda: index):
            for index, met, inside in self._walk[1].to_the_end_of(piece):
                frame = self._own(met) if inside else _passed(met)
                if frame is not None:
                    attach(frame, unit_in(block, piece.file, index))
                    self._warn_of_maps(frame)
                    yield frame

    def _own(self, met: Any) -> Any:
        """A frame of a piece, as whole files give it."""
        return best_of(self._outlines, met) if isinstance(met, RawFrame) else met


class _Passed:
    """A frame on the way to a piece: only its observation is of use."""

    type = None

    def __init__(self, keys: Sequence[str], decode: Callable[[], Any]):
        self.unit: Any = None
        self._keys = keys
        self._decode = decode

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    @functools.cached_property
    def _frame(self) -> Any:
        return self._decode()

    def __getitem__(self, key: str) -> Any:
        return self._frame[key]


def _passed(met: Any) -> _Passed | None:
    if isinstance(met, RawFrame):
        keys = [blob.name for blob in met.blobs]
        passed = _Passed(keys, lambda: decoded(met))
    else:
        passed = _Passed(list(met.keys()), lambda: met)
    return passed if OBSERVED in passed else None


def _by_spt3g() -> bool:
    return os.environ.get(READ_WITH) == SPT3G
