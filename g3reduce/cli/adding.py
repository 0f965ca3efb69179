"""The flags that say what is added, and how; ``g3reduce check`` has them as ``coadd`` has them."""

from __future__ import annotations

import argparse
from typing import Any

from ..choices import InputCoord, Nonfinite, PolConv, choices_of


def add_flags(group: argparse._ActionsContainer) -> None:
    """Add the flags."""
    group.add_argument(
        "-m",
        "--map-ids",
        nargs="+",
        action="extend",
        metavar="ID",
        help="Ids of maps to include (default: all)",
    )
    group.add_argument(
        "-c",
        "--collate",
        action="store_true",
        help="one coadd for each Id; its Id is then that of the output followed by that of the "
        "input",
    )
    group.add_argument(
        "--no-check-weighted",
        dest="weighted",
        action="store_false",
        help="add maps as they are; default: maps without their weights applied are weighted",
    )
    group.add_argument(
        "--ignore-missing-weights",
        action="store_true",
        help="do not warn of weighted maps that come without weights",
    )
    group.add_argument(
        "--pol-conv",
        choices=choices_of(PolConv),
        help="convert polarization to this convention (default: those that differ are an error)",
    )
    group.add_argument(
        "--input-pol-conv",
        choices=choices_of(PolConv),
        help="the convention of FITS and HDF5 files that do not say it",
    )
    group.add_argument(
        "--input-coord",
        choices=choices_of(InputCoord),
        help="the coordinate system of those that do not say it: equatorial, Galactic, ecliptic, "
        "local",
    )
    group.add_argument(
        "--input-units",
        metavar="UNIT",
        help="the unit of those that do not say it: K, uK, ...",
    )
    group.add_argument(
        "--atomic",
        metavar="DB",
        help="the maps that a table of sotodlib's atomic maps lists are input, too (SQLite; it is "
        "never written)",
    )
    group.add_argument(
        "--where",
        metavar="SQL",
        help="which of its rows: \"freq_channel = 'f090' AND split_label = 'full'\"",
    )
    group.add_argument(
        "--nonfinite",
        choices=choices_of(Nonfinite),
        default="keep",
        help="NaN and infinite pixels: sum them, refuse them, or leave each out of all maps of its "
        "frame and say how many (default: %(default)s)",
    )
    group.add_argument(
        "--reproducible",
        action="store_true",
        help="the same bits on any number of ranks, in any order of files",
    )


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the flags say, as arguments of `coadd_files`, `check_files` and `plan_coadd`.

    But for ``--collate``: with splits, `coadd_files` takes something else for it.
    """
    names = (
        *("map_ids", "weighted", "ignore_missing_weights", "pol_conv"),
        *("input_pol_conv", "input_coord", "input_units", "atomic", "where"),
        *("nonfinite", "reproducible"),
    )
    return {name: getattr(options, name) for name in names}
