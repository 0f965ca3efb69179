"""``g3reduce digest``: compare maps by one line."""

from __future__ import annotations

import argparse
from typing import Any

from ..comm import OneProcess, world_rank
from ..ledger import unit_of

DESCRIPTION = """\
Print a hash for each map of each Map frame, and one for each file. It is one of
all pixels and of the geometry, not of how the map is stored: two coadds are the
same to the bit if, and only if, their lines are.
"""

EXAMPLE = """\
example:
  g3reduce digest monday.g3 tuesday.g3
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "digest", help="a hash for each map", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="digest", verbose=False)
    parser.add_argument("files", nargs="+", metavar="FILE", help="files with Map frames")
    parser.add_argument(
        "-t", "--total", action="store_true", help="only the line of the whole file"
    )


def run(options: argparse.Namespace) -> None:
    """Print them, on one rank."""
    if world_rank() != 0:
        return
    from ..digests import total

    for file in options.files:
        found = _digests(file)
        if not options.total:
            for name, one in found.items():
                print(f"{one}  {file} {name}")
        print(f"{total(found)}  {file}")


def _digests(file: str) -> dict[str, str]:
    """The digests of all maps, by the number of the Map frame, its Id and the plane."""
    from spt3g import core

    from ..digests import digest
    from ..filecoadd import MapReader

    found = {}
    number = 0
    for frame in MapReader(OneProcess(), [[file]]):
        if frame.type == core.G3FrameType.Map:
            for plane, one in digest(frame, str(unit_of(frame))).items():
                found[f"{number} {frame.get('Id', '')} {plane}"] = one
            number += 1
    return found
