"""``g3reduce digest``: hashes of maps, to compare them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from ..mpi.agreement import world_rank
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..pipeline.ledger import unit_of
from . import headers
from .streams import result

DESCRIPTION = """\
Print a hash for each map of each Map frame, and one for each file. The hash of
a map covers all pixels and the geometry, but not how the map is stored: two
coadds are the same to the bit if, and only if, their lines are the same. The
hash of a file does not depend on the order of its frames.
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
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of maps, of any format")
    parser.add_argument(
        "-t", "--total", action="store_true", help="only the line of the whole file"
    )
    headers.add(parser)


def run(options: argparse.Namespace) -> None:
    """Print them, on one rank."""
    if world_rank() != 0:
        return
    from ..maps.digest import total

    for place, file in enumerate(options.files):
        done = Progress(place, len(options.files), "files were done")
        with progress_in_interrupt(lambda done=done: done):  # type: ignore[misc]
            found = _digests(file, headers.of(options))
        if not options.total:
            for number, (map_id, planes) in enumerate(found):
                for plane, one in planes.items():
                    result(f"{one}  {file} {number} {map_id} {plane}")
        named = [
            {f"{map_id} {plane}": one for plane, one in planes.items()} for map_id, planes in found
        ]
        result(f"{total(named)}  {file}")


def _digests(file: str, said: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    """Of each Map frame its Id and the digests of its maps."""
    from ..formats.reading import stored_frames_in
    from ..maps.digest import digest

    found = [
        (frame.get("Id", ""), digest(frame, str(unit_of(frame))))
        for frame in stored_frames_in(file, **said)
    ]
    if not found:
        raise InputError(f"There is no Map frame in {file}; expected a file of maps.")
    return found
