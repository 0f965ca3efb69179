"""Rank 0 commits sets of checkpoints: it learns what each rank has written, and names it all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from ..mpi.agreement import describe_error
from ..mpi.communicators import Comm, OneProcess
from ..spt3glog import unit_logger
from .checkpointfolder import CheckpointFolder
from .checkpointset import Job, Manifest, Member

logger = unit_logger(__name__, "coadd_files")

_TAG = 1

# How often the coordinator looks for reports while it reads and adds.
_LOOK_S = 0.02


class Report(NamedTuple):
    """What a rank tells the coordinator.

    Attributes
    ----------
    member : Member
        The latest file of the rank.
    last : bool
        Whether the rank is through, and this has all that it did.
    """

    member: Member
    last: bool


class Reporter:
    """Brings the reports of one rank to the coordinator, without waiting.

    Parameters
    ----------
    comm : communicator
        One of its own.
    """

    def __init__(self, comm: Comm):
        self._comm: Any = comm
        self._under_way: list[Any] = []
        self._sent = 0  # less what was received
        self._own: list[Report] = []

    def send(self, report: Report) -> None:
        """Send a report."""
        self._sent += 1
        if self._comm.rank == 0:
            self._own.append(report)
            return
        self._under_way = [request for request in self._under_way if not request.Test()]
        self._under_way.append(self._comm.isend(report, 0, _TAG))

    def receive(self) -> list[Report]:
        """On rank 0: the reports that have come since."""
        reports, self._own = self._own, []
        if not isinstance(self._comm, OneProcess) and self._comm.rank == 0:
            from mpi4py import MPI

            while self._comm.Iprobe(MPI.ANY_SOURCE, _TAG):
                reports.append(self._comm.recv(None, MPI.ANY_SOURCE, _TAG))
        self._sent -= len(reports)
        return reports

    def settle(self) -> list[Report]:
        """Receive what is under way. Collective; when no rank sends any more."""
        under_way = sum(self._comm.allgather(self._sent))
        reports = self.receive()
        while self._comm.rank == 0 and len(reports) < under_way:
            reports += self.receive()
        for request in self._under_way:
            request.Wait()
        return reports


class Coordinator:
    """Keeps the books of rank 0: the latest file of each rank, and what the last sets name.

    Parameters
    ----------
    folder : CheckpointFolder
    job : Job
    n_ranks : int
    on_commit : callable, optional
        ``on_commit(manifest)`` is called when a set was committed.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        job: Job,
        n_ranks: int,
        on_commit: Callable[[Manifest], object] = lambda manifest: None,
    ):
        self._folder = folder
        self._job = job
        self._n_ranks = n_ranks
        self._on_commit = on_commit
        self._latest: dict[int, Member] = {}
        self._news: set[int] = set()
        self._last: set[int] = set()
        # What the last two sets name, and what no set names so far.
        self._named = folder.named_by_last()
        self._unnamed: set[str] = set()
        self._number = max(folder.sets(), default=0)
        self._look_at = 0.0
        self.committed: Manifest | None = None

    def look(self, reporter: Reporter) -> float:
        """Take what was reported, and commit a set if each rank has something new in it.

        Returns
        -------
        float
            How many seconds it took to commit one.
        """
        now = time.monotonic()
        if now < self._look_at:
            return 0.0
        self._look_at = now + _LOOK_S
        self.take(reporter.receive())
        ready = self._news | self._last
        if not self._news or len(ready) < self._n_ranks:
            return 0.0
        try:
            self.commit()
        except Exception as error:  # of any kind: others may be waiting, and the sums are whole
            logger.warning(
                "%s: a set of checkpoints could not be committed (%s); the work goes on.",
                *(self._folder.given, reason_of(error)),
            )
        return time.monotonic() - now

    def take(self, reports: list[Report]) -> None:
        """Take reports of ranks."""
        for member, last in reports:
            before = self._latest.get(member.rank)
            if before is not None and before.name in self._unnamed and before.name != member.name:
                self._unnamed.discard(before.name)
                self._folder.remove(before.name)
            if member.name and (before is None or before.name != member.name):
                self._unnamed.add(member.name)
            self._latest[member.rank] = member
            self._news.add(member.rank)
            if last:
                self._last.add(member.rank)
            else:
                self._last.discard(member.rank)

    def commit(self) -> None:
        """Commit a set of what all ranks have now.

        Raises
        ------
        OSError
        """
        self._number += 1
        members = tuple(self._latest[rank] for rank in sorted(self._latest))
        manifest = Manifest(self._number, self._job, members)
        self._news.clear()
        self._folder.commit(manifest)
        self.committed = manifest
        self._on_commit(manifest)
        oldest, newest = self._named
        self._named = [newest, manifest.names]
        self._unnamed -= manifest.names
        for name in oldest - newest - manifest.names:
            self._folder.remove(name)


def reason_of(error: Exception) -> str:
    """Why a checkpoint could not be written."""
    if isinstance(error, MemoryError):  # exact sums are packed before they are written
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return describe_error(error).rstrip(": ")
