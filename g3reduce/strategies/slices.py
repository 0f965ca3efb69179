"""A slice of the rows of a node, cut into pieces: which rank holds which rows of each, and where.

The plan is made once, and is good for all planes whose numbers are as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.blocks import Rows
from .peers import Extents
from .rows import cuts


class Share(NamedTuple):
    """The rows of a piece that a rank has in its plane.

    Attributes
    ----------
    rank : int
    here : int64 array
        Which rows of the piece they are, in rising order.
    complete : bool
        Whether they are all of them.
    positions : slice or int64 array
        Where they are in the plane; a slice if they are neighbours there.
    extents : Extents
        The same in bytes, from the beginning of the plane.
    """

    rank: int
    here: Rows
    complete: bool
    positions: slice | Rows
    extents: Extents


class Piece(NamedTuple):
    """A part of a slice that fits in the cache.

    Attributes
    ----------
    shape : (int, int)
    columns : slice
        Of the plane; all of them, unless a row is longer than a piece.
    sources, takers : list of Share
        The ranks that hold rows of it, in their order; those that take the sum of it, all of it.
    """

    shape: tuple[int, int]
    columns: slice
    sources: list[Share]
    takers: list[Share]


def pieces_of(
    sources: Mapping[int, Rows],
    takers: Mapping[int, Rows],
    plane: NDArray[np.generic],
    nbytes: int,
) -> list[Piece]:
    """Cut a slice of rows into pieces.

    Parameters
    ----------
    sources, takers : dict of int to int64 array
        For each rank, where it has the rows of the slice in its planes, and -1 where it has not.
    plane : array
        One like all planes for which the pieces are good.
    nbytes : int
        The size of a piece.
    """
    n_rows = len(next(iter(sources.values())))
    pieces = []
    for rows, columns in cuts(n_rows, plane, nbytes):
        shares = [
            [
                share
                for rank, positions in ranks.items()
                if len((share := _share(rank, positions[rows], columns, plane)).here)
            ]
            for ranks in (sources, takers)
        ]
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        pieces.append(Piece(shape, columns, *shares))
    return pieces


def _share(rank: int, positions: Rows, columns: slice, plane: NDArray[np.generic]) -> Share:
    here = np.flatnonzero(positions >= 0)
    held = positions[here]
    extents, neighbours = extents_of(held, columns, plane)
    run = slice(int(held[0]), int(held[-1]) + 1) if neighbours else held
    return Share(rank, here, len(here) == len(positions), run, extents)


def extents_of(positions: Rows, columns: slice, plane: NDArray[np.generic]) -> tuple[Extents, bool]:
    """The extents of rows of a plane, in bytes from its beginning, and whether they are one run."""
    length, itemsize = plane.shape[1], plane.itemsize
    begins = np.flatnonzero(np.diff(positions, prepend=-2) != 1)
    neighbours = len(begins) == 1
    if columns != slice(0, length):  # of each row a part
        begins = np.arange(len(positions))
    counts = np.diff(begins, append=len(positions))
    width = columns.stop - columns.start
    first = (positions[begins] * length + columns.start) * itemsize
    return np.stack([first, counts * width * itemsize], axis=1).astype(np.uint64), neighbours
