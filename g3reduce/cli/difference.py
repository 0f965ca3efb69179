"""``g3reduce difference``: half the difference of the maps of two coadds."""

from __future__ import annotations

import argparse
from typing import Any

from ..mpi.agreement import world_rank
from . import comparing
from .fileformats import listed
from .streams import say
from .summary import lines_of_flips

DESCRIPTION = """\
Write half the difference of the unweighted maps of two files, in the pixels
that both have, with the weights that go with it. The sky cancels, whatever the
weights of both are. Maps are paired by their Ids; a single map goes with a
single map.
"""

EXAMPLE = """\
examples:
  g3reduce difference early.g3 late.g3 -o null.g3
  g3reduce difference splits.g3 --halves early late -o null.g3
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "difference",
        help="half the difference of two coadds",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="difference", verbose=False)
    comparing.add_maps(parser)
    parser.add_argument(
        "-o",
        "--output-file",
        required=True,
        metavar="D",
        help="the file that is written, in the format that its name stands for",
    )
    parser.add_argument(
        "--unweighted",
        dest="weighted",
        action="store_false",
        help="write unweighted maps; else they are multiplied by their weights, as those of coadds",
    )
    comparing.add_reading(parser)


def run(options: argparse.Namespace) -> None:
    """Write it, on one rank."""
    if world_rank() != 0:
        return
    from ..analysis.differencing import difference
    from ..analysis.sources import Realisation, check_output
    from ..formats.writing import write_maps

    files = comparing.maps_of(options)
    check_output(options.output_file, *files)
    found = difference(*files, weighted=options.weighted, **comparing.reading(options))
    written = write_maps(options.output_file, found.values())
    flips: dict[str, list[str]] = {}
    for name, frame in found.items():
        if flip := Realisation.named(name):
            flips.setdefault(flip.base, []).append(name)
            continue
        planes = ", ".join(key for key in ("T", "Q", "U", "Wpol", "Wunpol", "H") if key in frame)
        weights = frame["Wpol"] if "Wpol" in frame else frame["Wunpol"]
        say(f"{name or 'without an Id'}: {planes} in {weights.TT.npix_nonzero:,} pixels")
        say(f"Left out: {frame['Difference']['left_out']}")
    say(*lines_of_flips(flips), f"Wrote {listed(written)}.")
