"""Measure how fast this machine is, in a fraction of a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import memory
from .costs import Machine
from .nodes import Nodes
from .peers import address_of

if TYPE_CHECKING:
    from mpi4py import MPI

# Bytes of the messages; the long ones do not fit in a cache, as little as what is to be joined.
# Where even the middle ones take long, as over a slow link, they have to do.
_SHORT, _MIDDLE, _LONG = 8, 2**20, 8 * 2**20
# As much as messages bring at a time, and more than an allocator keeps for the next one.
_PIECE, _ANEW = 16 * 2**20, 48 * 2**20
_REPEAT = 5
_IN_A_ROW = 10  # short messages, whose time would else be that of waking up
_TAKES_LONG = 0.02


def measure(nodes: Nodes, *, direct: bool | None = None) -> Machine:
    """Measure the machine. Collective over the communicator of `nodes`.

    Ranks of a node exchange messages in pairs, all at a time; then the first ranks of neighbouring
    nodes do. The collectives of the library are timed among the ranks on which a strategy is going
    to use them. The slowest rank counts.

    Parameters
    ----------
    nodes : Nodes
    direct : bool, optional
        Whether only the first ranks of nodes take part in a strategy. Default: if ranks of a node
        use each other's memory.

    Returns
    -------
    Machine
        The same on all ranks. With one node, or one rank on each, the figures between nodes, or
        inside a node, are the default ones.
    """
    comm, given = nodes.comm, Machine()
    direct = nodes.direct if direct is None else direct
    first_ranks = nodes.first_ranks(0)
    within, between = _pairs(comm, nodes.node), _pairs(comm, first_ranks)
    size = _MIDDLE if max(within.long, between.long) > _TAKES_LONG else _LONG
    array, other = np.ones(_PIECE // 8), np.ones(_PIECE // 8)
    part = first_ranks if direct else comm
    meeting = _meeting(comm, part)
    rates = _library(comm, part, size, meeting)
    return Machine(
        latency_within=within.short or given.latency_within,
        bandwidth_within=within.rate or given.bandwidth_within,
        alone_within=within.alone or given.alone_within,
        meeting=meeting or given.meeting,
        latency_between=between.short or given.latency_between,
        bandwidth_between=between.rate or given.bandwidth_between,
        adding=_PIECE / _seconds(comm, lambda: np.add(array, other, out=array)),
        fresh=_LONG / _seconds(comm, _fill_fresh, typical=True),
        direct=_PIECE / seconds if (seconds := _reading(nodes, other)) else given.direct,
        reducing=rates.get("reducing"),
        allreducing=rates.get("allreducing"),
        scattering=rates.get("scattering"),
        swapping=rates.get("swapping"),
    )


class _Pairs(NamedTuple):
    """What messages take between neighbours, 0 where there are none.

    Attributes
    ----------
    short, long : float
        Seconds of a short and of a middle message.
    rate, alone : float
        Bytes per second while all pairs swap, and of one message from rank 1 to rank 0.
    """

    short: float
    long: float
    rate: float
    alone: float


def _pairs(comm: MPI.Intracomm, part: MPI.Intracomm | None) -> _Pairs:
    """Messages among the ranks of a part, while all parts do the same. Collective over `comm`."""
    from mpi4py import MPI

    number, size = (0, 1) if part is None else (part.rank, part.size)
    at = number ^ 1
    other = at if part is not None and at < size else MPI.PROC_NULL
    nobody = other == MPI.PROC_NULL

    def swapped(nbytes: int, times: int = 1) -> float:
        out, into = _filled(nbytes), _filled(nbytes)

        def swap() -> None:
            for _ in range(times):
                if part is not None:
                    part.Sendrecv(out, other, recvbuf=into, source=other)

        return _seconds(comm, swap, counts=not nobody) / times

    short, middle = swapped(_SHORT, _IN_A_ROW), swapped(_MIDDLE)
    nbytes = _MIDDLE if middle > _TAKES_LONG else _LONG
    long = middle if nbytes == _MIDDLE else swapped(nbytes)
    array = _filled(nbytes)

    def pass_on() -> None:
        if part is not None and size > 1 and number == 0:
            part.Recv(array, 1)
        elif part is not None and number == 1:
            part.Send(array, 0)

    alone = _seconds(comm, pass_on, counts=not nobody and number < 2)
    rates = [nbytes / seconds if seconds else 0.0 for seconds in (long, alone)]
    return _Pairs(short, middle, *rates)


def _meeting(comm: MPI.Intracomm, part: MPI.Intracomm | None) -> float:
    """Seconds in which the ranks of a part meet; 0 if there is one. Collective over `comm`."""
    from mpi4py import MPI

    mine, sum_of_all = np.ones(1), np.ones(1)

    def meet() -> None:
        for _ in range(_IN_A_ROW if part is not None else 0):
            part.Allreduce(mine, sum_of_all)  # type: ignore[union-attr]

    several = comm.allreduce(0 if part is None else part.size, MPI.MAX) > 1
    return _seconds(comm, meet) / _IN_A_ROW if several else 0.0


def _library(
    comm: MPI.Intracomm, part: MPI.Intracomm | None, nbytes: int, meeting: float
) -> dict[str, float]:
    """Bytes per second of collectives among the ranks of a part. Collective over `comm`."""
    from mpi4py import MPI

    if comm.allreduce(0 if part is None else part.size, MPI.MAX) < 2:
        return {}
    works: dict[str, Callable[[], object]] = dict.fromkeys(
        ("reducing", "allreducing", "scattering", "swapping"), lambda: None
    )
    if part is not None:
        each = nbytes // 8 // part.size
        mine, into = np.ones(each * part.size), np.ones(each * part.size)
        parts = [each] * part.size, [each * number for number in range(part.size)]
        works = {
            "reducing": lambda: part.Reduce(mine, into if part.rank == 0 else None),
            "allreducing": lambda: part.Allreduce(MPI.IN_PLACE, into),
            "scattering": lambda: part.Reduce_scatter_block(mine, into[:each]),
            "swapping": lambda: part.Alltoallv([mine, parts], [into, parts]),
        }
    rates = {}
    for name, work in works.items():
        seconds = _seconds(comm, work)
        rates[name] = nbytes / max(seconds - meeting, seconds / 4)  # without that each call meets
    return rates


def _reading(nodes: Nodes, array: NDArray[np.generic]) -> float:
    """Seconds to read an array of the neighbour on the node; 0 if that cannot be. Collective."""
    if not nodes.direct:
        return 0.0
    into = np.ones_like(array)
    addresses = nodes.node.allgather(address_of(array))
    other = (nodes.node.rank + 1) % nodes.node.size
    extents = np.array([[addresses[other], array.nbytes]], np.uint64)
    return _seconds(nodes.comm, lambda: nodes.peers.read(other, extents, into))


def _fill_fresh() -> None:
    """Fill the beginning of memory that the system has to bring."""
    memory.empty((_ANEW,), np.uint8)[:_LONG] = 1


def _filled(size: int) -> NDArray[np.uint8]:
    """Memory that was used: pages of nothing but zeros would come out of the cache."""
    return np.ones(size, np.uint8)


def _seconds(
    comm: MPI.Intracomm,
    work: Callable[[], object],
    *,
    counts: bool = True,
    typical: bool = False,
) -> float:
    """Seconds that work takes while all ranks do it, on the slowest of those where it counts.

    The least, without the first, slow time: what else the machine does only adds to it. Typical is
    the median, for what depends on the state of the machine. What takes long is timed less often.
    """
    from mpi4py import MPI

    def once() -> float:
        comm.Barrier()
        start = time.perf_counter()
        work()
        took = time.perf_counter() - start
        return float(comm.allreduce(took if counts else 0.0, MPI.MAX))

    first = once()
    repeat = _REPEAT if first < _TAKES_LONG else 3 if first < 10 * _TAKES_LONG else 1
    return (median if typical else min)([once() for _ in range(repeat)])
