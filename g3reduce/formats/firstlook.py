"""Names of input files of maps: patterns, and a first look before any work begins."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import InputError, UsageError, about_file
from ..g3files import names
from .companions import without_companions
from .kinds import ALL_ENDINGS, format_of

# What files begin with, where they are not compressed.
_BEGINNINGS = {"fits": b"SIMP", "hdf5": b"\x89HDF"}


def expand(patterns: Iterable[str | os.PathLike[str]]) -> list[str]:
    """File names that names and shell patterns stand for; see `g3reduce.g3files.names.expand`.

    Of what a pattern matches, files that hold only the weights or hits of another one are left out.

    Raises
    ------
    InputError
        If a pattern matches nothing, or if there are no names at all.
    """
    found = []
    for pattern in patterns:
        matches = names.expand([pattern], ALL_ENDINGS)
        found += without_companions(matches) if len(matches) > 1 else matches
    return found or names.expand([])


def check_file(file: str) -> None:
    """Take a first look at a file of maps.

    Raises
    ------
    InputError
        If it is missing, unreadable, empty, or visibly not what its name says.
    """
    names.refuse_folder(file, ALL_ENDINGS)
    if names.is_stream(file) or not file:
        names.check_file(file)
        return
    with about_file(file):
        try:
            kind = format_of(file)
        except UsageError as error:
            raise InputError(str(error), fault="not named like a file of maps") from error
        if kind == "g3":
            names.check_file(file)
            return
        head = names.head_of(file)
        if not file.endswith(".gz") and not head.startswith(_BEGINNINGS[kind]):
            raise InputError(
                f"{file}: this is no {kind.upper()} file (it begins with {head!r}).",
                fault=f"no {kind.upper()} file",
            )
