"""The parser of the command line: it prints on one rank only, and files may stand anywhere.

argparse alone lets an option that takes several words take all that follow: in
``-m 150GHz obs.g3`` the file, too. And it takes positional arguments in one place only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ..errors import UsageError
from ..mpi.agreement import world_rank
from . import config
from .suggesting import about_command, about_option, did_you_mean, wrong_option
from .words import Given, options_and_files

BAD_USAGE = 2

# Seconds that rank 0 is given to print what is wrong with the arguments.
_MESSAGE_S = 2.0


class Parser(argparse.ArgumentParser):
    """A parser whose messages come from one rank, and that takes files between options, too."""

    def __init__(self, *args: Any, **kwargs: Any):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)
        self._origins: Mapping[str, str] = {}  # flags that are from a file of options
        self.options_elsewhere: Callable[[], Mapping[str, Iterable[str]]] = dict

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but with files anywhere among the options of a command."""
        if args is None or self._subparsers is not None:
            options, unknown = super().parse_known_args(args, namespace)
            if unknown:
                self.error(f"there is no option {unknown[0]} before the name of a command")
            return options, unknown
        known = self._option_string_actions
        given, files = options_and_files(args, known)
        wrong = wrong_option(given, known)
        if wrong is not None:
            self.error(about_option(wrong, known, self.options_elsewhere()))
        positional = [action for action in self._actions if not action.option_strings]
        if files and not positional:
            self.error(f"unexpected word {files[0]!r}; this command takes no files")
        settings = self._from_file(given, files)
        files = files or config.files_in(settings)
        words = [word for one in settings if one.action.option_strings for word in one.words]
        words += [word for one in given for word in (one.word, *one.values)]
        words += ["--", *files] if files else []
        options, unknown = super().parse_known_args(words, namespace)
        if getattr(options, "write_config", None) is not None:
            named = {one.key: one for one in settings if one.action.option_strings}
            named |= {one.key: one for one in config.said(given, self)}
            options.config_text = config.text_of(named.values(), files, self)
        if unknown:
            expected = " and ".join(str(action.metavar or action.dest) for action in positional)
            self.error(f"unexpected word {unknown[0]!r}; this command takes {expected} alone")
        return options, unknown

    def _from_file(self, given: Sequence[Given], files: Sequence[str]) -> list[config.Setting]:
        """What the file of ``--config`` says, if there is one."""
        named = [one for one in given if one.action is not None and one.action.dest == "config"]
        if not named:
            return []
        _, equals, value = named[-1].word.partition("=")
        file = value if equals else "".join(named[-1].values)
        if not file:
            return []  # argparse says that it is missing
        try:
            settings = config.read(file, self, given, files)
        except UsageError as error:
            self.error(str(error))
        self._origins = config.origins(file, settings)
        return settings

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """One value; those of a file of options are taken as they are, also with a - before."""
        return super()._get_value(action, arg_string.removeprefix(config.AS_IT_IS))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is none of the choices, with what may have been meant."""
        choices = action.choices
        if choices is None or value in choices:
            return
        names = [str(choice) for choice in choices]
        if isinstance(action, argparse._SubParsersAction):
            self.error(about_command(str(value), names))
        meant = did_you_mean(str(value), names)
        raise argparse.ArgumentError(
            action, f"{str(value)!r} is not valid; expected {_one_of(names)}{meant}"
        )

    def _print_message(self, message: str, file: Any = None) -> None:
        if world_rank() == 0:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how to find out more, and exit."""
        if world_rank() != 0:
            # A launcher may end the job as soon as one rank exits; rank 0 prints the message first.
            time.sleep(_MESSAGE_S)
        text = message.removeprefix("argument ")
        flags = text.partition(":")[0].split("/")
        text += "".join(f" ({self._origins[flag]})" for flag in flags[:1] if flag in self._origins)
        self.exit(BAD_USAGE, f"{self.prog}: error: {text}\nSee {self.prog} --help.\n")


class CommandLine(Parser):
    """The parser of all commands, whose help lists them in groups.

    Parameters
    ----------
    groups : mapping of str to sequence of str
        The commands of each group, by its heading.
    """

    def __init__(self, groups: Mapping[str, Sequence[str]], **kwargs: Any):
        super().__init__(**kwargs)
        self._groups = groups
        self.commands = self.add_subparsers(metavar="command", parser_class=Parser)

    def format_help(self) -> str:
        """What ``g3reduce --help`` prints."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        listed = {action.dest: action for action in self.commands._choices_actions}
        for title, names in self._groups.items():
            formatter.start_section(title)
            formatter.add_arguments([listed[name] for name in names if name in listed])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


def _one_of(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
