"""The flags about checkpoints of ``g3reduce coadd``."""

from __future__ import annotations

import argparse
import math
from typing import Any


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="folder for checkpoints, from which --resume goes on after the job was stopped or "
        "killed; SIGTERM, SIGINT and SIGUSR1 then make a last one, and the exit code is 75",
    )
    parser.add_argument(
        "--checkpoint-every",
        type=seconds,
        default=600.0,
        metavar="S",
        help="seconds from one checkpoint to the next (default: %(default)g)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from what is in the folder of --checkpoint, if there is anything; scripts "
        "may always say this",
    )
    parser.add_argument(
        "--stop-after",
        type=seconds,
        metavar="S",
        help="after so many seconds make a last checkpoint, and end with the exit code 75",
    )


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `coadd_files` for these flags."""
    return {
        "checkpoint": options.checkpoint,
        "checkpoint_every": options.checkpoint_every,
        "resume": options.resume,
        "stop_after": options.stop_after,
    }


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
