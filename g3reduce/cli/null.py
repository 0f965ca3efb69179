"""``g3reduce null``: whether the difference of two coadds is what their noise makes of it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..errors import UsageError
from ..mpi.agreement import world_rank
from . import comparing
from .streams import result

DESCRIPTION = """\
Print chi-square of half the difference of two files' maps, for T, Q and U and
all together, and its probability if noise is white and the weights are its
inverse covariance. With sign flips, also by how much the variance of the noise
is larger than the weights say, the probability calibrated by that, and the part
of the realisations with a chi-square as large (PTE). The exit code is 0,
whatever comes out.
"""

EXAMPLE = """\
examples:
  g3reduce null early.g3 late.g3
  g3reduce null splits.g3 --halves early late --signflips splits.g3
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "null", help="a null test of two coadds", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="null", verbose=False)
    comparing.add_maps(parser)
    parser.add_argument(
        "--signflips",
        action="append",
        metavar="FILE",
        help="sign-flip realisations of both maps, or of one coadd; say it twice if those of the "
        "first and of the second map are in files of their own, under the same Ids",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all realisations")
    comparing.add_reading(parser)


def run(options: argparse.Namespace) -> None:
    """Test, on one rank."""
    if world_rank() != 0:
        return
    from ..analysis.nulltest import null_test

    flips = options.signflips or []
    if len(flips) > 2:
        raise UsageError(f"signflips is given {len(flips)} times; expected once or twice.")
    signflips = tuple(flips) if len(flips) == 2 else next(iter(flips), None)
    found = null_test(*comparing.maps_of(options), signflips, **comparing.reading(options))
    if options.json:
        result(json.dumps({name: one.as_data() for name, one in found.items()}, indent=1))
        return
    for name, one in found.items():
        flips_of = "both maps" if one.signflips_of == "halves" else "one coadd"
        told = f", {one.n_realisations} sign flips of {flips_of}" if one.n_realisations else ""
        result(f"{name or 'without an Id'}: {one.n_pixels:,} pixels{told}")
        for line in one.lines():
            result(line)
