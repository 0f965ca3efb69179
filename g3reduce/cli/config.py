"""``--config FILE`` in place of many flags, and ``--write-config FILE``, which writes such a file.

Its keys are the long names of flags. What it says becomes words of the command line, which are
checked as any others; so all values are taken as they are written, never as numbers or dates.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UsageError
from .suggesting import did_you_mean
from .words import Given

# A word that YAML reads as it stands.
_PLAIN = re.compile(r"[A-Za-z0-9_./][\w./%+=-]*", re.ASCII)

_ENDINGS = (".yaml", ".yml")

_NOT_SET = ("", "null", "~")

# What YAML does not let stand in a text, and what stands for bytes that are no UTF-8 in a name.
_NOT_PRINTED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


# Before a value of several, so that one that begins with - is taken for no option. No word of a
# command line has this character.
AS_IT_IS = "\0"


class Setting(NamedTuple):
    """One option, or the files.

    Attributes
    ----------
    key : str
        As in the file: the long name of the flag, or what files are called.
    action : argparse.Action
    values : list of str
    line : int
        Of the file; 0 if it was said on the command line.
    """

    key: str
    action: argparse.Action
    values: list[str]
    line: int = 0

    @property
    def words(self) -> list[str]:
        """The words of the command line that say the same, values after `AS_IT_IS`."""
        flag = f"--{self.key}"
        if self.action.nargs == 0:
            return [flag]
        if self.action.nargs is None:
            return [f"{flag}={value}" for value in self.values]
        return [flag, *(f"{AS_IT_IS}{value}" for value in self.values)]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    group = parser.add_argument_group("options in a file")
    group.add_argument(
        "--config",
        metavar="CONFIG",
        help="a YAML file of options, by their long names; those of the command line win",
    )
    group.add_argument(
        "--write-config",
        metavar="CONFIG",
        help="write such a file of what is said here (- prints it), and do no more",
    )


def read(
    file: str, parser: argparse.ArgumentParser, given: Sequence[Given], files: Sequence[str]
) -> list[Setting]:
    """What a file says, without what the command line says, too.

    Raises
    ------
    UsageError
        If it cannot be read or used, with the line.
    """
    import yaml

    try:
        with open(file, encoding="utf-8") as stream:
            root = yaml.compose(stream, Loader=yaml.BaseLoader)
    except OSError as error:
        raise UsageError(f"{file}: these options cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or "it is no text"
        raise UsageError(f"{file}{where}: this is no YAML file ({what}).") from error
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"{file}: expected options, one a line, as in 'collate: true'.")
    known = _known(parser)
    settings: dict[str, Setting] = {}
    for key_node, node in root.value:
        where = f"{file}, line {key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise UsageError(f"{where}: expected the name of an option, as in 'collate: true'.")
        key = str(key_node.value).removeprefix("--").replace("_", "-")
        if key in settings:
            raise UsageError(f"{where}: {key} is there twice.")
        if key == "command":
            named = node.value if isinstance(node, yaml.ScalarNode) else None
            _check_command(named, parser, where)
            continue
        if key not in known:
            meant = did_you_mean(key, known)
            raise UsageError(f"{where}: {parser.prog} has no option {key!r}{meant}")
        values = _values(node, known[key], f"{where}: {key}")
        if values is not None:
            settings[key] = Setting(key, known[key], values, key_node.start_mark.line + 1)
    return [one for one in settings.values() if not _is_given(one.action, parser, given, files)]


def said(given: Iterable[Given], parser: argparse.ArgumentParser) -> list[Setting]:
    """The options that the command line gives, each once."""
    options, found = parser._option_string_actions, dict[str, Setting]()

    def note(action: argparse.Action, values: list[str]) -> None:
        key = _key_of(action)
        if action.help == argparse.SUPPRESS or key in (None, "config", "write-config"):
            return
        adds = type(action).__name__ in ("_AppendAction", "_ExtendAction", "Bounds")
        earlier = found[str(key)].values if adds and key in found else []
        found[str(key)] = Setting(str(key), action, [*earlier, *values])

    for one in given:
        word, action, values = one
        _, equals, value = word.partition("=")
        if not word.startswith("--"):  # switches may stand together, and a value right behind
            while (switch := options.get(word[:2])) and switch.nargs == 0 and len(word) > 2:
                note(switch, [])
                word = f"-{word[2:]}"
            action = options.get(word[:2], action)
            values = [word[2:]] if len(word) > 2 else values
        elif equals:
            values = [value]
        if action is not None:
            note(action, list(values))
    return list(found.values())


def text_of(
    settings: Iterable[Setting], files: Sequence[str], parser: argparse.ArgumentParser
) -> str:
    """A file of these settings; all other options stand in it as comments."""
    command = parser.prog.split()[-1]
    lines = [f"# Options of the command {command}, whose --help explains them.", ""]
    lines.append(f"command: {command}")
    positional = _positional(parser)
    if len(positional) == 1 and positional[0].nargs in ("*", "+") and files:
        lines += _lines(positional[0].dest, list(files))
    else:
        lines += [f"{one.dest}: {_scalar(file)}" for one, file in zip(positional, files)]  # noqa: B905
    there = set()
    for one in settings:
        there.add(one.key)
        if one.action.nargs == 0:
            lines.append(f"{one.key}: true")
        elif one.action.nargs is None and len(one.values) == 1:
            lines.append(f"{one.key}: {_scalar(one.values[0])}")
        else:
            lines += _lines(one.key, one.values)
    lines += ["", "# Not set, with what holds then:"]
    for key, action in _known(parser).items():
        if action.option_strings and key not in there:
            default = "false" if action.nargs == 0 else action.default
            shown = "" if default in (None, [], argparse.SUPPRESS) else f" {default}"
            lines.append(f"# {key}:{shown}")
    return "\n".join([*lines, ""])


def write(file: str, text: str) -> None:
    """Write it.

    Raises
    ------
    UsageError, OutputError
    """
    if not file.endswith(_ENDINGS):
        raise UsageError(f"write_config is {file!r}; expected a name that ends in .yaml, or -.")
    from ..pipeline.output import check_output, write_output

    check_output(file, endings=_ENDINGS)
    write_output(file, lambda output: output.write(text.encode()))


def files_in(settings: Sequence[Setting]) -> list[str]:
    """The files among settings."""
    return [value for one in settings if not one.action.option_strings for value in one.values]


def _known(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """What a file may set, by its key."""
    found = {action.dest: action for action in _positional(parser)}
    for action in parser._actions:
        key = _key_of(action)
        hidden = action.help == argparse.SUPPRESS or key in ("help", "config", "write-config")
        if key is not None and not hidden:
            found[key] = action
    return found


def _positional(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not action.option_strings]


def _key_of(action: argparse.Action) -> str | None:
    flags = [flag for flag in action.option_strings if flag.startswith("--")]
    return flags[0].removeprefix("--") if flags else None


def _check_command(command: str | None, parser: argparse.ArgumentParser, where: str) -> None:
    name = parser.prog.split()[-1]
    if command is None:
        raise UsageError(f"{where}: command has several values; expected {name}.")
    if command not in (name, *_NOT_SET):
        raise UsageError(f"{where}: these are options of g3reduce {command}, not of {name}.")


def _values(node: Any, action: argparse.Action, where: str) -> list[str] | None:
    """The values of an option; None if it is not set."""
    import yaml

    if isinstance(node, yaml.ScalarNode):
        value = _text(node, where)
        if node.style is None and value in _NOT_SET:
            return None
        if action.nargs != 0:
            return [value]
        if value.lower() not in ("true", "false"):
            raise UsageError(f"{where} is {value!r}; expected true or false.")
        return [] if value.lower() == "true" else None
    takes_many = action.nargs not in (None, 0) or type(action).__name__ == "_AppendAction"
    if not takes_many:
        what = "one" if action.nargs is None else "true or false"
        raise UsageError(f"{where} has several values; expected {what}.")
    pairs = isinstance(node, yaml.MappingNode)
    if pairs and "=" not in f"{action.metavar}" and type(action).__name__ != "Bounds":
        raise UsageError(f"{where} has values with names; expected a list of values.")
    items = [item for pair in node.value for item in pair] if pairs else node.value
    if not all(isinstance(item, yaml.ScalarNode) for item in items):
        raise UsageError(f"{where}: expected a list of values, or NAME: VALUE.")
    values = [_text(item, where) for item in items]
    if pairs:  # as on the command line
        values = [f"{name}={value}" for name, value in zip(values[::2], values[1::2], strict=True)]
    return values or None


def _text(node: Any, where: str) -> str:
    """One value, which could be a word of the command line."""
    value = str(node.value)
    if "\0" in value:
        raise UsageError(f"{where} is {value!r}; expected a text without the character 0.")
    return value


def _is_given(
    action: argparse.Action,
    parser: argparse.ArgumentParser,
    given: Iterable[Given],
    files: Sequence[str],
) -> bool:
    """Whether the command line says it, or what excludes it."""
    there = [one.action for one in given if one.action is not None]
    dests = {one.dest for one in there}
    if not action.option_strings or action.dest == "from_file":
        return bool(files) or "from_file" in dests
    if action.dest in dests:
        return True
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]
    return any(action in group and any(one in group for one in there) for group in groups)


def _lines(key: str, values: Sequence[str]) -> list[str]:
    return [f"{key}:", *(f"  - {_scalar(value)}" for value in values)]


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text not in _NOT_SET:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _NOT_PRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def origins(file: str, settings: Iterable[Setting]) -> Mapping[str, str]:
    """Where in the file each flag is, for messages."""
    return {
        flag: f"{file}, line {one.line}" for one in settings for flag in one.action.option_strings
    }
