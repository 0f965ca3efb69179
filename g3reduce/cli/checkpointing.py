"""The flags of ``g3reduce coadd`` about checkpoints, and about ranks that it starts itself."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from typing import TYPE_CHECKING, Any

from .options import count

if TYPE_CHECKING:
    from ..mpi.communicators import Comm

# The exit code of a job that was stopped with a checkpoint: EX_TEMPFAIL, try again later.
STOPPED = 75


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags about checkpoints."""
    group = parser.add_argument_group("checkpoints")
    group.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder for checkpoints, from which --resume goes on after the job was stopped or "
        "killed; SIGTERM, SIGINT and SIGUSR1 then make a last one, and the exit code is 75",
    )
    group.add_argument(
        "--checkpoint-every",
        type=seconds,
        default=600.0,
        metavar="S",
        help="seconds from one checkpoint to the next (default: %(default)g)",
    )
    group.add_argument(
        "--resume",
        action="store_true",
        help="go on from what is in the folder of --checkpoint, if there is anything; scripts "
        "may always say this",
    )
    group.add_argument(
        "--stop-after",
        type=seconds,
        metavar="S",
        help="after so many seconds make a last checkpoint, and end with the exit code 75",
    )


def add_rank_flags(group: argparse._ActionsContainer) -> None:
    """Add the flags about ranks that the command starts itself."""
    group.add_argument(
        "--ranks", type=count, metavar="N", help="start so many ranks; in place of mpirun"
    )
    group.add_argument(
        "--retries",
        type=count,
        metavar="K",
        help="with --ranks and --checkpoint: when the job dies, go on, up to so many times; with "
        "half of the ranks if it died without a new checkpoint",
    )
    group.add_argument(
        "--stall",
        type=seconds,
        metavar="S",
        help="end the job when nothing has moved on any rank for so many seconds, as when a node "
        "or its link is lost; longer than one frame takes, and the output (default: wait)",
    )
    # Whoever has started the ranks says here where they are to leave their exit code.
    group.add_argument("--outcome-file", help=argparse.SUPPRESS)


def starts_ranks(options: argparse.Namespace) -> bool:
    """Whether this process is to start ranks, and is none of those that were started."""
    asked = options.ranks is not None or options.retries is not None
    return asked and options.outcome_file is None


def leave_outcome(options: argparse.Namespace, code: int) -> None:
    """Tell the process that has started the ranks with which code the job ends.

    To be called on one rank, as the last deed of the job.
    """
    if file := getattr(options, "outcome_file", None):
        with contextlib.suppress(OSError):
            with open(f"{file}.new", "w") as new:
                new.write(str(code))
            os.replace(f"{file}.new", file)


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `coadd_files` for these flags."""
    return {
        "checkpoint": options.checkpoint,
        "checkpoint_every": options.checkpoint_every,
        "resume": options.resume,
        "stop_after": options.stop_after,
    }


def watched(options: argparse.Namespace, comm: Comm) -> contextlib.AbstractContextManager[object]:
    """What ends the job when nothing moves any more, if that is asked for. Collective."""
    if options.stall is None:
        return contextlib.nullcontext()
    from ..mpi.guard import guard

    return guard(comm, stall=options.stall)


def seconds(word: str) -> float:
    """A time, above 0."""
    try:
        number = float(word)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not valid; expected a number of seconds above 0"
        )
    return number
