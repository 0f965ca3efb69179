"""``--report`` of ``g3reduce coadd``: a page about the coadd and the run that has made it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..mpi.agreement import collectively
from ..mpi.communicators import Comm

if TYPE_CHECKING:
    from ..progress.events import Event

_COMPANION = re.compile(r"_(hits|invcov)\.fits(\.gz)?$")


def add_flag(group: argparse._ActionsContainer) -> None:
    """Add the flag."""
    group.add_argument(
        "--report",
        metavar="PAGE",
        help="write a page (.html) about the coadd and this run, too: see g3reduce report",
    )


def events_for(options: argparse.Namespace, private: Comm) -> list[Event] | None:
    """The list into which events are to come, on the first rank, if a page is wanted.

    Collective over `private`. What the page needs is looked at now, since the work may take hours.

    Raises
    ------
    UsageError, OutputError
        If the page could not be written.
    """
    if options.report is None:
        return None

    def check() -> None:
        from ..report.page import check_page, require_jinja2

        require_jinja2()
        check_page(options.report, [options.output_file, *options.files])

    collectively(private, lambda: check() if private.rank == 0 else None)
    return [] if private.rank == 0 else None


def write(
    options: argparse.Namespace, written: Sequence[str], events: list[Event] | None, comm: Comm
) -> list[str]:
    """Write the page, on the first rank; the line about it. Collective over `comm`.

    Raises
    ------
    InputError, OutputError
    """
    if options.report is None:
        return []

    def page() -> None:
        from ..report.page import write_report

        # Companions are found by the maps that they belong to.
        files = [name for name in written if not (options.companions and _COMPANION.search(name))]
        write_report(files, options.report, log=events)

    collectively(comm, lambda: page() if comm.rank == 0 else None)
    return [f"Wrote {options.report}. Open it in a browser."]
