"""Names of files that all ranks work on: one rank looks, and sends them to the others."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

from ..errors import DuplicateError
from ..g3files.names import check_file, check_files, expand
from ..mpi import communicators
from ..mpi.agreement import from_rank, same_everywhere
from .ledger import Entry, Ledger, Unit
from .originals import KnownFiles, same_because
from .output import check_output

PathLike: TypeAlias = "str | os.PathLike[str]"

# Most file systems take 255 bytes; this leaves room for suffixes.
_MOST_BYTES = 200

# Characters that end the name of a file, for the system or for libraries ("file.h5:/group").
_NOT_IN_NAMES = "/\\:"


def names_of_files(
    comm: communicators.Comm,
    files: PathLike | Sequence[PathLike],
    check: Callable[[Sequence[str]], object] | None = None,
) -> list[str]:
    """The names of the files to read, with patterns expanded. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    files : name, path, pattern or list of these
        The same on all ranks.
    check : callable or None
        Called on rank 0 with the names, such as `refuse_repeated`; what it raises is raised on all
        ranks.

    Raises
    ------
    InputError, DuplicateError
        On all ranks.
    """
    patterns = [files] if isinstance(files, str | os.PathLike) else list(files)
    same_everywhere(comm, "The list of files", list(map(str, patterns)))

    def look() -> list[str]:
        names = expand(patterns)
        if check is not None:
            check(names)
        return names

    return from_rank(comm, 0, look)


def check_files_of_rank(
    names: Sequence[str], comm: communicators.Comm, check: Callable[[str], None] = check_file
) -> None:
    """Take a first look at some of the files, so that all ranks together look at all of them.

    Raises
    ------
    InputError
        If a file is missing, unreadable, empty, or visibly no .g3 file.
    """
    check_files(names[comm.rank :: comm.size], check)  # thousands of them on a network take a while


def name_of_output(
    comm: communicators.Comm, output_file: PathLike | None, names: Sequence[str], root: int = 0
) -> str | None:
    """The name of the output, which is that on `root`, because it writes.

    Collective over `comm`.

    Raises
    ------
    OutputError
        On all ranks, if the result cannot be written there.
    """

    def look() -> str | None:
        if output_file is None:
            return None
        output = os.fspath(output_file)
        check_output(output, names)
        return output

    return from_rank(comm, root, look)


def as_file_name(text: str) -> str:
    """A name for a file, without a suffix, out of any text.

    The text itself, if that is one. Else characters that no name may have become ``_``, what is too
    long is cut, and a few digits of the text's hash follow, so that other texts have other names.
    """
    fit = "".join(c if c.isprintable() and c not in _NOT_IN_NAMES else "_" for c in text)
    if fit.startswith("."):  # hidden, or a folder
        fit = "_" + fit[1:]
    while len(fit.encode()) > _MOST_BYTES:
        fit = fit[:-1]
    if fit == text and text.strip():
        return text
    return f"{fit}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def refuse_repeated(names: Sequence[str]) -> None:
    """Refuse a file that is named twice, where it would make no sense.

    Raises
    ------
    DuplicateError
    """
    files = KnownFiles()
    known: dict[str, str] = {}
    for name in names:
        file = files.given(name)
        for key in file.keys:
            if key in known:
                other = known[key]
                also = f", {same_because(file, files.given(other))}" if other != name else ""
                raise DuplicateError(
                    f"{name}: this file is named twice{also}. Name each file once."
                )
        known.update(dict.fromkeys(file.keys, name))


def refuse_repeated_inputs(names: Sequence[str]) -> None:
    """Refuse a file that is named twice, where it would be summed twice.

    Raises
    ------
    DuplicateError
    """
    ledger, known = Ledger(), KnownFiles()
    for name in names:
        entry = Entry.of(Unit(name, 0), known=known)
        ledger.refuse_duplicate(entry)
        ledger.record(entry)
