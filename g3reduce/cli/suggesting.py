"""What was meant, where a command, an option or a value is none of those that there are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping

from .words import Given

# What other programs call these commands.
_OTHER_NAMES = {
    "add": "coadd",
    "sum": "coadd",
    "merge": "coadd",
    "compare": "diff",
    "cmp": "diff",
    "subtract": "difference",
    "hash": "digest",
    "inspect": "info",
    "list": "info",
    "ls": "info",
    "show": "info",
    "draw": "plot",
    "picture": "plot",
    "spectrum": "plot",
    "test": "null",
    "scan": "check",
    "validate": "check",
    "verify": "check",
    "divide": "unweight",
    "simulate": "demo",
    "example": "demo",
    "split": "coadd --split",
    "signflip": "coadd --signflips",
}


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean ...?"``, if one of these is nearly the same; else nothing."""
    import difflib  # of use after a mistake only

    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, 1, 0.6)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def about_command(word: str, commands: Iterable[str]) -> str:
    """What is wrong with a word that stands in place of a command."""
    if os.path.exists(word) or os.sep in word:
        return (
            f"{word} stands in place of a command; say what to do with it, as in g3reduce info "
            f"{word}"
        )
    other = _OTHER_NAMES.get(word.lower())
    meant = f"; did you mean {other}?" if other else did_you_mean(word, commands)
    return f"there is no command {word!r}{meant}"


def about_option(
    word: str,
    options: Mapping[str, argparse.Action],
    others: Mapping[str, Iterable[str]],
) -> str:
    """What is wrong with an option that a command does not have.

    Parameters
    ----------
    word : str
    options : mapping of str to argparse.Action
        The options of the command.
    others : mapping of str to iterable of str
        The options of each of the other commands.
    """
    flag = word.partition("=")[0]
    having = [name for name, flags in others.items() if flag in flags]
    if having and f"-{flag}" not in options:
        *first, last = (f"g3reduce {name}" for name in having[:3])
        names = f"{', '.join(first)} and {last}" if first else last
        return f"there is no option {flag}; {names} {'have' if first else 'has'} it"
    shown = [name for name, action in options.items() if action.help != argparse.SUPPRESS]
    meant = did_you_mean(flag, (name for name in shown if name.startswith("--")))
    return f"there is no option {flag}{meant}"


def wrong_option(given: Iterable[Given], options: Mapping[str, argparse.Action]) -> str | None:
    """The first option that there is not, or that lacks a dash: ``-output-file`` sets ``-o``."""
    for one in given:
        flag = one.word.partition("=")[0]
        if flag.startswith("--"):
            if not any(name.startswith(flag) for name in options):
                return one.word
        elif flag[:2] not in options or (len(flag) > 2 and f"-{flag}" in options):
            return one.word
    return None
