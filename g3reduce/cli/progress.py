"""The flags about what is shown and logged while a command works."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..mpi.agreement import collectively
from ..mpi.communicators import Comm
from .otherfiles import refuse_other_file

if TYPE_CHECKING:
    from ..progress.events import Event, Observer

SHOWN = "what is shown"


def add_flags(parser: argparse.ArgumentParser, *, quiet: bool = False) -> None:
    """Add the flags; ``-q``, too, if nothing else adds it."""
    group = parser.add_argument_group(SHOWN)
    if quiet:
        add_quiet(group)
    group.add_argument(
        "--no-progress",
        action="store_true",
        help="do not show how far the work is (a line on a terminal; elsewhere a line each 30 s "
        "or 5 %%)",
    )
    group.add_argument(
        "--log-json",
        metavar="FILE",
        help="write what happens to a file, one event a line, as JSON",
    )


def add_quiet(group: argparse._ActionsContainer) -> None:
    """Add ``-q``."""
    group.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing but warnings and errors"
    )


def observer_of(
    options: argparse.Namespace, private: Comm, kept: list[Event] | None = None
) -> Observer | None:
    """Who is told how far the work is, by these flags. Collective over `private`.

    Events are put into the list `kept` of the first rank, too, if there is one.

    Raises
    ------
    OutputError, UsageError
        On all ranks, if the log cannot be opened, or is another file of this command.
    """
    return collectively(private, lambda: _observer(options, kept) if private.rank == 0 else None)


def _observer(options: argparse.Namespace, kept: list[Event] | None) -> Observer | None:
    from ..progress.choosing import Several, to_the_screen

    observers: list[Observer] = []
    if not (getattr(options, "quiet", False) or options.no_progress):
        observers.append(to_the_screen())
    if options.log_json is not None:
        from ..progress.logfile import JSONLog

        if options.log_json == "-":
            raise UsageError("log_json is '-'; expected the name of a file, such as run.jsonl.")
        refuse_other_file(options, "log_json", "run.jsonl")
        observers.append(JSONLog(options.log_json))
    if kept is not None:
        observers.append(kept.append)
    return Several(observers) if observers else None
