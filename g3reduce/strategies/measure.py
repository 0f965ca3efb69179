"""Measure how fast this machine is, in a fraction of a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..arrays import memory
from .costs import Machine
from .nodes import Nodes

T = TypeVar("T")
Array: TypeAlias = "NDArray[np.float64]"

# Bytes of the messages; the long ones do not fit in a cache, as little as what is to be joined.
_SHORT, _LONG = 8, 8 * 2**20
_REPEAT = 5


def measure(nodes: Nodes) -> Machine:
    """Measure the machine. Collective over the communicator of `nodes`.

    Ranks of a node exchange messages in pairs, all at a time; then the first ranks of neighbouring
    nodes do. The slowest counts.

    Returns
    -------
    Machine
        The same on all ranks. With one node, or one rank on each, the figures between nodes, or
        inside a node, are the default ones.
    """
    from mpi4py import MPI

    comm, given = nodes.comm, Machine()
    first_ranks = nodes.first_ranks(0)
    within = _pair(nodes.node, memory.shared() if nodes.shared else memory.PRIVATE)
    between = _pair(first_ranks) if first_ranks is not None else (0.0, 0.0)
    array = np.zeros(_LONG // 8)
    other = np.ones(_LONG // 8)
    adding = _seconds(comm, lambda: np.add(array, other, out=array))
    mapping, fresh = _sharing(nodes)
    mine = np.array([*within, *between, adding, mapping, fresh])
    comm.Allreduce(MPI.IN_PLACE, mine, MPI.MAX)
    short_within, long_within, short_between, long_between, adding, mapping, fresh = mine.tolist()
    return Machine(
        latency_within=short_within or given.latency_within,
        bandwidth_within=_LONG / long_within if long_within else given.bandwidth_within,
        latency_between=short_between or given.latency_between,
        bandwidth_between=_LONG / long_between if long_between else given.bandwidth_between,
        adding=_LONG / adding if adding else given.adding,
        mapping=_LONG / mapping if mapping else given.mapping,
        fresh=_LONG / fresh if fresh else given.fresh,
    )


def _sharing(nodes: Nodes) -> tuple[float, float]:
    """Seconds to map memory of the neighbour and add it, and to fill fresh memory that is shared.

    Both are 0 where memory is not shared, or refused. What is measured is the first touch, so
    nothing warms up.
    """
    if not nodes.shared:
        return 0.0, 0.0
    node, times = nodes.node, []
    total = np.zeros(_LONG // 8)
    neighbour = (node.rank + 1) % node.size
    for _ in range(_REPEAT):
        node.Barrier()
        filled, mine = _timed(_fresh)
        # All ranks come here, also if memory was refused on one.
        stretches = node.allgather(memory.shared().stretch_of(mine) if mine is not None else None)
        mapped, _ = _timed(_add_from, stretches[neighbour], total)
        times.append((mapped, filled))
        node.Barrier()  # before any rank frees what others read
    mapping, fresh = (median(column) for column in zip(*times, strict=True))
    return mapping, fresh


def _filled(size: int, room: memory.Memory) -> NDArray[np.generic]:
    """Memory that was used: pages of nothing but zeros would come out of the cache."""
    filled = room.zeros((size,), np.uint8)
    filled[:] = 1
    return filled


def _fresh() -> Array:
    array = memory.shared().require((_LONG // 8,), np.float64).view(np.float64)
    array[:] = 1
    return array


def _add_from(stretch: memory.Stretch | None, total: Array) -> None:
    if stretch is not None:
        np.add(total, memory.attach(stretch, 0, _LONG).view(np.float64), out=total)


def _timed(work: Callable[..., T], *arguments: object) -> tuple[float, T | None]:
    """Seconds that some work takes, and what it gives; 0 and None if the system refuses it."""
    start = time.perf_counter()
    try:
        outcome = work(*arguments)
    except OSError:
        return 0.0, None
    return time.perf_counter() - start, outcome


def _pair(comm: object, room: memory.Memory = memory.PRIVATE) -> tuple[float, float]:
    """Seconds that a short and a long message take to the neighbour; 0 for a rank without one.

    What is sent lies in `room`: from shared memory, where the sums of a node are, MPI may take
    twice the time.
    """
    from mpi4py import MPI

    if not isinstance(comm, MPI.Intracomm):
        return 0.0, 0.0
    other = comm.rank ^ 1
    if other >= comm.size:
        other = MPI.PROC_NULL
    times = []
    for size in (_SHORT, _LONG):
        out, into = _filled(size, room), np.ones(size, np.uint8)

        def swap(out: object = out, into: object = into) -> None:
            comm.Sendrecv(out, other, recvbuf=into, source=other)

        times.append(_seconds(comm, swap))
    return (0.0, 0.0) if other == MPI.PROC_NULL else (times[0], times[1])


def _seconds(comm: object, work: Callable[[], object]) -> float:
    """Seconds that work takes while all ranks do it: the median, without the first, slow time."""
    work()
    times = []
    for _ in range(_REPEAT):
        comm.Barrier()  # type: ignore[attr-defined]
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)
