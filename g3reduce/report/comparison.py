"""Coadds compared with those that spt3g makes of the same files in one process."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from spt3g import core, maps

from ..errors import G3ReduceError
from ..maps.mapframe import maps_of

# Rounding of a sum in another order: a few units in the last place of the largest terms.
TOLERANCE = 1e-13


class Comparison(NamedTuple):
    """How near a file of coadds is to spt3g's own.

    Attributes
    ----------
    n_maps : int
        How many maps were compared; of weights, each component is one.
    worst : float
        The largest difference of any pixel, relative to the largest value of its map.
    seconds : float
        How long spt3g took.
    """

    n_maps: int
    worst: float
    seconds: float


def compare_with_spt3g(files: Sequence[str], coadds: str | os.PathLike[str]) -> Comparison:
    """Compare a file of coadds, one for each Id, with spt3g's serial ones.

    Parameters
    ----------
    files : sequence of str
        The input of the coadds.
    coadds : path
        A file that ``coadd_files(files, coadds, collate=True)`` has written.

    Returns
    -------
    Comparison

    Raises
    ------
    G3ReduceError
        If Ids or maps differ, if hits are not equal, or if other values differ by more than
        rounding.
    """
    start = time.perf_counter()
    expected = maps.coadd_map_files(list(files), collate=True)
    seconds = time.perf_counter() - start
    worst, n_maps = 0.0, 0
    frames = {frame["Id"].removeprefix("Coadd"): frame for frame in core.G3File(str(coadds))}
    if set(frames) != set(expected):
        raise G3ReduceError(f"{coadds} has the Ids {sorted(frames)}; expected {sorted(expected)}.")
    for map_id, frame in frames.items():
        mine, theirs = (maps_of(some, str(some["Id"])) for some in (frame, expected[map_id]))
        if set(mine) != set(theirs):
            raise G3ReduceError(
                f"{coadds}: {map_id} has the maps {sorted(mine)}; expected {sorted(theirs)}."
            )
        for name in mine:
            difference = _difference(mine[name], theirs[name])
            if difference > (0 if name == "H" else TOLERANCE):
                raise G3ReduceError(
                    f"{coadds}: {name} of {map_id} differs from spt3g's serial coadd by "
                    f"{difference:.1e} of its largest value; expected at most {TOLERANCE:.0e}."
                )
            worst, n_maps = max(worst, difference), n_maps + 1
    return Comparison(n_maps, worst, seconds)


def _difference(mine: Any, theirs: Any) -> float:
    """The largest difference of two maps, relative to the largest value."""
    a, b = (np.asarray(skymap.clone(True)) for skymap in (mine, theirs))
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
