"""What is said of maps in files whose headers are silent."""

from __future__ import annotations

import argparse
from typing import Any

from ..choices import PolConv, choices_of


def add(parser: argparse.ArgumentParser, *, converts: bool = False) -> None:
    """Add the flags; `converts`: maps of the other polarization convention are converted."""
    group = parser.add_argument_group("FITS files that do not say it")
    others = "; maps of the other one are converted" if converts else ""
    group.add_argument(
        "--pol-conv",
        choices=choices_of(PolConv),
        help=f"their polarization convention{others}",
    )
    group.add_argument(
        "--coord",
        metavar="C|G|E|L",
        help="their coordinates: equatorial (C), Galactic (G), ecliptic (E) or local (L)",
    )
    group.add_argument("--units", metavar="UNIT", help="their unit: K, mK, uK")


def of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that these flags stand for."""
    return {name: getattr(options, name) for name in ("pol_conv", "coord", "units")}
