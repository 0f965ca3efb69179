"""``--list`` of commands that read many files: what is in these, and no more."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .messages import counted
from .streams import one_line, result


def add_list(group: argparse._ActionsContainer) -> None:
    """Add ``--list``."""
    group.add_argument(
        "--list",
        action="store_true",
        help="only print what is in the input files, a line for each: size, frames by type, Ids, "
        "observations",
    )


def show_files(options: argparse.Namespace, comm: Any, names: Sequence[str]) -> int:
    """Print what is in files; return 1 if one cannot be read. Collective over `comm`."""
    from ..errors import UsageError
    from ..jobs.inputs import Atomic, names_of
    from ..jobs.listing import list_files
    from ..maps.assumed import Assumed
    from ..mpi import communicators
    from ..mpi.agreement import from_rank
    from ..progress.wording import in_words

    private = communicators.private(comm)
    said = {
        name: getattr(options, f"input_{name}", None) for name in ("pol_conv", "coord", "units")
    }
    assumed = Assumed(said["pol_conv"], said["coord"], said["units"])
    rows = Atomic(getattr(options, "atomic", None), getattr(options, "where", None))

    def find() -> Any:
        rows.verify()
        assumed.checked("input_")
        if not names and rows.database is None:
            raise UsageError("There are no input files: name them (IN).")
        return names_of(names, rows)

    files, named = from_rank(private, 0, find)
    found = list_files(private, files, assumed.checked()._replace(named=named))
    bad = sum(bool(one.fault) for one in found)
    if comm.rank == 0:
        for one in found:
            result(one_line(options.translate(str(one))))
        size = sum(one.n_bytes for one in found)
        frames = sum(one.frames.total() for one in found)
        last = f"{counted(len(found), 'file')}, {in_words(size)}, {counted(frames, 'frame')}"
        result(last + (f"; {bad} cannot be read" if bad else ""))
    return 1 if bad else 0
