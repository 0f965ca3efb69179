"""``g3reduce unweight``: maps divided by their weights."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..mpi.agreement import world_rank
from . import headers
from .fileformats import listed
from .messages import counted
from .streams import say

DESCRIPTION = """\
Divide weighted maps by their weights, pixel by pixel, as spt3g's RemoveWeights
does. Weights, hits and all else that is in the frames stays there. Pixels whose
weights cannot be divided by (singular ones) are counted.
"""

EXAMPLE = """\
examples:
  g3reduce unweight coadd.g3 -o maps.g3
  g3reduce unweight coadd.g3 -o maps.g3 --nan
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "unweight",
        help="divide maps by their weights",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="unweight", verbose=False)
    parser.add_argument("file", metavar="IN", help="a file of maps, of any format")
    parser.add_argument(
        "-o",
        "--output-file",
        required=True,
        metavar="OUT",
        help="the file that is written, in the format that its name stands for",
    )
    parser.add_argument(
        "--nan",
        dest="zero_nans",
        action="store_false",
        help="NaN where there are no weights, or singular ones, in place of 0; maps become dense",
    )
    headers.add(parser)


def run(options: argparse.Namespace) -> None:
    """Write them, on one rank."""
    if world_rank() != 0:
        return
    from ..analysis.sources import Given, Headers, Realisation, check_output
    from ..analysis.unweighted import each_unweighted
    from ..formats.writing import write_maps

    check_output(options.output_file, options.file)
    said = []
    flips: Counter[str] = Counter()

    def frames() -> Iterator[Any]:
        found = each_unweighted(
            options.file, zero_nans=options.zero_nans, headers=Headers(**headers.of(options))
        )
        for one in found:
            what = f"{', '.join(one.divided)} divided" if one.divided else "was not weighted"
            if flip := Realisation.of(Given(one.frame_id, one.frame, "")):
                flips[f"of {flip.base}: {what}"] += 1
            else:
                said.append(f"{one.frame_id or 'without an Id'}: {what}")
            yield one.frame

    written = write_maps(options.output_file, frames())
    said += [f"{counted(number, 'sign flip')} {text}" for text, number in flips.items()]
    say(*said, f"Wrote {listed(written)}.")
