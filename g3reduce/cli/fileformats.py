"""The flags about files of maps that are no .g3 files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..choices import FitsStyle, FitsUnits, choices_of
from ..errors import UsageError
from ..formats.kinds import format_of
from ..formats.options import WriteOptions

_SHOWN = 4

# Of `WriteOptions`, what only files of one format know, and the flags that say it.
_OF_ONE_FORMAT = {
    "units": ("fits", "--fits-units is"),
    "nested": ("fits", "--nest and --ring are"),
    "full_sky": ("fits", "--full-sky and --partial are"),
    "companions": ("fits", "--companions is"),
    "style": ("fits", "--fits-style is"),
    "compress": ("hdf5", "--compress is"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("FITS and HDF5 output (OUT ends in .fits, .fits.gz or .h5)")
    group.add_argument(
        "--fits-units",
        choices=choices_of(FitsUnits),
        default="K",
        help="unit of temperatures in FITS files (default: %(default)s); with mK no bit changes",
    )
    group.add_argument(
        "--unweight",
        action="store_true",
        help="divide maps by their weights; default: as they are, which the header says",
    )
    order = group.add_mutually_exclusive_group()
    order.add_argument(
        "--nest",
        dest="nested",
        action="store_const",
        const=True,
        help="HEALPix pixels in NESTED order (default: as the map has them)",
    )
    order.add_argument(
        "--ring", dest="nested", action="store_const", const=False, help="in RING order"
    )
    sky = group.add_mutually_exclusive_group()
    sky.add_argument(
        "--full-sky",
        action="store_const",
        const=True,
        help="all HEALPix pixels (default: if more than half were hit)",
    )
    sky.add_argument(
        "--partial",
        dest="full_sky",
        action="store_const",
        const=False,
        help="only HEALPix pixels that were hit, with their numbers",
    )
    group.add_argument(
        "--companions",
        action="store_true",
        help="unweighted maps, weights and hits in files of their own: OUT_map.fits, "
        "OUT_invcov.fits, OUT_hits.fits",
    )
    group.add_argument(
        "--fits-style",
        choices=choices_of(FitsStyle),
        default="spt3g",
        help="flat-sky FITS as spt3g or as pixell reads it (default: %(default)s)",
    )
    group.add_argument("--compress", action="store_true", help="compress the chunks of HDF5")


def write_options(options: argparse.Namespace) -> WriteOptions:
    """What the flags say.

    Raises
    ------
    UsageError
        If the output is of a format that knows nothing of a flag that was given.
    """
    wanted = WriteOptions(
        units=options.fits_units,
        unweight=options.unweight,
        nested=options.nested,
        full_sky=options.full_sky,
        style=options.fits_style,
        companions=options.companions,
        compress=options.compress,
    )
    kind, usual = format_of(options.output_file), WriteOptions()
    for name, (known_to, flag) in _OF_ONE_FORMAT.items():
        if kind != known_to and getattr(wanted, name) != getattr(usual, name):
            raise UsageError(f"{options.output_file}: {flag} about {known_to.upper()} files alone.")
    return wanted


def listed(files: Sequence[str]) -> str:
    """Files that were written; of many, the first few."""
    if len(files) <= _SHOWN:
        return ", ".join(files)
    return f"{', '.join(files[: _SHOWN - 1])} and {len(files) - _SHOWN + 1} more files"
