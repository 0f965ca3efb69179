"""Work with checkpoints from its first step to its last: claimed, taken up, and marked complete."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..coadd.coadder import MPIMapCoadder
from ..errors import Stopped, UsageError
from ..mpi import communicators
from ..mpi.agreement import agree, collectively, from_rank
from ..mpi.communicators import Comm
from ..mpi.stopping import StopRequest
from ..pipeline.ledger import LeftOut
from ..progress.events import Checkpointed
from ..progress.watching import Watch
from ..spt3glog import unit_logger
from .checkpointfolder import COMPLETE, CheckpointFolder
from .checkpoints import Checkpoints
from .checkpointset import Input, Job, Manifest, Unusable
from .completion import Complete, mark_complete
from .resuming import take_up
from .work import Earlier, NoCheckpoints, Work

if TYPE_CHECKING:
    from .checkpointing import Wishes

logger = unit_logger(__name__, "coadd_files")


class CheckpointedWork(Work):
    """Work whose checkpoints are removed once its output is there."""

    def __init__(
        self, comm: Comm, folder: CheckpointFolder, job: Job | None, output: str | None, **kept: Any
    ):
        super().__init__(**kept)
        self._comm = comm
        self._folder = folder
        self._job = job
        self._output = output

    def start_over(self) -> None:
        """Remove the sets. Collective."""
        agree(self._comm)  # no rank writes any more
        collectively(self._comm, lambda: self._folder.clear() if self._job else None)

    def finish(self, left_out: Sequence[LeftOut]) -> None:
        """Remove the sets, and leave a marker in their place. Collective."""
        agree(self._comm)  # no rank writes any more
        collectively(self._comm, lambda: self._mark_complete(left_out))

    def _mark_complete(self, left_out: Sequence[LeftOut]) -> None:
        if self._job is None:
            return
        try:
            if self._output is not None:
                mark_complete(self._folder, self._job, self._output, left_out)
            self._folder.clear()
        except OSError as error:
            logger.warning(
                "%s: the output is there, but its marker could not be written (%s).",
                *(self._folder.given, error.strerror),
            )


@contextlib.contextmanager
def claimed(
    comm: Comm,
    wishes: Wishes,
    request: StopRequest,
    coadder: MPIMapCoadder,
    names: list[str],
    output: str | None,
    *,
    watch: Watch,
) -> Iterator[Work]:
    """Claim the folder of checkpoints, and take up what is there. Collective over `comm`.

    See `g3reduce.jobs.checkpointing.checkpointed`. `wishes` name a folder.
    """
    folder = CheckpointFolder(wishes.folder or "")
    with ExitStack() as stack:
        own = stack.enter_context(_own_communicator(comm))
        stack.callback(folder.release)
        job: Job | None = None

        def claim() -> tuple[str, Complete | None]:
            nonlocal job
            run = folder.claim()
            job = Job(coadder.options(), tuple(map(Input.of, names)))
            _refuse_streams(names)
            return run, _look_around(folder, wishes, job, output)

        run, complete = from_rank(comm, 0, claim)
        collectively(comm, lambda: folder.see(run))
        if complete:
            yield CheckpointedWork(
                *(comm, folder, job, output),
                earlier=Earlier(),
                checkpoints=NoCheckpoints(),
                complete=complete,
            )
            return
        earlier = take_up(comm, folder, job, coadder) if wishes.resume else Earlier()
        on_commit = functools.partial(_tell_committed, watch)
        what = own, folder, job, len(names), coadder, request, wishes.every, on_commit
        checkpoints = collectively(comm, functools.partial(Checkpoints, *what))
        yield CheckpointedWork(
            *(comm, folder, job, output), earlier=earlier, checkpoints=checkpoints
        )


@contextlib.contextmanager
def _own_communicator(comm: Comm) -> Iterator[Comm]:
    """A communicator for reports; freed where it is sure that all ranks come to do it."""
    own = communicators.duplicate(comm)
    try:
        yield own
    except Stopped:
        own.Free()
        raise
    own.Free()


def _tell_committed(watch: Watch, manifest: Manifest) -> None:
    number, n_files = manifest.number, manifest.n_files
    watch.tell(lambda now: Checkpointed(time=now, number=number, n_files=n_files))


def _refuse_streams(names: list[str]) -> None:
    for name in names:
        if "://" in name:
            raise UsageError(
                f"checkpoint cannot be used with {name}: a stream cannot be read a second time."
            )


def _look_around(
    folder: CheckpointFolder, wishes: Wishes, job: Job, output: str | None
) -> Complete | None:
    """Look what is in the folder; return what an earlier run has done, if that is all."""
    numbers = folder.sets()
    if numbers and not wishes.resume:
        try:
            newest = str(folder.manifest(numbers[0]))
        except Unusable as unusable:
            newest = f"set {numbers[0]}, which cannot be used: {unusable}"
        raise UsageError(
            f"checkpoint is {folder.given!r}, which holds {newest}. Say resume=True to go on from "
            "there; to begin from nothing, remove this folder or name another one."
        )
    if not numbers:
        folder.tidy()
    if not os.path.lexists(folder.file(COMPLETE)):
        return None
    if wishes.resume:
        try:
            complete = Complete.found(folder, job, output)
            folder.clear()  # if the run that has left the marker was killed before it could
            return complete
        except (Unusable, OSError) as reason:
            logger.warning(
                "%s: this was complete, but the work begins anew: %s.", folder.given, reason
            )
    folder.drop_marker()
    return None
