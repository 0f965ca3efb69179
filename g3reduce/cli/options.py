"""Options that several commands have, and values that are refused before any work begins."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..choices import ReadyStrategy, Schedule, WrittenResult, choices_of
from .progress import SHOWN


def add_files(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the input files, and lists of them; see `lists.files_of`."""
    group = parser.add_argument_group("input")
    group.add_argument(
        "files",
        nargs="*",
        metavar="IN",
        help="input files; quoted patterns are expanded; @LIST stands for the names in a list",
    )
    group.add_argument(
        "--from-file",
        action="append",
        metavar="LIST",
        help="a list of input files, one a line, as seen from the current folder; lines that "
        "begin with # do not count",
    )
    return group


def add_schedule(group: argparse._ActionsContainer) -> None:
    """Add ``--schedule``."""
    group.add_argument(
        "--schedule",
        choices=choices_of(Schedule),
        default="dynamic",
        help="share out files on demand, or deal them out in order (default: %(default)s)",
    )


def add_strategy(group: argparse._ActionsContainer) -> None:
    """Add ``--strategy``."""
    group.add_argument(
        "--strategy",
        choices=choices_of(ReadyStrategy),
        default="auto",
        help="how ranks join their sums (default: %(default)s)",
    )


def add_result(group: argparse._ActionsContainer) -> None:
    """Add ``--result``."""
    group.add_argument(
        "--result",
        choices=choices_of(WrittenResult),
        default="root",
        help="who writes the output: the first rank, or sharded: all at once, each a part of it, "
        "so that none needs memory for the whole (default: %(default)s)",
    )


def words_of(
    options: argparse.Namespace, *adding: Callable[[argparse.ArgumentParser], object]
) -> list[str]:
    """The words of the command line that say the same as these options, where they are set.

    Of those that these functions add to a parser.
    """
    parser = argparse.ArgumentParser(add_help=False)
    for add in adding:
        add(parser)
    words: list[str] = []
    for action in parser._actions:
        value, flag = getattr(options, action.dest), action.option_strings[-1]
        if value == action.default:
            continue
        if action.nargs == 0:
            words.append(flag)
            continue
        for one in value if isinstance(value, list) else [value]:
            # A named rule was taken apart.
            words.append(f"{flag}={'='.join(one) if isinstance(one, tuple) else one}")
    return words


def _group_of(parser: argparse.ArgumentParser) -> argparse._ActionsContainer:
    """The group about what is shown, if the command has one by now."""
    return next((one for one in parser._action_groups if one.title == SHOWN), parser)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Add ``-v``, beside the other flags about what is shown."""
    _group_of(parser).add_argument(
        "-v", "--verbose", action="store_true", help="say how the work is done, and why"
    )


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add ``-q``, unless the command has it."""
    if "-q" not in parser._option_string_actions:
        _group_of(parser).add_argument(
            "-q",
            "--quiet",
            action="store_true",
            help="print nothing but results, warnings and errors",
        )


def count(word: str) -> int:
    """A number of things, at least one."""
    return _whole_number(word, 1)


def count_or_none(word: str) -> int:
    """A number of things, or 0."""
    return _whole_number(word, 0)


def seed(word: str) -> int:
    """The seed of a random generator."""
    return _whole_number(word, 0)


def _whole_number(word: str, least: int) -> int:
    try:
        number = int(word)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not valid; expected a whole number of {least} or more"
        )
    return number


class Bounds(argparse.Action):
    """Takes one number, or words such as ``T=3.5``; gives a number or a dictionary."""

    def __call__(
        self, parser: Any, namespace: Any, words: str | Sequence[Any] | None, option: Any = None
    ) -> None:
        """Add the bounds to those of earlier options, or say what is wrong with them."""
        words = [str(word) for word in words or ()]
        earlier = getattr(namespace, self.dest)
        bounds: dict[str, float] = {"": earlier} if isinstance(earlier, float) else earlier or {}
        for word in words:
            name, _, number = word.rpartition("=")
            if name in bounds:
                what = f"two bounds for {name}" if name else "two numbers"
                raise self._error(words, f"there are {what}; expected one, or MAP=X for each map")
            bounds[name] = self._positive(number, word)
        if "" in bounds and len(bounds) > 1:
            raise self._error(words, "expected one number, or MAP=X for each map, not both")
        setattr(namespace, self.dest, bounds.get("", bounds))

    def _positive(self, number: str, word: str) -> float:
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not 0 < bound < math.inf:
            raise self._error([word], "expected X or MAP=X with a positive, finite number X")
        return bound

    def _error(self, words: Sequence[str], what: str) -> argparse.ArgumentError:
        return argparse.ArgumentError(self, f"{' '.join(words)!r}: {what}")
