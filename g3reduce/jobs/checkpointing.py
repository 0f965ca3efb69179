"""Work with checkpoints from its first step to its last: claimed, taken up, and marked complete."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..coadd.coadder import MPIMapCoadder
from ..errors import Stopped, UsageError
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, collectively
from ..mpi.communicators import Comm
from ..mpi.stopping import StopRequest
from ..pipeline.arguments import check_flags
from ..pipeline.ledger import LeftOut
from ..progress.events import Checkpointed
from ..progress.watching import Watch
from ..spt3glog import unit_logger
from .checkpointfolder import COMPLETE, CheckpointFolder
from .checkpoints import Checkpoints, NoCheckpoints
from .checkpointset import Input, Job, Manifest, Unusable
from .completion import Complete, mark_complete
from .resuming import Earlier, take_up

logger = unit_logger(__name__, "coadd_files")

EVERY_S = 600.0


class Wishes(NamedTuple):
    """The arguments about checkpoints; as in `coadd_files`."""

    folder: str | None
    every: float
    resume: bool
    stop_after: float | None


def agreed_wishes(
    comm: Comm,
    checkpoint: str | os.PathLike[str] | None,
    checkpoint_every: float,
    resume: bool,
    stop_after: float | None,
) -> Wishes:
    """Check the arguments about checkpoints, on all ranks. Collective over `comm`.

    Raises
    ------
    UsageError
    """

    def check() -> tuple[Wishes, dict[str, object]]:
        if not (checkpoint is None or isinstance(checkpoint, str | os.PathLike)) or (
            checkpoint is not None and not os.fspath(checkpoint)
        ):
            raise UsageError(
                f"checkpoint is {checkpoint!r}; expected the name of a folder, or None."
            )
        check_flags(resume=resume)
        _require_seconds("checkpoint_every", checkpoint_every)
        if stop_after is not None:
            _require_seconds("stop_after", stop_after)
        if checkpoint is None and (resume or stop_after is not None):
            name = "resume=True" if resume else "stop_after"
            raise UsageError(f"{name} needs checkpoint=FOLDER, where what was done is kept.")
        folder = None if checkpoint is None else os.fspath(checkpoint)
        wishes = Wishes(folder, float(checkpoint_every), bool(resume), stop_after)
        return wishes, wishes._asdict()

    return agreed_arguments(comm, "The arguments of coadd_files", check)


def _require_seconds(name: str, value: object) -> None:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not (right and math.isfinite(value) and value > 0):  # type: ignore[arg-type,operator]
        raise UsageError(f"{name} is {value!r}; expected a number of seconds above 0.")


@dataclass
class Work:
    """Work without checkpoints; those with have the subclass below.

    Attributes
    ----------
    earlier : Earlier
        What need not be read again.
    checkpoints : NoCheckpoints
        For the time of reading.
    complete : Complete or None
        If there is nothing to do, what an earlier run has done.
    """

    earlier: Earlier
    checkpoints: NoCheckpoints
    complete: Complete | None = None

    def finish(self, left_out: Sequence[LeftOut]) -> None:
        """Take note, once the output is there, that all is done. Collective."""

    def start_over(self) -> None:
        """Forget all that was kept: there are frames in it that must not be counted. Collective."""


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
        self._comm.allgather(None)  # no rank writes any more
        collectively(self._comm, lambda: self._folder.clear() if self._job else None)

    def finish(self, left_out: Sequence[LeftOut]) -> None:
        """Remove the sets, and leave a marker in their place. Collective."""
        self._comm.allgather(None)  # no rank writes any more
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
def stop_request(comm: Comm, wishes: Wishes) -> Iterator[StopRequest | None]:
    """Note signals that ask to stop, where there is a folder of checkpoints. Collective."""
    if wishes.folder is None:
        yield None
        return
    with StopRequest(comm, wishes.stop_after) as request:
        yield request


@contextlib.contextmanager
def checkpointed(
    comm: Comm,
    wishes: Wishes,
    request: StopRequest | None,
    coadder: MPIMapCoadder,
    names: list[str],
    output: str | None,
    *,
    watch: Watch,
) -> Iterator[Work]:
    """Claim the folder of checkpoints, and take up what is there. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    wishes : Wishes
    request : StopRequest or None
        Open; None without a folder of checkpoints.
    coadder : MPIMapCoadder
        Without anything in it.
    names : list of str
        The input files.
    output : str or None
    watch : Watch
        Is told of sets that are committed.

    Yields
    ------
    Work

    Raises
    ------
    UsageError
        On all ranks, if the folder is in use, or holds checkpoints and `resume` is not said.
    InputError
        On all ranks, if there is no set that can be used.
    OutputError
        On all ranks, if the folder cannot be written to.
    """
    if wishes.folder is None or request is None:
        yield Work(Earlier(), NoCheckpoints())
        return
    folder = CheckpointFolder(wishes.folder)
    with ExitStack() as stack:
        own = stack.enter_context(_own_communicator(comm))
        stack.callback(folder.release)
        job: Job | None = None
        complete: Complete | None = None

        def claim() -> str:
            nonlocal job, complete
            if comm.rank != 0:
                return ""
            run = folder.claim()
            job = Job(coadder.options(), tuple(map(Input.of, names)))
            _refuse_streams(names)
            complete = _look_around(folder, wishes, job, output)
            return run

        run = collectively(comm, claim)
        run, complete = comm.bcast((run, complete), 0)
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
        checkpoints = Checkpoints(
            *(own, folder, job, len(names), coadder, request, wishes.every),
            on_commit=functools.partial(_tell_committed, watch),
        )
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
    os.unlink(folder.file(COMPLETE))
    return None
