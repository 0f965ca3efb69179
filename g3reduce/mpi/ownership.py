"""Communicators that belong to one module, and how they are freed after an error.

MPI libraries have a limited number of communicators (MPICH: 2048), so each must be freed, also
where an error leaves a module without its end. Freeing is collective: no rank may be missing.
Messages that are still under way must not come to the next communicator.
"""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from typing import Any, TypeAlias

from . import waiting

# Names a communicator on all its ranks: its ranks (hashed), how many they had made, and its size.
Key: TypeAlias = "tuple[int, int, int]"

# The tag of the last message of a rank, see `drain`; MPI promises tags up to 32767.
LAST = 31_999

_made: Counter[tuple[int, ...]] = Counter()
_held: weakref.WeakValueDictionary[Key, Any] = weakref.WeakValueDictionary()

# Those that no object on this rank holds any more. Other ranks may notice later.
_forgotten: dict[Key, Any] = {}


def own(comm: Any) -> Any:
    """Note down a communicator that was just made, as one that this process has to free."""
    kind = _kind()
    mine: Any = comm if isinstance(comm, kind) else kind(comm)
    mine.world_ranks = world_ranks(comm)
    _made[mine.world_ranks] += 1
    mine.key = (hash(mine.world_ranks), _made[mine.world_ranks], comm.size)
    _held[mine.key] = mine
    return mine


def world_ranks(comm: Any) -> tuple[int, ...]:
    """The ranks of a communicator, as they are numbered in the world."""
    from mpi4py import MPI

    known: tuple[int, ...] = getattr(comm, "world_ranks", ())
    if known:
        return known
    group, world = comm.Get_group(), MPI.COMM_WORLD.Get_group()
    ranks = tuple(MPI.Group.Translate_ranks(group, list(range(comm.size)), world))
    group.Free()
    world.Free()
    return ranks


def take_back(comm: Any, used: set[Key]) -> None:
    """Free communicators that errors have left behind. Collective over `comm`.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
    used : set
        Keys of those that this rank was using or has made, and that will not come to their end.
    """
    from mpi4py import MPI

    held = {key: mine for key, mine in _held.items() if mine != MPI.COMM_NULL}
    everywhere = comm.allgather((set(held), used, set(_forgotten)))
    on_ranks: Counter[Key] = Counter()
    forgotten: Counter[Key] = Counter()
    in_use: set[Key] = set()
    for theirs, their_used, their_forgotten in everywhere:
        on_ranks.update(theirs | their_forgotten)
        forgotten.update(their_forgotten)
        in_use |= their_used
    for key in sorted(on_ranks):
        size = key[2]
        if on_ranks[key] == size and (key in in_use or forgotten[key] == size):
            mine = held.get(key) or _forgotten.pop(key, None)
            if mine is not None:
                drain(mine)
                free(mine)


def free(comm: Any) -> None:
    """Free a communicator without a meeting of its ranks before. Collective over `comm`."""
    from mpi4py import MPI

    if isinstance(comm, MPI.Intracomm):
        MPI.Intracomm.Free(comm)


def drain(comm: Any, ended: set[int] | None = None) -> None:
    """Receive and forget all messages that are under way. Collective over `comm`.

    Messages between two ranks keep their order, so after the last message of each no more come.
    """
    from mpi4py import MPI

    others = [rank for rank in range(comm.size) if rank != comm.rank]
    last = [comm.Isend([None, 0, MPI.BYTE], rank, LAST) for rank in others]
    missing = set(others) - (ended or set())
    status = MPI.Status()
    while missing:
        comm.Probe(MPI.ANY_SOURCE, MPI.ANY_TAG, status)
        content = bytearray(status.Get_count(MPI.BYTE))
        comm.Recv([content, MPI.BYTE], status.source, status.tag)
        if status.tag == LAST:
            missing.discard(status.source)
    MPI.Request.Waitall(last)
    comm.Barrier()  # until then senders of what is large must stay in MPI


@functools.cache
def _kind() -> type:
    from mpi4py import MPI

    class OwnComm(MPI.Intracomm):
        """A communicator that is not freed before all its ranks have come to do it."""

        key: Key | None = None
        world_ranks: tuple[int, ...] = ()

        def Free(self) -> None:
            """Free it, if this was not done yet. Collective."""
            if self != MPI.COMM_NULL:
                waiting.meet(self, "the end of a module")
                super().Free()

        def __del__(self) -> None:
            if self.key is not None and not MPI.Is_finalized() and self != MPI.COMM_NULL:
                kept = OwnComm(self)
                kept.world_ranks = self.world_ranks
                _forgotten[self.key] = kept

    return OwnComm
