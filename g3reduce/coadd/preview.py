"""What a coadd would be, as far as that is known before any map is added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Preview(NamedTuple):
    """What ``coadd_files(dry_run=True)`` finds; the same on all ranks.

    Attributes
    ----------
    files : list of str
        Those that would be read, in order.
    n_bytes : int
        Their size.
    maps : dict of str to int
        How many maps would go to each coadd, by its Id. Sign flips are not among them.
    flips : dict of str to int
        How many sign-flip realisations each coadd would have.
    map_ids : dict of str to int
        How many of the maps have each Id.
    observations : list of str
    passes : int
        Over the files.
    memory : int
        About how many bytes each rank would need.
    available : int or None
        How many there are for each; None if that is not known.
    seconds : float or None
        About how long it would take, at the rate at which one of the files was read; None if none
        could be.
    written : list of str
        The files that would be written.
    """

    files: Sequence[str]
    n_bytes: int
    maps: Mapping[str, int]
    flips: Mapping[str, int]
    map_ids: Mapping[str, int]
    observations: Sequence[str]
    passes: int
    memory: int
    available: int | None
    seconds: float | None
    written: Sequence[str]
