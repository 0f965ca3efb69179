"""``g3reduce ledger``: what is in a coadd, frame by frame."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import InputError, UsageError
from ..mpi.agreement import world_rank
from . import headers
from .otherfiles import refuse_other_file
from .streams import result

if TYPE_CHECKING:
    from ..coadd.coaddledger import CoaddLedger

DESCRIPTION = """\
Print what is in coadds: each frame that was counted, with its file, Id,
observation and checksum, its sign, and what it contributed (pixels hit, and the
sum of the weights TT); then what was left out, and why. Maps of .g3 files are
not read. Of coadds that spt3g has made, the files and Ids are listed.
"""

EXAMPLE = """\
examples:
  g3reduce ledger season.g3
  g3reduce ledger season.g3 --format sqlite -o season.sqlite
  g3reduce ledger season.g3 --input obs_0042.g3 && echo it is in
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "ledger", help="what is in a coadd", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="ledger", verbose=False)
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of coadds, of any format")
    parser.add_argument(
        "-f",
        "--format",
        choices=("table", "csv", "json", "sqlite"),
        default="table",
        help="of what is printed or, with -o, written (default: %(default)s)",
    )
    parser.add_argument("-o", "--output-file", metavar="TABLE", help="write it to this file")
    parser.add_argument(
        "--input",
        metavar="NAME",
        help="ask whether a file, an observation (SourceName/ObservationID) or an Id is in: the "
        "exit code is 0 if it is, and 1 if it is not",
    )
    headers.add(parser)


def run(options: argparse.Namespace) -> int | None:
    """Print it, on one rank."""
    if world_rank() != 0:
        return None
    from ..coadd.coaddledger import ledgers_of
    from ..formats.reading import stored_frames_in
    from . import ledgerformats

    if options.format == "sqlite" and not options.output_file:
        raise UsageError("format=sqlite is written to a file: say output_file=FILE, too.")
    if options.output_file:
        refuse_other_file(options, "output_file", "season.csv")
    said = headers.of(options)
    found = [one for file in options.files for one in ledgers_of(stored_frames_in(file, **said))]
    if not found:
        raise InputError(f"There is no Map frame in {', '.join(options.files)}.")
    if options.input is not None:
        return _ask(found, options.input, options.quiet)
    if options.output_file:
        ledgerformats.write(options.output_file, options.format, found)
    else:
        for line in ledgerformats.lines(options.format, found):
            result(line)
    return None


def _ask(found: list[CoaddLedger], name: str, quiet: bool) -> int:
    """Say where a file, an observation or an Id is; return the exit code."""
    there = [(one, text) for one in found for text in one.matches(name)]
    if quiet:
        return 0 if there else 1
    for one, text in there:
        result(f"{one}: {text}")
    if there:
        return 0
    left_out = [str(item) for one in found for item in one.left_out_of(name)]
    result(f"{name} is not in it{'; left out: ' + left_out[0] if left_out else ''}.")
    return 1
