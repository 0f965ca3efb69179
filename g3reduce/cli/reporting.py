"""``--report`` of ``g3reduce coadd``: a page about the coadd and the run that has made it."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from ..errors import G3ReduceError
from ..mpi.agreement import collectively
from ..mpi.communicators import Comm

if TYPE_CHECKING:
    from ..coadd.coadds import Coadds
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
    options: argparse.Namespace, coadds: Coadds, events: list[Event] | None, comm: Comm
) -> list[str]:
    """Write the page, on the first rank; the line about it. Collective over `comm`.

    Two splits or bundles, and no more, without a map in common, are compared in it.

    Raises
    ------
    InputError, OutputError
    """
    if options.report is None:
        return []

    def page() -> None:
        from ..report.page import write_report

        written = coadds.written
        # Companions are found by the maps that they belong to.
        files = [name for name in written if not (options.companions and _COMPANION.search(name))]
        halves = _halves(options, coadds)
        try:
            write_report(files, options.report, log=events, halves=halves)
        except G3ReduceError:
            if halves is None:
                raise
            write_report(files, options.report, log=events)  # they are not such as can be compared

    collectively(comm, lambda: page() if comm.rank == 0 else None)
    return [f"Wrote {options.report}. Open it in a browser."]


def _halves(options: argparse.Namespace, coadds: Coadds) -> tuple[str, str] | None:
    """The names of two splits, or of two bundles, that have no map in common."""
    from ..pipeline.ledgerframe import ledger_in

    names = [name for name, _ in options.split or ()]
    if options.bundles == 2 and len(names) < 2:
        names = ["bundle0", "bundle1"]
    if len(names) != 2:
        return None
    frames: list[set[object]] = [set(), set()]
    for map_id, frame in coadds.items():
        for name, found in zip(names, frames, strict=True):
            if f"_{name}_" in f"_{map_id}_" and (ledger := ledger_in(frame, map_id)) is not None:
                found.update(entry.unit for entry in ledger.entries)
    first, second = names
    return (first, second) if all(frames) and not frames[0] & frames[1] else None
