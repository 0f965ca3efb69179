"""``g3reduce difference``: half the difference of the maps of two coadds."""

from __future__ import annotations

import argparse
from typing import Any

from ..mpi.agreement import world_rank
from . import comparing
from .messages import counted
from .streams import say

DESCRIPTION = """\
Write half the difference of the unweighted maps of two files, in the pixels that
both have, with the weights that go with it. The sky cancels, whatever the weights
of both are. Maps are paired by their Ids; a single map goes with a single map.
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
    from ..analysis.sources import Given, Realisation

    found = difference(
        *comparing.maps_of(options),
        options.output_file,
        weighted=options.weighted,
        **comparing.reading(options),
    )
    flips: list[str] = []
    for name, frame in found.items():
        if Realisation.of(Given(name, frame, name)) is not None:
            flips.append(name)
            continue
        planes = ", ".join(key for key in ("T", "Q", "U", "Wpol", "Wunpol", "H") if key in frame)
        weights = frame["Wpol"] if "Wpol" in frame else frame["Wunpol"]
        say(f"{name or 'without an Id'}: {planes} in {weights.TT.npix_nonzero} pixels")
        say(f"Left out: {frame['Difference']['left_out']}")
    if flips:
        say(f"{flips[0]} to {flips[-1]}: {counted(len(flips), 'half difference')} of sign flips")
    say(f"Wrote {options.output_file}.")
