"""The input files of a coadd: their names, their pieces, and about how large they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UsageError
from ..formats.firstlook import expand
from ..g3files.names import about_bytes
from ..g3files.pieces import Piece
from ..maps.assumed import Named
from ..pipeline.output import check_output
from .mapopener import pieces_of
from .outputs import endings_of


class Atomic(NamedTuple):
    """A table of sotodlib's atomic maps, and which of its rows are wanted."""

    database: str | os.PathLike[str] | None = None
    where: str | None = None

    def verify(self) -> dict[str, object]:
        """Check that these can be meant; return them, for all ranks must have the same.

        Raises
        ------
        UsageError
        """
        if not isinstance(self.database, str | os.PathLike | None):
            raise UsageError(f"atomic is {self.database!r}; expected the name of a file, or None.")
        if not isinstance(self.where, str | None):
            raise UsageError(f"where is {self.where!r}; expected a condition as of SQL, or None.")
        if self.where is not None and self.database is None:
            raise UsageError("where says which rows of a table are wanted; name it: atomic.")
        return {"atomic": str(self.database), "where": self.where}


class Found(NamedTuple):
    """What `root` sends to all ranks: names of files, their pieces and size, and the output.

    What a table says of files is in `named`.
    """

    names: list[str]
    pieces: list[Piece]
    output: str | None
    n_bytes: float
    named: Mapping[str, Named]


def as_names(files: Any) -> list[str | os.PathLike[str]]:
    """The names that an argument ``files`` holds.

    Raises
    ------
    UsageError
    """
    several = isinstance(files, Iterable) and not isinstance(files, str | bytes | os.PathLike)
    names: list[Any] = list(files) if several else [files]
    if not all(isinstance(name, str | os.PathLike) for name in names):
        raise UsageError(f"files is {files!r}; expected the name of a file, or a list of names.")
    return names


def names_of(
    inputs: Sequence[str | os.PathLike[str]], atomic: Atomic
) -> tuple[list[str], dict[str, Named]]:
    """The names of all input files, and what a table says of some of them."""
    named: dict[str, Named] = {}
    if atomic.database is not None:
        from ..formats.atomic import atomic_maps

        named = atomic_maps(atomic.database, atomic.where)
    return [*(expand(inputs) if inputs or not named else ()), *named], named


def look(
    inputs: Sequence[str | os.PathLike[str]],
    output_file: str | os.PathLike[str] | None,
    n_ranks: int,
    base: str | None = None,
    atomic: Atomic | None = None,
) -> Found:
    """Expand patterns, and check that the output can be written.

    The output may be only one of the inputs: the coadd `base` to which the others are added.
    """
    names, named = names_of(inputs, atomic or Atomic())
    output = None if output_file is None else os.fspath(output_file)
    if output is not None:
        check_output(output, [name for name in names if name != base], endings_of(output))
    return Found(names, pieces_of(names, n_ranks), output, about_bytes(names), named)
