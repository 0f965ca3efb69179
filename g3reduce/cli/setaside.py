"""The flags of ``g3reduce coadd`` about files that cannot be added."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from ..choices import OnDuplicateFile, SameObservation, choices_of

# The exit code of work that is done, but without some of its input.
SET_ASIDE = 3

_WIDTH = 80  # of lines, if no name is longer


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
    first = f"Left out {len(left_out)} of {n_files} files:"
    in_one = f"{first} {', '.join(f'{one.file} ({one.reason})' for one in left_out)}."
    if len(in_one) <= _WIDTH:
        return [in_one]
    return [first, *(line for one in left_out for line in _about(one))]


def _about(one: Any) -> list[str]:
    """A file and the reason; a name that is long has a line of its own, and stays whole."""
    whole = f"  {one.file} ({one.reason})"
    if len(whole) <= _WIDTH:
        return [whole]
    reason = textwrap.wrap(
        f"({one.reason})",
        _WIDTH,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"  {one.file}", *reason]
