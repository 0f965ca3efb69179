"""``g3reduce info``: what is in files."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..choices import NumberIsTime, choices_of
from ..mpi.agreement import world_rank
from . import headers
from .streams import result

DESCRIPTION = """\
Tell what is in files: which frames, and of each map its geometry, units, how
much of the sky it has (in square degrees), its depth by its weights (in uK
arcmin), and its ledger in short. Frames that are no maps are counted.
"""

EXAMPLE = """\
examples:
  g3reduce info season.g3
  g3reduce info --json season.g3 maps.fits | jq .[].maps[].sky_area_deg2
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "info", help="what is in a file", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="info", verbose=False)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="files of maps of any format, or .g3 files"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--time",
        choices=choices_of(NumberIsTime),
        help="what ObservationIDs are, to tell when observations began: seconds since 2017-01-01 "
        "(spt), or since 1970-01-01 (ctime)",
    )
    headers.add(parser)


def run(options: argparse.Namespace) -> None:
    """Print it, on one rank."""
    if world_rank() != 0:
        return
    from ..analysis.describing import info

    found = []
    for file in options.files:
        one = info(file, time=options.time, **headers.of(options))
        if options.json:
            found.append(one.as_data())
            continue
        for line in one.lines():
            result(line)
    if options.json:
        result(json.dumps(found, indent=1))
