"""Whether the input had any map that was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..errors import InputError


def require_maps(
    n_files: int,
    map_ids: Sequence[str] | None,
    n_read: Counter[str],
    any_added: bool,
    *,
    sampled: bool = False,
) -> None:
    """Refuse to make an empty coadd, or one that lacks what was asked for.

    Where only a sample of the files was read, this is said.
    """
    if not n_files:  # all that was to be added to a coadd is in it already, or bad
        return
    files = f"the {n_files} input files" if n_files > 1 else "the input file"
    if sampled:
        files += " of the sample (sample=N looks at more)"
    if not n_read:
        raise InputError(f"There is no Map frame in {files}.")
    listed = ", ".join(f"{map_id!r} ({count})" for map_id, count in sorted(n_read.items()))
    missing = [map_id for map_id in map_ids or () if map_id not in n_read]
    if missing:
        raise InputError(
            f"There is no map with the Id {', '.join(map(repr, missing))} in {files}; these Ids "
            f"are there (and how often): {listed}."
        )
    if not any_added:
        raise InputError(
            f"None of the maps in {files} belongs to any coadd; these Ids are there (and how "
            f"often): {listed}."
        )
