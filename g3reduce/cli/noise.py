"""``g3reduce noise``: the noise of coadds, from their sign flips."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..mpi.agreement import world_rank
from . import comparing
from .options import count
from .streams import result, say

DESCRIPTION = """\
Print the depth of coadds, in uK arcmin, and the power spectra of their noise,
C_ell in uK^2, from sign-flip realisations, for each Id of which there are some.
Depths stand beside those that the weights say. Spectra are those of maps with
their weights as a mask, which falls to zero at the edge; with their mean and
scatter over realisations.
"""

EXAMPLE = """\
examples:
  g3reduce noise flips.g3
  g3reduce noise flips.g3 -o variance.g3 -o spectra.npz
  g3reduce noise flips.g3 --lmax 3000 --delta-ell 50
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "noise", help="depth and spectra of noise", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="noise", verbose=False)
    parser.add_argument(
        "files", nargs="+", metavar="SIGNFLIPS", help="files of sign flips, of any format"
    )
    parser.add_argument(
        "-o",
        "--output-file",
        action="append",
        default=[],
        metavar="RESULT",
        help="write maps of the variance (.g3), or depths and spectra (.npz, .json)",
    )
    parser.add_argument("--json", action="store_true", help="print depths and spectra as JSON")
    spectra = parser.add_argument_group("power spectra")
    spectra.add_argument(
        "--no-spectra", dest="spectra", action="store_false", help="only variances and depths"
    )
    spectra.add_argument(
        "--apodize",
        type=float,
        default=60.0,
        metavar="ARCMIN",
        help="the width of the cosine at the edge of the mask, in arcmin (default: 60)",
    )
    spectra.add_argument(
        "--lmax", type=count, metavar="L", help="the largest ell (default: 2 nside, or Nyquist)"
    )
    spectra.add_argument(
        "--delta-ell", type=float, metavar="D", help="the width of bins (default: L / 20)"
    )
    comparing.add_reading(parser)


def run(options: argparse.Namespace) -> None:
    """Print and write it, on one rank."""
    if world_rank() != 0:
        return
    from ..analysis.noise import noise
    from ..analysis.noisefiles import check_name, write
    from ..analysis.sources import refuse_same_file

    for name in options.output_file:
        check_name(name)
        refuse_same_file(name, options.files)
    names = ("spectra", "apodize", "lmax", "delta_ell")
    arguments = {name: getattr(options, name) for name in names} | comparing.reading(options)
    found = noise(options.files, **arguments)
    for name in options.output_file:
        write(name, found)
    if options.json:
        result(json.dumps({key: one.as_data() for key, one in found.items()}, indent=1))
        return
    for one in found.values() if not (options.quiet and options.output_file) else ():
        for line in one.lines():
            result(line)
    say(*(f"Wrote {name}." for name in options.output_file))
