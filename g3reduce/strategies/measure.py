"""Measure how fast this machine is, in a fraction of a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
from numpy.typing import NDArray

from .costs import Machine
from .nodes import Nodes

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
    within = _pair(nodes.node)
    between = _pair(first_ranks) if first_ranks is not None else (0.0, 0.0)
    array = np.zeros(_LONG // 8)
    other = np.ones(_LONG // 8)
    adding = _seconds(comm, lambda: np.add(array, other, out=array))
    mine = np.array([*within, *between, adding])
    comm.Allreduce(MPI.IN_PLACE, mine, MPI.MAX)
    short_within, long_within, short_between, long_between, adding = mine.tolist()
    return Machine(
        latency_within=short_within or given.latency_within,
        bandwidth_within=_LONG / long_within if long_within else given.bandwidth_within,
        latency_between=short_between or given.latency_between,
        bandwidth_between=_LONG / long_between if long_between else given.bandwidth_between,
        adding=_LONG / adding if adding else given.adding,
    )


def _filled(size: int) -> NDArray[np.uint8]:
    """Memory that was used: pages of nothing but zeros would come out of the cache."""
    return np.ones(size, np.uint8)


def _pair(comm: object) -> tuple[float, float]:
    """Seconds that a short and a long message take to the neighbour; 0 for a rank without one."""
    from mpi4py import MPI

    if not isinstance(comm, MPI.Intracomm):
        return 0.0, 0.0
    other = comm.rank ^ 1
    if other >= comm.size:
        other = MPI.PROC_NULL
    times = []
    for size in (_SHORT, _LONG):
        out, into = _filled(size), _filled(size)

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
