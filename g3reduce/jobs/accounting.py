"""The account of a coadd that is done: what it took on each rank, and what it covers."""

from __future__ import annotations

from collections.abc import Mapping

from ..coadd.joining import Coadd
from ..maps.coverage import Coverage
from ..mpi.communicators import Comm
from ..progress.events import Summarised
from ..progress.timing import Stopwatch, Timing
from ..progress.watching import Watch
from ..strategies.traffic import Statistics


def account(comm: Comm, stopwatch: Stopwatch, mine: Statistics, watch: Watch) -> Timing:
    """What it took on all ranks; those who watch are told of it. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
        Whose ranks have just met.
    stopwatch : Stopwatch
    mine : Statistics
        What this rank did to join its sums with those of the others.
    watch : Watch
    """
    timing = stopwatch.timing(
        comm.rank,
        bytes_sent=mine.bytes_sent,
        bytes_received=mine.bytes_received,
        bytes_direct=mine.bytes_direct,
    )
    everywhere = comm.allgather((timing, mine.seconds))
    whole = Timing(tuple(one for one, _ in everywhere))
    watch.tell(
        lambda now: Summarised(
            time=now,
            strategy=mine.strategy,
            why=mine.why,
            nodes=mine.nodes,
            seconds=max(seconds for _, seconds in everywhere),
            predicted=mine.predicted,
            bytes_moved=whole.bytes_moved,
            ranks=whole.ranks,
        )
    )
    return whole


def coverage_of(coadds: Mapping[str, Coadd]) -> dict[str, Coverage]:
    """What coadds that are here cover, by Id; sign flips cover what their coadd does."""
    return {
        name: Coverage.of(coadd.total)
        for name, coadd in coadds.items()
        if "base" not in coadd.record
    }
