"""Messages of the library in the words of the command line: flags instead of Python's arguments."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Iterable

# The groups of the expression below of which one holds the argument's name.
_NAMED = ("set", "open", "plain", "second", "first")


class Flags:
    """Knows the flag that stands for each argument of the functions behind a command.

    Parameters
    ----------
    actions : iterable of argparse.Action
        The options of the command. The ``dest`` of each is the name of the argument.
    """

    def __init__(self, actions: Iterable[argparse.Action]):
        self._actions = {action.dest: action for action in actions if action.dest != "help"}
        names = "|".join(map(re.escape, self._actions))
        unmistakable = "|".join(re.escape(name) for name in self._actions if "_" in name)
        # Other names are words of English, too: those count where a message begins with them.
        self._names = re.compile(
            rf"(?<![\w./'\"-])(?:(?P<set>{names})=(?P<value>\"[^\"]*\"|'[^']*'|\w+)"
            rf"|(?P<open>{names})=(?=[\s.,;:)]|$)"
            rf"|(?P<plain>{unmistakable or '(?!)'})(?=[\s,;:)]|\.?$|\.\s)"
            rf"|(?P<second>(?<= and )(?:{names}))(?= is ['\"\d])"
            rf"|(?P<first>(?:(?<=^)|(?<=\n))(?:{names}))(?= (?:is|has|holds|must|takes)\b))"
        )

    def translate(self, text: str) -> str:
        """A message with flags in it."""
        translated = self._names.sub(self._flag, text)
        return text if translated == text else re.sub(r", or None\b[^.]*\.", ".", translated)

    def _flag(self, match: re.Match[str]) -> str:
        action = self._actions[next(filter(None, map(match.groupdict().get, _NAMED)))]
        flag = next((name for name in action.option_strings if name.startswith("--")), None)
        flag = flag or next(iter(action.option_strings), None) or str(action.metavar)
        value = match["value"]
        if value is None:
            return flag
        if action.nargs == 0:  # a switch
            return flag if value == str(action.const) else f"no {flag}"
        return f"{flag} {value.strip(chr(34) + chr(39))}"


class FlagFormatter(logging.Formatter):
    """Formats what the library says in the log as `Flags` translates it."""

    def __init__(self, flags: Flags):
        super().__init__("g3reduce: %(message)s")
        self._flags = flags

    def format(self, record: logging.LogRecord) -> str:
        """The line that is shown."""
        return self._flags.translate(super().format(record))
