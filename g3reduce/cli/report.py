"""``g3reduce report``: one page about a file of coadds."""

from __future__ import annotations

import argparse
from typing import Any

from ..mpi.agreement import world_rank
from . import headers
from .streams import say

DESCRIPTION = """\
Write one page about a file of coadds, which any browser opens without a
network: pictures that zoom and whose values can be read, what went in and what
was left out, what each observation has contributed, digests and versions.
"""

EXAMPLE = """\
examples:
  g3reduce report season.g3
  g3reduce report season.g3 --log run.jsonl
  g3reduce report season_*.fits -o public/season.html
  g3reduce report splits.g3 --halves early late
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "report", help="a page about a coadd", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="report", verbose=False)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a file of maps of any format, or several"
    )
    parser.add_argument(
        "-o", "--output-file", metavar="PAGE", help="the page (default: FILE with the ending .html)"
    )
    parser.add_argument(
        "--log", metavar="RUN", help="how the run went: the file that its --log-json has written"
    )
    parser.add_argument(
        "--halves",
        nargs=2,
        metavar="NAME",
        help="two splits in the file: a null test of them, with their sign flips if there are some",
    )
    headers.add(parser)


def run(options: argparse.Namespace) -> None:
    """Write it, on one rank."""
    if world_rank() != 0:
        return
    from ..report.page import write_report

    page = write_report(
        options.files,
        options.output_file,
        log=options.log,
        said=headers.of(options),
        halves=tuple(options.halves) if options.halves else None,
    )
    say(f"Wrote {page}. Open it in a browser.")
