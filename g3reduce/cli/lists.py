"""Names of input files from lists: ``--from-file LIST`` and ``@LIST``, for thousands of files."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Sequence
from typing import Any

from ..errors import InputError, UsageError
from ..formats.kinds import ALL_ENDINGS
from ..g3files.names import refuse_folder


def files_of(options: argparse.Namespace, comm: Any, *, needed: bool = False) -> list[str]:
    """All input files that the command line names. Collective over `comm` if there are lists.

    Raises
    ------
    InputError
        On all ranks, if a list cannot be read, or is empty.
    UsageError
        If some are needed, and there are none.
    """
    words = [*(f"@{name}" for name in options.from_file or ()), *options.files]
    if needed and not words:
        raise UsageError("No input files were named. Name files, or a list: --from-file LIST.")
    return with_lists(words, comm)


def with_lists(words: Sequence[str], comm: Any) -> list[str]:
    """As `expanded`; the lists are read by one rank. Collective over `comm` if there are any."""
    from ..mpi import communicators
    from ..mpi.agreement import from_rank

    if not any(word.startswith("@") for word in words):
        return list(words)
    return from_rank(communicators.private(comm), 0, lambda: expanded(words))


def files_on_one(words: Sequence[str]) -> list[str]:
    """The names of files for a command that works on one rank: lists and patterns are expanded.

    Raises
    ------
    InputError
        If a list cannot be read or is empty, a pattern matches nothing, or it is a folder.
    """
    names = list(words)
    if any(word.startswith("@") or glob.has_magic(word) for word in words):
        from ..formats.firstlook import expand

        names = expand(expanded(words))
    for name in names:
        refuse_folder(name, ALL_ENDINGS)
    return names


def expanded(words: Sequence[str]) -> list[str]:
    """The same words with the names in it in place of each ``@LIST``.

    Raises
    ------
    InputError
        If a list cannot be read, or is empty.
    """
    names: list[str] = []
    for word in words:
        names += _names_in(word[1:]) if word.startswith("@") else [word]
    return names


def _names_in(file: str) -> list[str]:
    """The names in a list, one a line; lines that are empty or begin with # do not count."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            names = [line.strip() for line in lines]
    except OSError as error:
        raise InputError(
            f"{file}: this list of files cannot be read ({error.strerror})."
        ) from error
    names = [name for name in names if name and not name.startswith("#")]
    if not names:
        raise InputError(f"{file}: there is no name of a file in this list, one a line.")
    if any("\0" in name for name in names[:10]):
        raise InputError(f"{file}: this is no list of files. Name it without @, or --from-file.")
    return names
