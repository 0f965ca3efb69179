"""What is said of maps in files whose headers are silent."""

from __future__ import annotations

import argparse
from typing import Any

from ..choices import PolConv, choices_of


def add(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("FITS files that do not say it")
    group.add_argument(
        "--pol-conv", choices=choices_of(PolConv), help="their polarization convention"
    )
    group.add_argument("--coord", metavar="C|G|E|L", help="their coordinate system")
    group.add_argument("--units", metavar="UNIT", help="their unit (K, uK)")


def of(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that these flags stand for."""
    return {name: getattr(options, name) for name in ("pol_conv", "coord", "units")}
