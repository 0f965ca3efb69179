"""Communicators of our own: who holds them, and how they are given back after an error.

MPI libraries have a limited number of communicators (MPICH: 2048), so none may be forgotten, also
where an error leaves a module without its end. To free one is collective work, for which nobody
may be missing. And what is still under way on it must not turn up on the next one.
"""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from typing import Any, TypeAlias

from . import waiting
from .messages import drain

# The same on all ranks of a communicator: its ranks (hashed), how often these made one, and size.
Key: TypeAlias = "tuple[int, int, int]"

_made: Counter[tuple[int, ...]] = Counter()
_held: weakref.WeakValueDictionary[Key, Any] = weakref.WeakValueDictionary()

# Those whose last holder on this rank is gone. Other ranks may notice later.
_forgotten: dict[Key, Any] = {}


def own(comm: Any) -> Any:
    """Take possession of a communicator that was just made."""
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
    """Free a communicator when all its ranks are known to be here. Collective over `comm`."""
    from mpi4py import MPI

    if isinstance(comm, MPI.Intracomm):
        MPI.Intracomm.Free(comm)


@functools.cache
def _kind() -> type:
    from mpi4py import MPI

    class OwnComm(MPI.Intracomm):
        """A communicator that is not freed unless all its ranks are there to do it."""

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
