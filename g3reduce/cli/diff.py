"""``g3reduce diff``: whether two files have the same maps."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import InputError, UsageError
from ..mpi.agreement import world_rank
from . import headers
from .streams import result

DESCRIPTION = """\
Tell whether two files have the same maps: to the bit, within a tolerance, or
how far they are from each other, and where. Maps are paired by their Ids.
Attributes count, and with --ledger what was counted; how maps are stored does
not. Numbers are in G3Units: of temperatures, 1 is 1 mK.
"""

EXAMPLE = """\
examples:
  g3reduce diff monday.g3 tuesday.g3
  g3reduce diff coadd.g3 coadd.fits --rtol 1e-6 && echo the same

Exit codes, as of diff: 0 the same, 1 different, 2 trouble.
"""

SAME, DIFFERENT = 0, 1


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "diff",
        help="whether two files have the same maps",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="diff", verbose=False)
    parser.add_argument("a", metavar="A", help="a file of maps, of any format")
    parser.add_argument("b", metavar="B", help="the file that it is compared with")
    for name, what in (("rtol", "times the larger value"), ("atol", "in G3Units (1 is 1 mK)")):
        parser.add_argument(
            f"--{name}",
            type=float,
            default=0.0,
            metavar="X",
            help=f"differences up to X {what} do not count (default: 0)",
        )
    parser.add_argument("--ledger", action="store_true", help="compare what was counted, too")
    parser.add_argument("--json", action="store_true", help="print all that was found as JSON")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print nothing: the exit code tells it"
    )
    headers.add(parser)


def run(options: argparse.Namespace) -> int:
    """Print it, on one rank; return the exit code."""
    if world_rank() != 0:
        return SAME
    from ..analysis.comparing import compare

    try:
        found = compare(
            options.a,
            options.b,
            rtol=options.rtol,
            atol=options.atol,
            ledger=options.ledger,
            **headers.of(options),
        )
    except InputError as error:
        raise UsageError(str(error)) from error  # 1 would say that they differ
    if options.json:
        result(json.dumps(found.as_data(), indent=1))
    elif not options.quiet:
        names = [] if found.same else [f"A: {options.a}", f"B: {options.b}"]
        for line in [*names, *(found.lines() or ["There are no maps in either of them."])]:
            result(line)
    return SAME if found.same else DIFFERENT
