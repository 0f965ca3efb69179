"""The board: memory of rank 0 in which each rank notes the files that it begins and ends.

There is a row for each file, or for each piece of one that several ranks read. A rank puts its row
there by a one-sided put of 64 bytes, so that rank 0 may compute meanwhile, and nobody waits. Rank 0
looks at its own memory without a call of MPI; a row that is only half there is known by its check.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..g3files.pieces import Piece
from ..mpi.communicators import Comm, OneProcess, cache_of
from ..mpi.jobend import at_end
from ..mpi.serving import must_serve, serve_while_there

if TYPE_CHECKING:
    from mpi4py import MPI

STARTED, DONE, BAD = 1, 2, 3

# state, rank, when it began and ended (microseconds), bytes, frames, nothing yet, check
_ROW = struct.Struct("=8q")
_COLUMNS = 8
_MAGIC = 0x6733726564756365

# A put is sure to arrive at the next flush. Each may have to wait until rank 0 enters MPI.
_FLUSH_S = 0.5


class _Memory:
    """Bytes of rank 0, one window for a communicator, which is made again if it is too small."""

    def __init__(self, comm: MPI.Intracomm):
        self._comm = comm
        self.window: Any = None
        self.n_rows = 0
        self.epoch = 0
        at_end(self.free)

    def grow(self, n_rows: int) -> None:
        """Have at least so many rows. Collective."""
        from mpi4py import MPI

        if n_rows <= self.n_rows:
            return
        self.free()
        self.n_rows = max(1024, 2 * self.n_rows, n_rows)
        own = _ROW.size * self.n_rows if self._comm.rank == 0 else 0
        self.window = MPI.Win.Allocate(own, 1, comm=self._comm)
        self.window.Lock_all()

    def free(self) -> None:
        """Release the memory. Collective; does nothing the second time."""
        from mpi4py import MPI

        window, self.window = self.window, None
        if window is not None and not MPI.Is_finalized():
            window.Unlock_all()
            window.Free()


class Board:
    """The rows of all pieces that are read in one pass over files. Collective over `comm`.

    To be made directly after an agreement.

    Parameters
    ----------
    comm : communicator
        One that `private` gave.
    n_files : int
    pieces : sequence of Piece
        What is to be read: the same on all ranks.
    began : float
        Time 0 on this rank, as `time.perf_counter` gives it.
    """

    def __init__(self, comm: Comm, n_files: int, pieces: Sequence[Piece], began: float):
        self._began = began
        self._rank = comm.rank
        # Whole files have the row of their position; pieces of files come behind them.
        cut = [piece for piece in pieces if not piece.is_whole]
        self._cut = {(piece.file, piece.part): n_files + n for n, piece in enumerate(cut)}
        self.n_rows = n_files + len(cut)
        self._buffer = bytearray(_ROW.size)
        self._window: Any = None
        self._flush_at = 0.0
        self._epoch = 0
        self._memory: Any = None
        if isinstance(comm, OneProcess):
            self._memory = memoryview(bytearray(_ROW.size * self.n_rows))
            return
        entries = cache_of(comm).entries
        if "board" not in entries:
            entries["board"] = made = _Memory(comm)
            cache_of(comm).on_free.append(made.free)
        memory: _Memory = entries["board"]
        memory.grow(self.n_rows)
        memory.epoch += 1  # rows of an earlier pass do not count
        self._epoch = memory.epoch
        self._window = memory.window
        if self._rank == 0:
            self._memory = memoryview(memory.window.tomemory())[: _ROW.size * self.n_rows]
            self._memory[:] = bytes(len(self._memory))
            self._window.Sync()
        comm.Barrier()
        if must_serve(comm):
            serve_while_there(self)

    def row_of(self, piece: Piece) -> int:
        """The row of a piece."""
        return piece.file if piece.is_whole else self._cut[piece.file, piece.part]

    @property
    def cut(self) -> Mapping[tuple[int, int], int]:
        """The rows of pieces of files: by file and part."""
        return self._cut

    def now(self) -> int:
        """Microseconds since the work began."""
        return int(1e6 * (time.perf_counter() - self._began))

    def put(
        self, row: int, state: int, begin: int, end: int = 0, n_bytes: int = 0, n_frames: int = 0
    ) -> None:
        """Note the state of a piece that this rank reads."""
        values = self._values(state, begin, end, n_bytes, n_frames)
        at = _ROW.size * row
        if self._memory is not None:
            _ROW.pack_into(self._memory, at, *values)
            return
        _ROW.pack_into(self._buffer, 0, *values)
        self._window.Put(self._buffer, 0, at)
        now = time.perf_counter()
        if now > self._flush_at:
            self._flush_at = now + _FLUSH_S
            self._window.Flush(0)
        else:
            self._window.Flush_local(0)

    def _values(
        self, state: int, begin: int = 0, end: int = 0, n_bytes: int = 0, n_frames: int = 0
    ) -> tuple[int, ...]:
        check = state ^ self._rank ^ begin ^ end ^ n_bytes ^ n_frames ^ self._epoch ^ _MAGIC
        return state, self._rank, begin, end, n_bytes, n_frames, 0, check

    def put_failure(self, row: int) -> None:
        """Note that this rank has failed, without any wait for rank 0: it may not come any more."""
        if self._window:
            _ROW.pack_into(self._buffer, 0, *self._values(BAD))
            self._window.Put(self._buffer, 0, _ROW.size * row)

    def end(self) -> None:
        """Let all that this rank has put be there."""
        if self._memory is None:
            self._window.Flush(0)

    def rows(self) -> Any:
        """On rank 0: all rows, as an array of int64 of which only `sound` rows count."""
        return np.frombuffer(self._memory, np.int64).reshape(-1, _COLUMNS)

    def sound(self, rows: Any) -> Any:
        """Which of these rows are whole, and of this pass."""
        return np.bitwise_xor.reduce(rows, axis=1) == self._epoch ^ _MAGIC
