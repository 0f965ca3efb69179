"""Messages of the command line: counts, times, and errors of the library with flags in them."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Iterable

from ..progress.screen import aside
from .streams import printable

# Groups of the expression below; one of them holds the name of the argument.
_NAMED = ("set", "open", "plain", "second", "first")

# A value, or those of which one is to be chosen.
_QUOTED = r'"[^"]*"(?: or "[^"]*")*'

# Functions that coadd have another argument for it than those that only read.
_OF_TWO = re.compile(r"(\w+)= \(or, where files are coadded, (\w+)=\)")


def counted(number: int, what: str) -> str:
    """A number of things: ``"1 file"``, ``"2 files"``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def wrote(output: str, seconds: float, n_ranks: int) -> str:
    """The last line of a command that writes a file."""
    ranks = f" on {n_ranks} ranks" if n_ranks > 1 else ""
    return f"Wrote {output} in {seconds:.2f} s{ranks}."


class Flags:
    """Names of Python's arguments in a message, replaced by the flags of a command.

    Parameters
    ----------
    actions : iterable of argparse.Action
        The options of the command. The ``dest`` of each is the name of the argument.
    """

    def __init__(self, actions: Iterable[argparse.Action]):
        self._actions = {action.dest: action for action in actions if action.dest != "help"}
        names = "|".join(map(re.escape, self._actions))
        unmistakable = "|".join(re.escape(name) for name in self._actions if "_" in name)
        # Other names are words of English, too: they count only at the beginning of a message.
        # What maps differ in is an attribute of them, and no argument, whatever its name.
        self._names = re.compile(
            rf"(?<![\w./'\"-])(?:(?P<set>{names})=(?P<value>{_QUOTED}|'[^']*'|\w+)"
            rf"|(?P<open>{names})=(?=[\s.,;:)]|$)"
            rf"|(?<! differs in )(?:(?<!; )|(?!\w+, ))(?P<plain>{unmistakable or '(?!)'})"
            rf"(?=[\s,;:)]|\.?$|\.\s)"
            rf"|(?P<second>(?<= and )(?:{names}))(?= is ['\"\d])"
            rf"|(?P<first>(?:(?<=^)|(?<=\n))(?:{names}))(?= (?:is|has|holds|must|takes)\b))"
        )

    def translate(self, text: str) -> str:
        """The message with flags instead of names of arguments."""
        translated = self._names.sub(self._flag, _OF_TWO.sub(self._one_of_two, text))
        return text if translated == text else re.sub(r", or None\b[^.]*\.", ".", translated)

    def _one_of_two(self, match: re.Match[str]) -> str:
        return f"{match[2] if match[2] in self._actions else match[1]}="

    def _flag(self, match: re.Match[str]) -> str:
        action = self._actions[next(filter(None, map(match.groupdict().get, _NAMED)))]
        flag = next((name for name in action.option_strings if name.startswith("--")), None)
        flag = flag or next(iter(action.option_strings), None) or str(action.metavar)
        value = match["value"]
        if value is None:
            return flag
        if action.nargs == 0:  # a switch
            return flag if value.strip("\"'") == str(action.const) else f"no {flag}"
        return f"{flag} {value.replace(chr(34), '').strip(chr(39))}"


class LogHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes log records to standard error, beside the live line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        with aside():
            super().emit(record)


class FlagFormatter(logging.Formatter):
    """Formatter of log records, with flags instead of names of arguments."""

    def __init__(self, flags: Flags):
        super().__init__("g3reduce: %(message)s")
        self._flags = flags

    def format(self, record: logging.LogRecord) -> str:
        """The line that is shown."""
        return printable(self._flags.translate(super().format(record)))
