"""States of any kind, combined whole over all ranks: along a tree, or one rank after another.

A state is sent as its pickled structure and its arrays as buffers. A rank on which a user's
function fails sends a note of that instead of its state, so that the others do not wait for it.
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
from ..mpi import communicators, meetings, waiting
from ..mpi.agreement import agree, collectively
from ..strategies.nodes import nodes_of
from ..strategies.registry import AUTO, check_names
from ..strategies.traffic import Statistics, Traffic
from .states import Array, ArrayLeaf, array_leaves, put_together, take_apart

if TYPE_CHECKING:
    from mpi4py import MPI

WAYS = ("tree", "gather")
_RESULTS = ("root", "all")

Bytes: TypeAlias = NDArray[np.uint8]
Combine: TypeAlias = "Callable[[Any, Any], Any]"


def check_whole(reduction: Reduction, strategy: str, result: str) -> None:
    """Check that a strategy can do a reduction that is not elementwise.

    Raises
    ------
    UsageError
        If not, with the list of what can be chosen.
    """
    check_names(strategy, result)
    for name, value, possible in (
        ("strategy", strategy, (AUTO, *WAYS)),
        ("result", result, _RESULTS),
    ):
        if value not in possible:
            raise UsageError(
                f"The reduction {reduction.name!r} is not elementwise (it names no MPI operation), "
                f"so its states are combined whole: {name}={value!r} cannot do that; these can: "
                f"{', '.join(possible)}."
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
    work = _Work(traffic, combine, mine)
    with meetings.counted_on(comm, "the reduction"):
        # All goes to rank 0, where the order of ranks begins.
        work.to_rank_0(chosen, commutes)
        if result == "root" and root != 0:
            if comm.rank == 0:
                work.send(root)
            elif comm.rank == root:
                work.state = work.receive(0)
    agree(comm, work.failure)
    if result == "all":
        work.state = _broadcast(comm, work)
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
    """The state of this rank while states are combined, or the error that came instead."""

    def __init__(self, traffic: Traffic, combine: Combine, state: Any):
        self.traffic = traffic
        self.state = state
        self.failure: Exception | None = None
        self._others_failed = False
        self._combine = combine

    def to_rank_0(self, strategy: str, commutes: bool) -> None:
        """Combine the states of all ranks on rank 0."""
        from mpi4py import MPI

        others = range(1, self.traffic.size)
        if strategy == "tree":
            sources, dest = self.traffic.tree()
        elif self.traffic.rank:
            sources, dest = [], 0
        else:
            sources, dest = [MPI.ANY_SOURCE for _ in others] if commutes else list(others), None
        for source in sources:
            theirs = self.receive(source)
            if self.failure is None and not self._others_failed:
                try:
                    self.state = self._combine(self.state, theirs)
                except Exception as error:  # sent on instead of the state
                    self.failure = error
        if dest is not None:
            self.send(dest)

    def pack(self) -> _Packed:
        """The state as its structure and its arrays, ready to be sent."""
        structure, arrays = take_apart(self.state)
        head = np.frombuffer(pickle.dumps(structure, pickle.HIGHEST_PROTOCOL), np.uint8)
        leaves = array_leaves(structure)
        native = [np.asarray(a, leaf.dtype) for a, leaf in zip(arrays, leaves, strict=True)]
        return _Packed(_Shapes(len(head), leaves), [head, *map(_bytes_of, native)])

    def send(self, dest: int) -> None:
        """Send the state, and keep it no longer; or a note that there is none."""
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
    """The sizes of a state, which are sent before it: the length of its head, and its arrays."""

    head: int
    leaves: list[ArrayLeaf]


class _Packed(NamedTuple):
    """A state as it is sent: its pickled structure and its arrays, all as bytes."""

    shapes: _Shapes
    buffers: list[Bytes]

    @classmethod
    def empty(cls, shapes: _Shapes) -> _Packed:
        """Buffers for a state that is to be received."""
        sizes = [shapes.head, *(prod(leaf.shape) * leaf.dtype.itemsize for leaf in shapes.leaves)]
        return cls(shapes, [np.empty(size, np.uint8) for size in sizes])

    def unpack(self) -> Any:
        """The state that was sent."""
        head, *buffers = self.buffers
        arrays = [
            buffer.view(leaf.dtype).reshape(leaf.shape)
            for buffer, leaf in zip(buffers, self.shapes.leaves, strict=True)
        ]
        return put_together(pickle.loads(head.tobytes()), arrays)


def _bytes_of(array: Array) -> Bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _broadcast(comm: MPI.Intracomm, work: _Work) -> Any:
    """Bring the state of rank 0 to all. Collective."""
    mine = collectively(comm, lambda: work.pack() if comm.rank == 0 else None)
    with meetings.counted_on(comm, "the reduction"):
        shapes = comm.bcast(mine and mine.shapes)
        packed = mine or _Packed.empty(shapes)
        for buffer in packed.buffers:
            work.traffic.broadcast(buffer)
    return collectively(comm, lambda: work.state if comm.rank == 0 else packed.unpack())
