"""The flags of ``g3reduce coadd`` about files that cannot be added."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..choices import OnDuplicateFile, SameObservation, choices_of

# The exit code of work that is done, but without some of its input.
SET_ASIDE = 3

# So many files that were left out are told in one line.
_IN_A_LINE = 3


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("input that is bad, or there twice")
    group.add_argument(
        "--skip-bad",
        dest="on_error",
        action="store_const",
        const="skip",
        default="error",
        help="leave out files that cannot be read, are broken or do not fit the others, each as a "
        "whole; if there are any the exit code is 3 (default: they are an error)",
    )
    group.add_argument(
        "--max-bad",
        metavar="N|P%",
        help="with --skip-bad, give up if more than N files, or P %% of all, are bad",
    )
    group.add_argument(
        "--check",
        action="store_true",
        help="look at all files before any is added, and tell all that is wrong",
    )
    add_comparing(group)
    add_repeated(group, choices_of(OnDuplicateFile))


def add_repeated(group: argparse._ActionsContainer, on_duplicate: Sequence[str]) -> None:
    """Add the flags about what is there twice."""
    ways = {"error": "refuse", "skip": "leave out the second", "sum": "sum both"}
    *first, last = (ways[way] for way in on_duplicate)
    group.add_argument(
        "--on-duplicate",
        choices=on_duplicate,
        default="error",
        help=f"what to do with a file that is there twice: {', '.join(first)}, or {last} "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--same-observation",
        choices=choices_of(SameObservation),
        default="warn",
        help="what to do with an observation that comes from several files with other content: "
        "refuse, warn and sum, or sum (default: %(default)s)",
    )


def add_comparing(group: argparse._ActionsContainer) -> None:
    """Add the flags that say what files are compared with."""
    group.add_argument(
        "--like",
        metavar="FILE",
        help="the file with which all must agree (default: the majority decides)",
    )
    group.add_argument(
        "--manifest",
        metavar="FILE",
        help="how many frames each file should have, or its SHA-256, as sha256sum prints it",
    )


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `coadd_files` for these flags."""
    names = ("on_error", "max_bad", "check", "like", "manifest", "on_duplicate")
    return {name: getattr(options, name) for name in names}


def closing_lines(left_out: Sequence[Any], n_files: int) -> list[str]:
    """What is said about files that were left out."""
    if not left_out:
        return []
    listed = [f"{one.file} ({one.reason})" for one in left_out]
    first = f"Left out {len(left_out)} of {n_files} files:"
    if len(listed) <= _IN_A_LINE:
        return [f"{first} {', '.join(listed)}."]
    return [first, *(f"  {one}" for one in listed)]
