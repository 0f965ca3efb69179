"""Parallel blocks: the files of a list that are shared out, beside those that every rank reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..choices import Schedule
from ..errors import UsageError, require_choice
from ..g3files.frames import Fingerprint
from .units import Unit

PathLike: TypeAlias = "str | os.PathLike[str]"
Files: TypeAlias = "Sequence[PathLike | Sequence[PathLike]]"


@dataclass(frozen=True)
class ParallelBlock:
    """Files that are read together.

    Attributes
    ----------
    files : tuple of str
    shared : bool
        Whether every rank sees them (then it is one file), or they are shared out.
    first_position : int
        Of its files, in the whole list.
    """

    files: tuple[str, ...]
    shared: bool
    first_position: int

    def unit(self, number: int, index: int, fingerprint: Fingerprint | None = None) -> Unit:
        """The name of a frame of one of its files."""
        position = self.first_position + number
        return Unit(self.files[number], index, position, self.shared, fingerprint)


def check_schedule(schedule: str) -> None:
    """Refuse what is no way to share out files.

    Raises
    ------
    UsageError
    """
    require_choice("schedule", schedule, Schedule)


def blocks_of(files: Files, schedule: str = "dynamic") -> tuple[ParallelBlock, ...]:
    """The files that all ranks read, and the parallel blocks that are shared out.

    Raises
    ------
    UsageError
        If an argument cannot be used.
    """
    check_schedule(schedule)
    entries: Any = [files] if isinstance(files, str | os.PathLike) else files
    if isinstance(entries, bytes) or not isinstance(entries, Iterable):
        raise UsageError(
            f"files is {files!r}; expected a list of names of files, and of lists of names for "
            "what is to be read in parallel."
        )
    blocks: list[ParallelBlock] = []
    position = 0
    for entry in entries:
        shared = isinstance(entry, str | os.PathLike)
        listed = isinstance(entry, Iterable) and not isinstance(entry, bytes)
        names: list[Any] = list(entry) if listed and not shared else [entry]
        for name in names:
            if not isinstance(name, str | os.PathLike):
                raise UsageError(
                    f"files holds {name!r} ({type(name).__name__}); expected names of files, and "
                    "lists of names for what is to be read in parallel."
                )
        block = ParallelBlock(tuple(map(os.fspath, names)), shared, position)
        position += len(block.files)
        blocks.append(block)
    return tuple(blocks)
