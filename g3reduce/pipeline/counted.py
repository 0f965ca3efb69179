"""How far all readers of a distributor are, as the first of them knows it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..g3files.names import about_bytes
from ..mpi.communicators import Comm, OneProcess, cache_of
from ..mpi.meetings import come_together
from ..progress import board as boards
from ..progress.events import Totals
from ..progress.flow import Flow
from ..spt3gtypes import Frame
from .units import length_in_file, unit_of


class Counted:
    """Counts the frames that each reader has read. Collective over `comm`.

    To be made directly after an agreement.

    Parameters
    ----------
    comm : communicator
        Of the readers; one that `private` gave.
    names : sequence of str
        The files.
    """

    def __init__(self, comm: Comm, names: Sequence[str]):
        self._comm = comm
        self._positions = {name: position for position, name in enumerate(names)}
        self._row = len(names) + comm.rank
        self._at, self._n_bytes, self._n_frames = -1, 0, 0
        self._board = boards.Board(comm, len(names) + comm.size, (), time.perf_counter())
        self._flow: Flow | None = None
        self._totals = Totals()
        if comm.rank == 0:
            # Lengths of frames do not tell how far one is in a file that is compressed.
            plain = all(name.endswith(".g3") for name in names)
            n_bytes = about_bytes(names) if plain else 0.0
            self._flow = Flow(self._board, names, n_bytes, Totals(), set())
            if not isinstance(comm, OneProcess):
                cache_of(comm).on_free.append(self._freeze)

    def count(self, frame: Frame) -> None:
        """Count a frame that this rank has read."""
        unit, now = unit_of(frame), self._board.now()
        if unit is None:
            return
        at = self._positions.get(unit.file, -1)
        if at not in (-1, self._at):
            self._board.put(at, boards.STARTED, now)
            self._at = at
        if not unit.shared or self._comm.rank == 0:  # all readers see those that are shared
            self._n_frames += 1
            self._n_bytes += length_in_file(frame)
        self._note(boards.STARTED, now)

    def end(self) -> None:
        """Let rank 0 know all that was counted. Collective."""
        self._note(boards.DONE, self._board.now())
        self._board.end()
        come_together(self._comm, "the end of their reading")
        self._freeze()

    def totals(self) -> Totals | None:
        """Those of all readers, on rank 0; None elsewhere."""
        if self._comm.rank:
            return None
        if self._flow is not None:
            list(self._flow.look(0.0, each_file=False))
            self._totals = self._flow.totals
        return self._totals

    def _freeze(self) -> None:
        """Keep the totals; the memory of the board may be released now."""
        self.totals()
        self._flow = None

    def _note(self, state: int, now: int) -> None:
        self._board.put(self._row, state, now, self._at + 1, self._n_bytes, self._n_frames)
