"""The words of one command: which are options, which are values of these, and which are files."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..formats.kinds import ALL_ENDINGS


class Given(NamedTuple):
    """An option that is given.

    Attributes
    ----------
    word : str
        As it is given, perhaps with a value: ``--map``, ``-cm``, ``--map-ids=95GHz``.
    action : argparse.Action or None
        What takes the values; None if there is no such option.
    values : list of str
        The words after it that it takes.
    """

    word: str
    action: argparse.Action | None
    values: list[str]


def options_and_files(
    words: Sequence[str], options: Mapping[str, argparse.Action]
) -> tuple[list[Given], list[str]]:
    """The options of a command line, and the words that are none, such as files.

    Parameters
    ----------
    words : sequence of str
        Those of one command, without its name.
    options : mapping of str to argparse.Action
        What each option string stands for.
    """
    given: list[Given] = []
    files: list[str] = []
    left = iter(words)
    word = next(left, None)
    while word is not None:
        if word == "--":
            files += left
        elif not is_option(word):
            files.append(word)
        else:
            values: list[str] = []
            action = _action(word, options)
            given.append(Given(word, action, values))
            if action is not None and "=" not in word:
                word = _take_values(action, left, values)
                continue
        word = next(left, None)
    return given, files


def _take_values(action: argparse.Action, left: Iterator[str], values: list[str]) -> str | None:
    """Put the words that an option takes to its values; return the first that it does not take."""
    if action.nargs == 0:
        return next(left, None)
    word = next(left, None)
    if action.nargs is None:  # one, whatever it is
        if word is not None and word != "--":
            values.append(word)
            return next(left, None)
        return word
    takes_files = action.metavar == "FILE"
    while word is not None and not is_option(word) and (takes_files or not _is_file(word)):
        values.append(word)
        word = next(left, None)
    return word


def _action(word: str, options: Mapping[str, argparse.Action]) -> argparse.Action | None:
    """The option that may take the words after this one, if there is one.

    Names may be shortened (``--map``) and switches be put together (``-cm``), as argparse allows.
    """
    if not word.startswith("--"):
        while word not in options and (switch := options.get(word[:2])) and switch.nargs == 0:
            word = f"-{word[2:]}"
    if word in options or not word.startswith("--"):
        return options.get(word)
    word = word.partition("=")[0]
    if word in options:
        return options[word]
    meant = {id(action): action for name, action in options.items() if name.startswith(word)}
    return next(iter(meant.values())) if len(meant) == 1 else None


def is_option(word: str) -> bool:
    """Whether a word stands where an option stands, and is no number."""
    # A value after = may have any sign.
    if not word.startswith("-") or word == "-" or " " in word.partition("=")[0]:
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def _is_file(word: str) -> bool:
    """Whether this is the name of a file, of a list, or a pattern of names, and no Id or key."""
    return (
        word.startswith("@") or word.endswith(ALL_ENDINGS) or "://" in word or glob.has_magic(word)
    )
