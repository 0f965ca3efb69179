"""``g3reduce completion``: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse
import re
from typing import Any

from ..choices import Shell, choices_of
from ..formats.kinds import ALL_ENDINGS
from ..mpi.agreement import world_rank
from .streams import result

DESCRIPTION = """\
Print a script by which Tab completes commands, options, their values, and names
of files of maps. Python is not started by Tab.
"""

EXAMPLE = """\
bash: for new shells, with the package bash-completion
  mkdir -p ~/.local/share/bash-completion/completions
  g3reduce completion bash > ~/.local/share/bash-completion/completions/g3reduce
without that package, or for this shell only
  g3reduce completion bash > ~/.g3reduce-completion; . ~/.g3reduce-completion
zsh: in a folder of $fpath, before compinit
  g3reduce completion zsh > ~/.zsh/_g3reduce
tcsh: with "source ~/.g3reduce.tcsh" in ~/.tcshrc
  g3reduce completion tcsh > ~/.g3reduce.tcsh
"""

# What is completed, by the names that values have in the help.
_MAPS = {"IN", "FILE", "OUT", "A", "B", "D", "COADDS", "SIGNFLIPS", "OTHER"}
_ANY_FILE = {"LIST", "DB", "PICTURE", "CONFIG", "PAGE", "LOG", "TABLE", "RESULT"}
_FOLDER = {"DIR"}

# Options about files that are no maps, whatever their values are called.
_OTHER_FILES = {"--manifest", "--write-manifest", "--table", "--log-json"}

# shtab completes the name of this function as names of files, because of its ending.
_PREAMBLE = {
    "bash": f"""
_g3reduce_files() {{
  local ending
  for ending in {" ".join(ALL_ENDINGS)}; do compgen -f -X "!*$ending" -- "$1"; done
  compgen -d -- "$1"
}}
"""
}


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "completion",
        help="what a shell needs to complete with Tab",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="completion", verbose=False)
    parser.add_argument("shell", choices=choices_of(Shell), help="for which shell")


def run(options: argparse.Namespace) -> None:
    """Print the script, on one rank."""
    if world_rank() == 0:
        result(script_for(options.shell))


def script_for(shell: Shell) -> str:
    """The script for a shell."""
    import shtab

    from . import command_line

    parser = command_line()
    helps = {action.dest: action.help for action in parser.commands._choices_actions}
    for name, command in parser.commands.choices.items():
        command.description = helps[name]  # of descriptions zsh would show the first line
        for action in command._actions:
            kind = _kind_of(action)
            if kind is not None:
                action.complete = kind  # type: ignore[attr-defined]
    script: str = shtab.complete(parser, shell, preamble=_PREAMBLE)
    if shell == "zsh":  # files may be many, and options stand among them
        return re.sub(r'^( *")\(\*\):+', r"\1*:", script, flags=re.MULTILINE)
    # What nothing is known of, such as values of other options, is completed as bash does itself.
    return re.sub(r"^(complete -o \w+)", r"\1 -o default", script, flags=re.MULTILINE)


def _kind_of(action: argparse.Action) -> Any:
    import shtab

    if action.choices is not None or not isinstance(action.metavar, str):
        return None
    if action.metavar in _FOLDER:
        return shtab.DIRECTORY
    if action.metavar in _ANY_FILE or _OTHER_FILES & {*action.option_strings}:
        return shtab.FILE
    if action.metavar not in _MAPS:
        return None
    return {
        "bash": "_g3reduce_files",
        "zsh": f"_files -g '({'|'.join(f'*{ending}' for ending in ALL_ENDINGS)})'",
        "tcsh": f"f:{{{','.join(f'*{ending}' for ending in ALL_ENDINGS)}}}",
    }
