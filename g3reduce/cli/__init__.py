"""The command ``g3reduce``: one file for each of its subcommands.

A subcommand, one of `COMMANDS`, has ``run`` and
``add_parser(subparsers)``, and imports what it works with only when it runs, since ranks wait for
the slowest start. For all of them: `words`, `parser`, `options` and `lists` read the command line,
`config` reads and writes files of
options, `suggesting` says what may have been meant, `messages` words what is said, `streams` writes
it and keeps the exit code true, and `ctrlc` ends all ranks with one line.
`looking` has ``--list``, `dryrun` has ``--dry-run``. Of `coadd`, `adding` has the flags about what
is added, `setaside` those about files that cannot be added, `growing` those about coadds that grow,
and `checkpointing` those about checkpoints and ranks; `progress` those about what is shown
meanwhile; `retrying` starts ranks, and `summary` has the closing lines. Of `ledger`,
`ledgerformats` has the tables. `comparing` is what commands have in common that compare maps,
`headers` the flags about FITS files that do not say all.

The roof: it imports from every other folder.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import logging
import sys
from collections.abc import Sequence

from ..errors import G3ReduceError, InterruptedByUser, Stopped, UsageError
from ..mpi.agreement import world_rank
from ..mpi.jobend import INTERRUPTED, abort, release_modules
from . import checkpointing, config, ctrlc, streams
from .checkpointing import STOPPED
from .lists import files_on_one
from .messages import FlagFormatter, Flags, LogHandler
from .options import add_quiet
from .parser import BAD_USAGE, CommandLine

# In the order in which one works.
GROUPS = {
    "from many files, on any number of ranks": ("check", "coadd", "stitch", "plan"),
    "look at coadds": ("info", "plot", "report", "ledger", "digest"),
    "compare and test": ("diff", "difference", "null", "noise"),
    "change coadds": ("unweight", "convert"),
    "try it, set it up": ("demo", "completion"),
}
ON_ALL_RANKS, *_ = GROUPS.values()  # the others work on one
COMMANDS = tuple(name for names in GROUPS.values() for name in names)

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

    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    parser = command_line(words)
    parser.add_argument("--version", action="version", version=f"g3reduce {__version__}")
    options = parser.parse_args(words)
    options.words = words
    if not hasattr(options, "run"):
        parser.print_help()
        return DONE

    streams.be_quiet(options.quiet)
    flags = Flags(parser.commands.choices[options.command]._actions)
    options.translate = flags.translate
    log = LogHandler()
    log.setFormatter(FlagFormatter(flags))
    logging.basicConfig(
        handlers=[log],
        level=logging.INFO if options.verbose and world_rank() == 0 else logging.WARNING,
    )
    try:
        if getattr(options, "write_config", None) is not None:
            return _write_config(options)
        if options.command not in ON_ALL_RANKS and world_rank() == 0 and hasattr(options, "files"):
            options.files = files_on_one(options.files)
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


def command_line(words: Sequence[str] = ()) -> CommandLine:
    """The parser of the command that the first of these words names, or of all commands."""
    parser = CommandLine(
        GROUPS,
        prog="g3reduce",
        description="Parallel coaddition of sky maps and restitching of timestreams, for spt3g.",
        epilog="g3reduce COMMAND --help explains a command, with examples.\n\n"
        "Exit codes: 0 done, 1 the work failed, 2 bad usage, 3 done without files that\n"
        "were set aside, 75 stopped with a checkpoint (go on with --resume), 130 Ctrl-C.",
    )
    named = [name for name in COMMANDS if words[:1] == [name]]
    for name in named or COMMANDS:  # if none is named, help or an error is to list all
        importlib.import_module(f".{name}", __name__).add_parser(parser.commands)
        command = parser.commands.choices[name]
        add_quiet(command)
        if name != "completion":
            config.add_flags(command)
        command.options_elsewhere = functools.partial(_options_of_others, name)
    return parser


def _write_config(options: argparse.Namespace) -> int:
    """Write or print the options, on one rank, and do no more."""
    if world_rank() == 0:
        file = options.write_config
        if file == "-":
            streams.result(options.config_text.rstrip())
        else:
            config.write(file, options.config_text)
            streams.say(f"Wrote {file}, for g3reduce {options.command} --config {file}.")
    return DONE


def _options_of_others(name: str) -> dict[str, list[str]]:
    """The options of all commands but one."""
    commands = command_line().commands.choices
    return {
        other: list(parser._option_string_actions)
        for other, parser in commands.items()
        if other != name
    }


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
    release_modules()  # those that the traceback holds
    return code


def _code_of(error: G3ReduceError) -> int:
    if isinstance(error, InterruptedByUser):
        return INTERRUPTED
    if isinstance(error, Stopped):
        return STOPPED
    return BAD_USAGE if isinstance(error, UsageError) else FAILED
