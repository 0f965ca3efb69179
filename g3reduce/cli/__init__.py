"""The command ``g3reduce``: one file for each of its subcommands.

A subcommand, one of `COMMANDS`, has ``run`` and
``add_parser(subparsers)``, and imports what it works with only when it runs, since ranks wait for
the slowest start. For all of them: `parser`, `options` and `lists` read the command line,
`messages` words what is said, `streams` writes it and keeps the exit code true, and `ctrlc` ends
all ranks with one line.
Of `coadd`, `adding` has the flags about what is added, `setaside` those about files that cannot be
added, `growing` those about coadds that grow, and `checkpointing` those about checkpoints and
ranks; `progress` those about what is shown meanwhile; `retrying` starts ranks, and `summary` has
the closing lines. Of `ledger`,
`ledgerformats` has the tables. `comparing` is what commands have in common that compare maps,
`headers` the flags about FITS files that do not say all.

The roof: it imports from every other folder.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from ..errors import G3ReduceError, InterruptedByUser, Stopped, UsageError
from ..mpi.agreement import world_rank
from ..mpi.jobend import INTERRUPTED, abort
from . import checkpointing, ctrlc, streams
from .checkpointing import STOPPED
from .messages import FlagFormatter, Flags, LogHandler
from .parser import BAD_USAGE, Parser

COMMANDS = (
    "coadd",
    "check",
    "stitch",
    "difference",
    "null",
    "noise",
    "unweight",
    "convert",
    "plot",
    "diff",
    "info",
    "digest",
    "ledger",
    "demo",
)

DONE, FAILED = 0, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code.

    It is 0 if and only if all is done, and the output is there as a whole; 3 if it is, but lacks
    files that were left out. Else 1 the work failed, 2 bad usage, 75 stopped with a checkpoint,
    130 interrupted by Ctrl-C.
    """
    is_process = arguments is None  # else a caller goes on after it
    if is_process:
        streams.prepare()
    try:
        code = _run(arguments)
    except BaseException as error:
        interrupt = ctrlc.behind(error)
        if interrupt is None:
            raise
        code = ctrlc.end(interrupt, "g3reduce")
    finally:
        streams.flush()
    if is_process:
        streams.stand_by(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    """Parse the command line and do what it says."""
    from .. import __version__

    parser = Parser(
        prog="g3reduce",
        description="Parallel coaddition of sky maps and restitching of timestreams, for spt3g.",
        epilog="Exit codes: 0 done, 1 the work failed, 2 bad usage, 3 done without files that\n"
        "were set aside, 75 stopped with a checkpoint (go on with --resume), 130 Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"g3reduce {__version__}")
    subparsers = parser.add_subparsers(metavar="command")
    words = list(sys.argv[1:] if arguments is None else arguments)
    named = [name for name in COMMANDS if words[:1] == [name]]
    for name in named or COMMANDS:  # if none is named, help or an error is to list all
        importlib.import_module(f".{name}", __name__).add_parser(subparsers)
    options = parser.parse_args(words)
    options.words = words
    if not hasattr(options, "run"):
        parser.print_help()
        return DONE

    flags = Flags(subparsers.choices[options.command]._actions)
    log = LogHandler()
    log.setFormatter(FlagFormatter(flags))
    logging.basicConfig(
        handlers=[log],
        level=logging.INFO if options.verbose and world_rank() == 0 else logging.WARNING,
    )
    try:
        code: int = options.run(options) or DONE
    except G3ReduceError as error:
        return _report(error, options, flags)
    except KeyboardInterrupt as interrupt:
        writes = hasattr(options, "output_file")
        outcome = "nothing was written" if writes else "the work is not complete"
        return ctrlc.end(interrupt, f"g3reduce {options.command}", outcome)
    except BrokenPipeError:  # whoever reads what the command prints has ended
        return FAILED
    code = code if streams.flush() else FAILED
    if world_rank() == 0:
        checkpointing.leave_outcome(options, code)
    return code


def _report(error: G3ReduceError, options: argparse.Namespace, flags: Flags) -> int:
    """Print an error, unless another rank does, and find the exit code."""
    code = _code_of(error)
    alone = error.reporter is None
    if alone or error.reporter == world_rank():
        kind = "" if isinstance(error, Stopped) else "error: "
        streams.complain(f"g3reduce {options.command}: {kind}{flags.translate(str(error))}")
        checkpointing.leave_outcome(options, code)
    mpi = sys.modules.get("mpi4py.MPI")
    if alone and mpi is not None and mpi.COMM_WORLD.size > 1:
        abort(FAILED)  # the other ranks do not know of the error, and would wait for this one
    return code


def _code_of(error: G3ReduceError) -> int:
    if isinstance(error, InterruptedByUser):
        return INTERRUPTED
    if isinstance(error, Stopped):
        return STOPPED
    return BAD_USAGE if isinstance(error, UsageError) else FAILED
