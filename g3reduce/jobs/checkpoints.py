"""Checkpoints while frames are read and added: each rank writes its sums on its own clock.

The frames of ranks are different ones, so the files that ranks wrote at different moments belong
together all the same: no rank waits for another. A rank writes at the border between two frames,
and rank 0 commits a set when each rank has written something new.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..coadd.coadder import MPIMapCoadder
from ..errors import OutputError, Stopped
from ..mpi import waiting
from ..mpi.agreement import agree, collectively
from ..mpi.communicators import Comm, OneProcess
from ..mpi.stopping import StopRequest
from ..spt3glog import unit_logger
from .checkpointcommit import Coordinator, Report, Reporter, reason_of
from .checkpointfile import write_member
from .checkpointfolder import CheckpointFolder
from .checkpointset import Job, Manifest, Member, grouped
from .tally import Tally
from .work import NoCheckpoints

logger = unit_logger(__name__, "coadd_files")

# Between two files of a rank lies so many times what the last one took: less than 5 % of the time.
_COST = 20


# The mark of a rank that has no frame and has read no file.
_NOTHING: tuple[list[tuple[str, int]], int] = [], 0


class Checkpoints(NoCheckpoints):
    """Writes the sums of this rank from time to time, and stops when it is asked to.

    Parameters
    ----------
    comm : communicator
        One of its own.
    folder : CheckpointFolder
    job : Job or None
        On rank 0, which names it in the sets.
    n_files : int
    coadder : MPIMapCoadder
    request : StopRequest
        Open as long as this is used.
    every : float
        Seconds from one file of a rank to the next, or more where writing takes long.
    on_commit : callable
        As of `Coordinator`.
    """

    def __init__(
        self,
        comm: Comm,
        folder: CheckpointFolder,
        job: Job | None,
        n_files: int,
        coadder: MPIMapCoadder,
        request: StopRequest,
        every: float,
        on_commit: Callable[[Manifest], object] = lambda manifest: None,
    ):
        self._comm = comm
        self._folder = folder
        self._n_files = n_files
        self._coadder = coadder
        self._request = request
        self._every = every
        self._due_at = time.monotonic() + every
        self._reporter = Reporter(comm)
        self._coordinator = None
        if job is not None:
            self._coordinator = Coordinator(folder, job, comm.size, on_commit)
        self._tally = Tally(())
        self._written = 0
        self._latest = Member(comm.rank)
        self._reported_last = False
        self._marked: object = _NOTHING
        self._stops = False

    def begin(self, tally: Tally) -> None:
        """Begin to read, with the tally of this rank."""
        self._tally = tally

    @property
    def due(self) -> bool:
        """Whether this rank is to come to a border between two frames soon."""
        return self._request.came or self._request.warned or time.monotonic() >= self._due_at

    def at_border(self) -> bool:
        """Do what there is to do between two frames; return whether the work is to stop."""
        self._look()
        self._stops = self._request.known()
        return self._stops

    def end(self, failure: Exception | None) -> None:
        """Come to the end of reading, with all ranks. Collective.

        Raises
        ------
        Stopped
            On all ranks, if the work was stopped before its end and a last set is there.
        OutputError
            On all ranks, if it could not be written.
        """
        problem = None
        if self._stops and failure is None:
            problem = self._write()  # at once: a launcher may be about to kill all ranks
        if failure is None:
            self._report(last=True)
        self._await_all(failure)
        everywhere = self._comm.allgather((self._stops, failure is not None))
        reports = self._reporter.settle()
        if any(failed for _, failed in everywhere) or not any(stops for stops, _ in everywhere):
            return
        problem = self._write() or problem
        self._report(last=True)
        reports += self._reporter.settle()
        collectively(self._comm, lambda: self._commit_last(reports, problem))
        self._raise_stopped()

    def _await_all(self, failure: Exception | None) -> None:
        """Wait until all ranks are through; go on with checkpoints meanwhile."""
        if isinstance(self._comm, OneProcess):
            return
        request = self._comm.Ibarrier()

        def all_are_through() -> bool:
            if failure is None:
                self._look()
                if self._request.known():
                    self._write()
                self._report(last=True)
            return bool(request.Test())

        waiting.wait(all_are_through, "other ranks at the end of reading")

    def _look(self) -> None:
        """Commit what was reported, and write if it is time."""
        if self._coordinator is not None:
            spent = self._coordinator.look(self._reporter)
            self._due_at = max(self._due_at, time.monotonic() + _COST * spent if spent else 0.0)
        if time.monotonic() >= self._due_at or self._request.warned:
            self._request.warned = False
            self._write()

    def _write(self) -> Exception | None:
        """Write the sums of this rank, if there is anything new in them."""
        mark = self._mark()
        if mark == self._marked:
            return None
        begin = time.monotonic()
        self._written += 1
        name = f"rank-{self._folder.run}-{self._comm.rank}-{self._written}.g3"
        try:
            states = self._coadder.states()
            member = Member(self._comm.rank)
            if states:
                member = write_member(self._folder, name, self._comm.rank, states)
        except Exception as error:  # of any kind: others may be waiting, and the sums are whole
            logger.warning(
                "%s: a checkpoint could not be written (%s); the work goes on.",
                *(self._folder.given, reason_of(error)),
            )
            return error
        finally:
            now = time.monotonic()
            self._due_at = now + max(self._every, _COST * (now - begin))
        self._marked = mark
        self._latest = member._replace(done=grouped(self._tally.done), notes=self._coadder.notes())
        self._reported_last = False
        self._report(last=False)
        return None

    def _report(self, last: bool) -> None:
        """Tell the coordinator of the latest file; if it is the last one, only once."""
        if last and (self._reported_last or self._mark() != self._marked):
            return
        self._reported_last = last
        self._reporter.send(Report(self._latest, last))

    def _mark(self) -> object:
        """Changes with everything that a checkpoint would have new in it."""
        states = self._coadder.states()
        counts = [(name, len(coadd.ledger.entries)) for name, coadd in states.items()]
        return counts, len(self._tally.done)

    def _commit_last(self, reports: list[Report], problem: Exception | None) -> None:
        try:
            if problem is not None:
                raise problem
            if self._coordinator is not None:
                self._coordinator.take(reports)
                self._coordinator.commit()
        except Exception as error:
            raise OutputError(
                f"{self._folder.given}: the work was stopped, but the last checkpoint could not be "
                f"written ({reason_of(error)}). What was committed before is still there."
            ) from error

    def _raise_stopped(self) -> None:
        done = sum(self._comm.allgather(len(self._tally.done)))
        text = f"stopped at {done} of {self._n_files} files; go on with resume=True."
        agree(self._comm, Stopped(text))
