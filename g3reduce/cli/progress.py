"""The flags about what is shown and logged while a command works."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..formats.kinds import ALL_ENDINGS
from ..mpi.agreement import collectively
from ..mpi.communicators import Comm

if TYPE_CHECKING:
    from ..progress.events import Event, Observer

SHOWN = "what is shown"

# What names other files of a command, which a log must not replace.
_FILES = (
    *("files", "from_file", "output_file", "add_to", "subtract", "like", "repeat", "config"),
    *("manifest", "write_manifest", "table", "atomic", "report"),
)


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

        _refuse_other_file(options)
        observers.append(JSONLog(options.log_json))
    if kept is not None:
        observers.append(kept.append)
    return Several(observers) if observers else None


def _refuse_other_file(options: argparse.Namespace) -> None:
    """Refuse a log that would be written over what the command reads, or is to write."""
    log = options.log_json
    if log == "-":
        raise UsageError("log_json is '-'; expected the name of a file, such as run.jsonl.")
    if log.endswith(ALL_ENDINGS):
        raise UsageError(f"log_json is {log!r}, a name of maps; expected one such as run.jsonl.")
    named = [word for word in options.words if word.startswith("@")]
    for name in _FILES:
        value = getattr(options, name, None)
        named += value if isinstance(value, list) else [value]
    for file in named:
        if isinstance(file, str) and _is_same(file.removeprefix("@"), log):
            raise UsageError(
                f"log_json is {log!r}, which this command reads or writes as {file}; "
                "expected another name, such as run.jsonl."
            )


def _is_same(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except (OSError, ValueError):  # one of them is not there
        return os.path.abspath(a) == os.path.abspath(b)
