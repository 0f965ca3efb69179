"""What the commands have in common that compare two files of maps, or read files of any format."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import UsageError
from . import headers


def add_maps(parser: argparse.ArgumentParser) -> None:
    """Add the two files, or the halves of one."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="two files of maps, of any format; with --halves one file may have both",
    )
    parser.add_argument(
        "--halves",
        nargs=2,
        metavar="NAME",
        help="two splits: maps of the first file with the first name in their Ids (150GHz_early) "
        "are paired with those of the other, or of the same file, with the second",
    )


def maps_of(options: argparse.Namespace) -> tuple[str, str | None]:
    """Both files.

    Raises
    ------
    UsageError
        If there are more, or there is one, and nothing says what is in it.
    """
    files = list(options.files)
    if len(files) > 2:
        raise UsageError(f"There are {len(files)} files ({', '.join(files)}); expected two.")
    if len(files) == 1 and options.halves is None:
        raise UsageError(
            f"There is only one file, {files[0]}. Name two, or say halves=NAME NAME for two splits "
            "that are in it."
        )
    return files[0], files[1] if len(files) == 2 else None


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add what is said of files that are silent, and which pixels count."""
    parser.add_argument(
        "--max-condition",
        type=float,
        default=1e6,
        metavar="C",
        help="leave out pixels whose weights have a larger condition number (default: 1e6)",
    )
    headers.add(parser, converts=True)


def reading(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments that these flags stand for."""
    found = {"max_condition": options.max_condition, **headers.of(options)}
    if getattr(options, "halves", None) is not None:
        found["halves"] = tuple(options.halves)
    return found
