"""The flags about coadds that grow, of ``g3reduce coadd``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..spt3gtypes import Frame


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.set_defaults(refuse=parser.error)
    group = parser.add_argument_group("coadds that grow")
    group.add_argument(
        "--keep-exact",
        action="store_true",
        help="with --reproducible: keep the exact sums beside the maps, so that coadds of this "
        "coadd are the same to the bit as coadds of its input",
    )
    for flag, name, what in (
        ("--add", "add_to", "files to add to the coadds that are in OUT; IN is empty then"),
        ("--subtract", "subtract", "files that are in the coadds of OUT, to be taken out again"),
    ):
        group.add_argument(
            flag, dest=name, nargs="+", action="extend", default=[], metavar="FILE", help=what
        )


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `coadd_files` for these flags, the input files among them.

    The program ends here if it is not clear what is to be coadded.
    """
    grows = bool(options.add_to or options.subtract)
    if grows and options.files:
        options.refuse(
            f"{options.files[0]} is input of a new coadd, but --add and --subtract change the one "
            f"that is in {options.output_file}: name files behind these flags only"
        )
    if not grows and not options.files:
        options.refuse("there are no input files: name them (IN), or those to --add")
    return {
        "files": options.add_to if grows else options.files,
        "subtract": options.subtract,
        "add_to": options.output_file if grows else None,
        "keep_exact": options.keep_exact,
    }


def lines(frames: Sequence[Frame]) -> list[str]:
    """What is to be said of exact sums that were kept."""
    size = sum(frame.get("ExactBytes", 0) for frame in frames)
    return [f"Exact sums beside the maps: {size / 1e6:.3g} MB"] if size else []
