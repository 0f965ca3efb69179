"""Outputs of commands that are no maps: they must not replace maps, nor what the command reads."""

from __future__ import annotations

import argparse
import os

from ..errors import UsageError
from ..formats.kinds import ALL_ENDINGS

# What names other files of a command.
_FILES = (
    *("files", "from_file", "output_file", "add_to", "subtract", "like", "repeat", "config"),
    *("manifest", "write_manifest", "table", "atomic", "report"),
)


def refuse_other_file(options: argparse.Namespace, option: str, example: str) -> None:
    """Refuse an output that would be written over what the command reads, or is to write.

    A name of maps is refused, too: of ``--option obs/*.g3`` the option takes the first file.

    Parameters
    ----------
    options : namespace
    option : str
        Which of them names the output.
    example : str
        A name as it is expected.

    Raises
    ------
    UsageError
    """
    output = getattr(options, option)
    if output.endswith(ALL_ENDINGS):
        raise UsageError(f"{option} is {output!r}, a name of maps; expected one such as {example}.")
    named = [word for word in options.words if word.startswith("@")]
    for name in _FILES:
        value = getattr(options, name, None) if name != option else None
        named += value if isinstance(value, list) else [value]
    for file in named:
        if isinstance(file, str) and _is_same(file.removeprefix("@"), output):
            raise UsageError(
                f"{option} is {output!r}, which this command reads or writes as {file}; "
                f"expected another name, such as {example}."
            )


def _is_same(a: str, b: str) -> bool:
    try:
        return os.path.samefile(a, b)
    except (OSError, ValueError):  # one of them is not there
        return os.path.abspath(a) == os.path.abspath(b)
