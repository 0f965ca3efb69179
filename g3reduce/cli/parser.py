"""The parser of the command line: it prints on one rank only, and files may stand anywhere.

argparse alone lets an option that takes several words take all that follow: in
``-m 150GHz obs.g3`` the file, too. And it takes positional arguments in one place only.
"""

from __future__ import annotations

import argparse
import glob
import time
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from ..formats.kinds import ALL_ENDINGS
from ..mpi.agreement import world_rank

BAD_USAGE = 2

# Seconds that rank 0 is given to print what is wrong with the arguments.
_MESSAGE_S = 2.0


class Parser(argparse.ArgumentParser):
    """A parser whose messages come from one rank, and that takes files between options, too."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but with files anywhere among the options of a command."""
        if args is None or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        if any(action.dest == "files" for action in self._actions):
            args = files_last(args, self._option_string_actions)
        options, unknown = super().parse_known_args(args, namespace)
        for word in unknown:
            self.error(
                f"there is no option {word}"
                if word.startswith("-")
                else f"unexpected word {word!r}; this command takes no files"
            )
        return options, unknown

    def _print_message(self, message: str, file: Any = None) -> None:
        if world_rank() == 0:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to find out more, and exit."""
        if world_rank() != 0:
            # A launcher may end the job as soon as one rank exits; rank 0 prints the message first.
            time.sleep(_MESSAGE_S)
        self.exit(BAD_USAGE, f"{self.prog}: error: {message}\nSee {self.prog} --help.\n")


def files_last(words: Sequence[str], options: dict[str, argparse.Action]) -> list[str]:
    """The same words in an order that argparse understands: options, ``--``, files.

    Parameters
    ----------
    words : sequence of str
        Those of one command, without its name.
    options : dict of str to argparse.Action
        What each option string stands for.

    Returns
    -------
    list of str
        The files keep their order among each other, and so does the rest.
    """
    files: list[str] = []
    rest: list[str] = []
    left = iter(words)
    word = next(left, None)
    while word is not None:
        if word == "--":
            files += left
        elif not _is_option(word):
            files.append(word)
        else:
            rest.append(word)
            action = _action(word, options)
            if action is not None and "=" not in word:
                word = _take_values(action, left, rest)
                continue
        word = next(left, None)
    return [*rest, "--", *files] if files else rest


def _take_values(action: argparse.Action, left: Iterator[str], rest: list[str]) -> str | None:
    """Put the words that an option takes to the rest; return the first that it does not take."""
    if action.nargs == 0:
        return next(left, None)
    word = next(left, None)
    if action.nargs is None:  # one, whatever it is
        if word is not None and word != "--":
            rest.append(word)
            return next(left, None)
        return word
    takes_files = action.metavar == "FILE"
    while word is not None and not _is_option(word) and (takes_files or not _is_file(word)):
        rest.append(word)
        word = next(left, None)
    return word


def _action(word: str, options: dict[str, argparse.Action]) -> argparse.Action | None:
    """The option that may take the words after this one, if there is one.

    Names may be shortened (``--map``) and switches be put together (``-cm``), as argparse allows.
    """
    if not word.startswith("--"):
        while word not in options and (switch := options.get(word[:2])) and switch.nargs == 0:
            word = f"-{word[2:]}"
    if word in options or not word.startswith("--"):
        return options.get(word)
    meant = {id(action): action for name, action in options.items() if name.startswith(word)}
    return next(iter(meant.values())) if len(meant) == 1 else None


def _is_option(word: str) -> bool:
    if not word.startswith("-") or word == "-" or " " in word:
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
