"""States of any kind, combined whole: pairs of ranks, then pairs of pairs, or one after another.

A state goes as a small message that tells how it is built (pickled) and its arrays as buffers. A
rank on which a user's function fails tells so in the place of its state; so nobody waits in vain.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..arrays.reduction import Reduction
from ..errors import UsageError
from ..mpi import communicators, waiting
from ..mpi.agreement import agree, collectively
from ..strategies.nodes import nodes_of
from ..strategies.registry import AUTO, RESULTS, names
from ..strategies.traffic import Statistics, Traffic
from .states import Array, ArrayLeaf, array_leaves, put_together, take_apart

if TYPE_CHECKING:
    from mpi4py import MPI

WAYS = ("tree", "gather")
_RESULTS = ("root", "all")

Bytes: TypeAlias = NDArray[np.uint8]
Combine: TypeAlias = "Callable[[Any, Any], Any]"


def check_whole(reduction: Reduction, strategy: str, result: str) -> None:
    """Find out whether a user's choice can be met for a reduction that is not elementwise.

    Raises
    ------
    UsageError
        With the list of what can be chosen.
    """
    why = (
        f"The reduction {reduction.name!r} is not elementwise (it names no MPI operation), so its "
        "states are combined whole"
    )
    if result not in RESULTS:
        raise UsageError(f"result is {result!r}; expected one of {', '.join(RESULTS)}.")
    if result not in _RESULTS:
        raise UsageError(f"{why}: result={result!r} is not possible; these are: root, all.")
    if strategy not in (AUTO, *WAYS):
        known = strategy in {name for where in RESULTS for name in names(where)}
        what = "cannot do that" if known else "is not known"
        raise UsageError(
            f"{why}: strategy={strategy!r} {what}; these can: {', '.join((AUTO, *WAYS))}."
        )


def join_whole(
    comm: communicators.Comm,
    mine: Any,
    combine: Combine,
    strategy: str,
    *,
    commutes: bool,
    result: str,
    root: int,
) -> tuple[Any, Statistics]:
    """Combine what the ranks hold, in their order. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    mine : object
        Not None. It is used up.
    combine : callable
    strategy : {"auto", "tree", "gather"}
    commutes : bool
        Whether the order does not matter: then ``"gather"`` takes what comes first.
    result : {"root", "all"}
    root : int

    Returns
    -------
    state : object
        On the ranks that get the result, else None.
    statistics : Statistics

    Raises
    ------
    Exception
        On all ranks, if `combine` fails on any: there its error.
    """
    if isinstance(comm, communicators.OneProcess):
        return mine, Statistics()
    start, traffic = time.perf_counter(), Traffic(comm)
    nodes = nodes_of(comm).count
    chosen = WAYS[0] if strategy == AUTO else strategy
    waiting.meet(comm, "the reduction")
    # All goes to rank 0, where the order of ranks begins.
    work = _Work(traffic, combine, mine)
    if chosen == "tree":
        work.tree()
    else:
        work.gather(commutes)
    if result == "root" and root != 0:
        if comm.rank == 0:
            work.send(root)
        elif comm.rank == root:
            work.state = work.receive(0)
    agree(comm, work.failure)
    if result == "all":
        work.state = _from_first(comm, work)
    statistics = Statistics(
        strategy=chosen,
        why="states are combined whole" + ("" if strategy == AUTO else ", named by the user"),
        ranks=comm.size,
        nodes=nodes,
        bytes_sent=traffic.bytes_sent,
        bytes_received=traffic.bytes_received,
        messages=traffic.messages,
        seconds=time.perf_counter() - start,
    )
    return (work.state if result == "all" or comm.rank == root else None), statistics


class _Work:
    """The state of this rank on its way, or what went wrong with it."""

    def __init__(self, traffic: Traffic, combine: Combine, state: Any):
        self.traffic = traffic
        self.state = state
        self.failure: Exception | None = None
        self._others_failed = False
        self._combine = combine

    def tree(self) -> None:
        """Rank r combines with r + 1, what these have with that of r + 2, and so on."""
        rank, size, distance = self.traffic.rank, self.traffic.size, 1
        while distance < size:
            if rank & distance:
                self.send(rank - distance)
                return
            if rank + distance < size:
                self._take(self.receive(rank + distance))
            distance *= 2

    def gather(self, commutes: bool) -> None:
        """Rank 0 takes one after another."""
        from mpi4py import MPI

        if self.traffic.rank:
            self.send(0)
            return
        for rank in range(1, self.traffic.size):
            self._take(self.receive(MPI.ANY_SOURCE if commutes else rank))

    def _take(self, theirs: Any) -> None:
        if self.failure is not None or self._others_failed:
            return
        try:
            self.state = self._combine(self.state, theirs)
        except Exception as error:  # told to the others instead of the state
            self.failure = error

    def pack(self) -> _Packed:
        """The state, ready to travel."""
        structure, arrays = take_apart(self.state)
        head = np.frombuffer(pickle.dumps(structure, pickle.HIGHEST_PROTOCOL), np.uint8)
        leaves = array_leaves(structure)
        native = [np.asarray(a, leaf.dtype) for a, leaf in zip(arrays, leaves, strict=True)]
        return _Packed(_Shapes(len(head), leaves), [head, *map(_bytes_of, native)])

    def send(self, dest: int) -> None:
        """Send the state, and keep it no longer; or tell that there is none."""
        packed = None
        if self.failure is None and not self._others_failed:
            try:
                packed = self.pack()
            except Exception as error:  # what cannot be pickled
                self.failure = error
        self.traffic.comm.send(packed and packed.shapes, dest)
        for buffer in packed.buffers if packed else ():
            self.traffic.send(buffer, dest)
        self.state = None

    def receive(self, source: int) -> Any:
        """Receive a state; None if there is none."""
        from mpi4py import MPI

        status = MPI.Status()
        shapes = self.traffic.comm.recv(source=source, status=status)
        if shapes is None:
            self._others_failed = True
            return None
        packed = _Packed.empty(shapes)
        for buffer in packed.buffers:
            self.traffic.receive(buffer, status.Get_source())
        try:
            return packed.unpack()
        except Exception as error:  # what cannot be made here
            self.failure = error
            return None


class _Shapes(NamedTuple):
    """What is to be known before a state comes: the length of its head, and its arrays."""

    head: int
    leaves: list[ArrayLeaf]


class _Packed(NamedTuple):
    """A state on its way: its pickled structure and its arrays, all as bytes."""

    shapes: _Shapes
    buffers: list[Bytes]

    @classmethod
    def empty(cls, shapes: _Shapes) -> _Packed:
        """Room for a state."""
        sizes = [shapes.head, *(prod(leaf.shape) * leaf.dtype.itemsize for leaf in shapes.leaves)]
        return cls(shapes, [np.empty(size, np.uint8) for size in sizes])

    def unpack(self) -> Any:
        """The state."""
        head, *buffers = self.buffers
        arrays = [
            buffer.view(leaf.dtype).reshape(leaf.shape)
            for buffer, leaf in zip(buffers, self.shapes.leaves, strict=True)
        ]
        return put_together(pickle.loads(head.tobytes()), arrays)


def _bytes_of(array: Array) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _from_first(comm: MPI.Intracomm, work: _Work) -> Any:
    """Bring the state of rank 0 to all. Collective."""
    mine = collectively(comm, lambda: work.pack() if comm.rank == 0 else None)
    shapes = comm.bcast(mine and mine.shapes)
    packed = mine or _Packed.empty(shapes)
    for buffer in packed.buffers:
        work.traffic.broadcast(buffer)
    return collectively(comm, lambda: work.state if comm.rank == 0 else packed.unpack())
