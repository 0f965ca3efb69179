"""``g3reduce convert``: maps from one format into another."""

from __future__ import annotations

import argparse
import time
from typing import Any

from ..mpi.agreement import world_rank
from . import fileformats, headers, progress
from .messages import wrote
from .streams import say
from .summary import base_of, lines_of_flips

DESCRIPTION = """\
Write the maps of files of any format into a file of another one, by the name of
the output: .g3 (also compressed), .fits (also .fits.gz) or .h5. FITS files hold
one map: of several, each gets a file of its own, with its Id in the name.
Frames of other types are left out.
"""

EXAMPLE = """\
examples:
  g3reduce convert coadd.g3 -o coadd.fits
  g3reduce convert coadd.g3 -o maps.fits --unweight --fits-units uK --nest
  g3reduce convert planck.fits -o planck.g3 --coord G --pol-conv COSMO
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "convert",
        help="maps from one format into another",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="convert", verbose=False)
    parser.add_argument("files", nargs="+", metavar="IN", help="files of maps, of any format")
    parser.add_argument(
        "-o",
        "--output-file",
        required=True,
        metavar="OUT",
        help="the file that is written; it may be none of the inputs",
    )
    headers.add(parser)
    fileformats.add_flags(parser)
    progress.add_flags(parser)


def run(options: argparse.Namespace) -> None:
    """Convert, on one rank, and print what was written."""
    if world_rank() != 0:
        return
    from ..analysis.converting import convert_noting
    from ..analysis.sources import Headers
    from ..mpi.communicators import OneProcess

    start = time.perf_counter()
    said: list[str] = []
    flips: dict[str, list[str]] = {}

    def note(frame: Any) -> None:
        if base := base_of(frame):
            flips.setdefault(base, []).append(str(frame["Id"]))
        else:
            said.append(_line_about(frame))

    written = convert_noting(
        options.files,
        options.output_file,
        fileformats.write_options(options),
        Headers(**headers.of(options)),
        note,
        progress.observer_of(options, OneProcess()),
    )
    say(
        *said,
        *lines_of_flips(flips),
        wrote(fileformats.listed(written), time.perf_counter() - start, 1),
    )


def _line_about(frame: Any) -> str:
    keys = [key for key in ("T", "Q", "U", "Wpol", "Wunpol", "H") if key in frame]
    return f"{frame.get('Id', 'without an Id')}: {', '.join(keys)}"
