"""The command ``g3reduce``: one file for each of its subcommands.

A subcommand's module has ``add_parser(subparsers)``, and imports what it works with only when it
runs: start-up is part of the work.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from ..comm import world_rank
from ..errors import G3ReduceError, UsageError

COMMANDS = ("coadd", "stitch", "digest", "demo")

DONE, FAILED, BAD_USAGE = 0, 1, 2

# Seconds that rank 0 is given to say what is wrong with the arguments.
_FIRST_WORD = 2.0


class Parser(argparse.ArgumentParser):
    """A parser whose messages come from one rank, not from all."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def _print_message(self, message: str, file: Any = None) -> None:
        if world_rank() == 0:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to find out more, and exit."""
        if world_rank() != 0:
            # A launcher may end the job as soon as one rank exits like this; rank 0 has to speak.
            time.sleep(_FIRST_WORD)
        self.exit(BAD_USAGE, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code: 0 done, 1 the work failed, 2 bad usage."""
    from .. import __version__

    parser = Parser(
        prog="g3reduce",
        description="Parallel coaddition of sky maps and restitching of timestreams, for spt3g.",
        epilog="Exit codes: 0 done, 1 the work failed, 2 bad usage.",
    )
    parser.add_argument("--version", action="version", version=f"g3reduce {__version__}")
    subparsers = parser.add_subparsers(metavar="command", required=True)
    for name in COMMANDS:
        importlib.import_module(f".{name}", __name__).add_parser(subparsers)
    options = parser.parse_args(arguments)

    logging.basicConfig(
        format="g3reduce: %(message)s",
        level=logging.INFO if options.verbose and world_rank() == 0 else logging.WARNING,
    )
    try:
        options.run(options)
    except G3ReduceError as error:
        return _report(error, options.command)
    return DONE


def _report(error: G3ReduceError, command: str) -> int:
    """Print an error, unless another rank does, and find the exit code."""
    alone = error.reporter is None
    if alone or error.reporter == world_rank():
        # In one piece, so that messages of several ranks do not mix.
        sys.stderr.write(f"g3reduce {command}: error: {error}\n")
        sys.stderr.flush()
    if alone and "mpi4py.MPI" in sys.modules:
        world = sys.modules["mpi4py.MPI"].COMM_WORLD
        if world.size > 1:  # the other ranks do not know, and would wait for this one for ever
            world.Abort(FAILED)
    return BAD_USAGE if isinstance(error, UsageError) else FAILED
