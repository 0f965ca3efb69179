"""The arguments about checkpoints, and work with or without these."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import NamedTuple

from ..coadd.coadder import MPIMapCoadder
from ..errors import UsageError
from ..mpi.agreement import agreed_arguments
from ..mpi.communicators import Comm
from ..mpi.stopping import StopRequest
from ..pipeline.arguments import check_flags
from ..progress.watching import Watch
from .work import Earlier, NoCheckpoints, Work

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
    from .checkpointedwork import claimed

    with claimed(comm, wishes, request, coadder, names, output, watch=watch) as work:
        yield work
