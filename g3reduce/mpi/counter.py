"""A counter that all ranks share: how files are handed out on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .communicators import Comm, OneProcess, cache_of
from .jobend import at_end
from .serving import must_serve, serve_while_there

if TYPE_CHECKING:
    from mpi4py import MPI


class _Counters:
    """Numbers in rank 0's memory, one window for a communicator, whose slots are used in turn."""

    # How many counters of one communicator may be in use at a time.
    _SLOTS = 4096

    def __init__(self, comm: MPI.Intracomm):
        from mpi4py import MPI

        own = 8 * self._SLOTS if comm.rank == 0 else 0
        self.window = MPI.Win.Allocate(own, 8, comm=comm)
        # One lock for good: asking for it each time would wait for rank 0 to enter MPI.
        self.window.Lock_all()
        self._used = 0
        self._clear_next(comm)
        comm.Barrier()
        # Some libraries complain of what is left when they end.
        at_end(self.free)

    def take(self, comm: MPI.Intracomm) -> int:
        """The number of a slot that holds 0. On all ranks, and after they have met."""
        slot = self._used % self._SLOTS
        self._used += 1
        self._clear_next(comm)
        return slot

    def _clear_next(self, comm: MPI.Intracomm) -> None:
        """Let the next slot be 0; ranks meet before they use it, so that none is too early."""
        if comm.rank == 0:
            begin = 8 * (self._used % self._SLOTS)
            self.window.tomemory()[begin : begin + 8] = bytes(8)
            self.window.Sync()

    def free(self) -> None:
        """Release the memory. Collective; does nothing the second time."""
        from mpi4py import MPI

        if self.window != MPI.WIN_NULL and not MPI.Is_finalized():
            self.window.Unlock_all()
            self.window.Free()


class SharedCounter:
    """Hands out 0, 1, 2, ... so that each number reaches one rank only. Collective over `comm`.

    Each is made directly after an agreement: if some ranks made one and others did not, they would
    count apart from then on. Where several are made at once, ranks meet before they use the second.
    The numbers lie in rank 0's memory and are fetched one-sidedly, so that rank 0 may compute
    meanwhile; as long as the counter is there, a thread of it answers other hosts (`serving`).

    Parameters
    ----------
    comm : communicator
        One that `private` gave.
    """

    # Far above any number of files, far below overflow.
    _STOPPED = 2**40

    def __init__(self, comm: Comm):
        self._count = 0
        self._counters: _Counters | None = None
        if not isinstance(comm, OneProcess):
            cache = cache_of(comm)
            if "counters" not in cache.entries:
                cache.entries["counters"] = made = _Counters(comm)
                cache.on_free.append(made.free)
            self._counters = cache.entries["counters"]
            self._slot = cache.entries["counters"].take(comm)
            if must_serve(comm):
                serve_while_there(self)

    def next(self) -> int:
        """Take the next number."""
        return self._fetch_and_add(1)

    def stop(self) -> None:
        """Let every rank's next number be out of any range, for example after an error."""
        self._fetch_and_add(self._STOPPED)

    @property
    def stopped(self) -> bool:
        """Whether some rank has called `stop`."""
        return self._fetch_and_add(0) >= self._STOPPED

    def _fetch_and_add(self, increment: int) -> int:
        if self._counters is None:
            self._count += increment
            return self._count - increment
        add, before = np.array([increment], dtype="i8"), np.empty(1, dtype="i8")
        self._counters.window.Fetch_and_op(add, before, 0, self._slot)
        self._counters.window.Flush(0)
        return int(before[0])
