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

from ..errors import G3ReduceError, InterruptedByUser, UsageError
from ..mpi.agreement import world_rank
from ..mpi.jobend import INTERRUPTED, abort
from . import exits, interrupted
from .flags import FlagFormatter, Flags
from .words import files_last

COMMANDS = ("coadd", "stitch", "digest", "demo")

DONE, FAILED, BAD_USAGE = 0, 1, 2

# Seconds that rank 0 is given to say what is wrong with the arguments.
_FIRST_WORD = 2.0


class Parser(argparse.ArgumentParser):
    """A parser whose messages come from one rank, and which finds files wherever they stand."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does it; but files may stand anywhere among the options of a command."""
        if args is None or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        if any(action.dest == "files" for action in self._actions):
            args = files_last(args, self._option_string_actions)
        options, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            self.error(
                f"there is no option {word}" if word.startswith("-") else f"what is {word!r} for?"
            )
        return options, unknown

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
    """Run the command line; return its exit code.

    It is 0 if and only if the output is there as a whole: 1 the work failed, 2 bad usage,
    130 interrupted by Ctrl-C.
    """
    mine = arguments is None  # then this process is there for nothing else
    if mine:
        exits.prepare()
    try:
        code = _run(arguments)
    except BaseException as error:
        interrupt = interrupted.behind(error)
        if interrupt is None:
            raise
        code = interrupted.end(interrupt, "g3reduce")
    finally:
        exits.flush()
    if mine:
        exits.stand_by(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    """Parse the command line and do what it says."""
    from .. import __version__

    parser = Parser(
        prog="g3reduce",
        description="Parallel coaddition of sky maps and restitching of timestreams, for spt3g.",
        epilog="Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"g3reduce {__version__}")
    subparsers = parser.add_subparsers(metavar="command")
    for name in COMMANDS:
        importlib.import_module(f".{name}", __name__).add_parser(subparsers)
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return DONE

    flags = Flags(subparsers.choices[options.command]._actions)
    log = logging.StreamHandler()
    log.setFormatter(FlagFormatter(flags))
    logging.basicConfig(
        handlers=[log],
        level=logging.INFO if options.verbose and world_rank() == 0 else logging.WARNING,
    )
    try:
        options.run(options)
    except G3ReduceError as error:
        return _report(error, options.command, flags)
    except KeyboardInterrupt as interrupt:
        writes = hasattr(options, "output_file")
        outcome = "nothing was written" if writes else "the work is not complete"
        return interrupted.end(interrupt, f"g3reduce {options.command}", outcome)
    except BrokenPipeError:  # of a command whose result is what it prints: nobody wants the rest
        return FAILED
    return DONE if exits.flush() else FAILED


def _end_others(code: int) -> None:
    """End ranks that do not know of the end of this one, and would wait for it for ever."""
    if "mpi4py.MPI" in sys.modules and sys.modules["mpi4py.MPI"].COMM_WORLD.size > 1:
        abort(code)


def _report(error: G3ReduceError, command: str, flags: Flags) -> int:
    """Print an error, unless another rank does, and find the exit code."""
    alone = error.reporter is None
    if alone or error.reporter == world_rank():
        exits.complain(f"g3reduce {command}: error: {flags.translate(str(error))}")
    if alone:
        _end_others(FAILED)
    if isinstance(error, InterruptedByUser):
        return INTERRUPTED
    return BAD_USAGE if isinstance(error, UsageError) else FAILED
