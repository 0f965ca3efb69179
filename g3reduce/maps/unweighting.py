"""Dividing weighted maps by their weights.

The numbers are those of spt3g's ``remove_weights``, to the bit. It fills T, Q and U from several
threads; here maps that are stored sparse stay so, which it does only with ``zero_nans``, pixel by
pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..g3files.archive import DENSE, EMPTY
from ..g3files.lines import Values
from ..g3files.maps import STOKES
from .agreement import weights_key
from .attributes import with_attributes
from .chunks import PointsChunk, dense_chunks
from .pixels import Plane, as_points, fuller, merged, whole
from .weighting import at

COMPONENTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")

# Matrices whose largest and smallest eigenvalue are further apart are singular, as in spt3g.
_LARGEST_CONDITION = 1e12

# So many pixels are solved at once: what is needed beside them stays small.
_BLOCK = 2**16


class Unweighted(NamedTuple):
    """The maps of a frame without their weights.

    Attributes
    ----------
    planes : dict of str to Plane
        T, or T, Q and U.
    singular : int
        How many pixels have weights that cannot be divided by: these say nothing about some
        direction of T, Q and U.
    """

    planes: dict[str, Plane]
    singular: int


def remove(planes: Mapping[str, Plane], *, zero_nans: bool = True) -> Unweighted:
    """T, or T, Q and U, divided by the weight matrix of each pixel.

    Parameters
    ----------
    planes : dict of str to Plane
        Weighted maps and their weights. They are not changed.
    zero_nans : bool
        What pixels have in which there are no weights, or singular ones: 0, and maps that are
        stored sparse stay so; or, if it is False, NaN, and the maps become dense.

    Returns
    -------
    Unweighted
    """
    stokes = [name for name in STOKES if name in planes]
    key = weights_key(planes)
    weights = [f"{key}.{one}" for one in (COMPONENTS if "Q" in stokes else ("TT",))]
    needed = [*stokes, *weights]
    stub = planes["T"].stub
    dense = not zero_nans or all(planes[name].storage == DENSE for name in needed)
    hit = None
    if dense:
        values = {name: whole(planes[name].chunks(), stub) for name in needed}
    else:
        points = {name: as_points(planes[name].chunks(), stub.shape) for name in needed}
        hit = merged(*(found.pixels for found in points.values()))
        values = {name: at(hit, found) for name, found in points.items()}
    quotients = [values[name] for name in stokes]
    fill = 0.0 if zero_nans else np.nan
    singular = divide(quotients, [values[name] for name in weights], fill)
    fullest = fuller(*(planes[name].storage for name in stokes))
    made = {}
    for name, quotient in zip(stokes, quotients, strict=True):
        plane = planes[name]
        storage = fullest if plane.storage == EMPTY else plane.storage
        chunks = partial(dense_chunks, quotient)
        if not zero_nans:
            storage = DENSE
        elif hit is not None and storage == DENSE:  # though others are sparse
            chunks = partial(dense_chunks, whole([PointsChunk(hit, quotient)], stub))
        elif hit is not None:
            held = np.flatnonzero(quotient)
            chunks = partial(iter, (PointsChunk(hit[held], quotient[held]),))
        stub_of = with_attributes(plane.stub, weighted=False)
        made[name] = Plane(stub_of, storage, plane.overflow, chunks)
    return Unweighted(made, singular)


def divide(stokes: list[Values], weights: list[Values], fill: float) -> int:
    """Divide T, or T, Q and U, by their weights, in place.

    Parameters
    ----------
    stokes : list of float64 array, shape (n,)
        T; or T, Q and U.
    weights : list of float64 array, shape (n,)
        TT; or TT, TQ, TU, QQ, QU and UU.
    fill : float
        What pixels get where that cannot be done.

    Returns
    -------
    int
        How many pixels have weights that are not all 0, and cannot be divided by.
    """
    singular = 0
    for part in _blocks(len(stokes[0])):
        mine, matrix = [one[part] for one in stokes], [one[part] for one in weights]
        ready = _solvable(matrix)
        with np.errstate(all="ignore"):
            quotients = [mine[0] / matrix[0]] if len(mine) == 1 else _solved(mine, matrix)
        for one, quotient in zip(mine, quotients, strict=True):
            one[:] = np.where(ready, quotient, fill)
        there = np.logical_or.reduce([one != 0 for one in matrix])
        singular += int(np.count_nonzero(there & ~ready))
    return singular


def solvable(weights: list[Values]) -> NDArray[np.bool_]:
    """Where T, or T, Q and U, can be divided by these weights; see `divide`."""
    found = np.empty(len(weights[0]), bool)
    for part in _blocks(len(found)):
        found[part] = _solvable([one[part] for one in weights])
    return found


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))


def _solvable(weights: list[Values]) -> NDArray[np.bool_]:
    there: NDArray[np.bool_] = weights[0] != 0
    if len(weights) == 1:
        return there
    with np.errstate(invalid="ignore", over="ignore"):
        there &= condition_of(weights) <= _LARGEST_CONDITION
        there &= _determinant(weights) != 0
    return there


def _determinant(weights: list[Values]) -> Values:
    tt, tq, tu, qq, qu, uu = weights
    return tt * (qq * uu - qu * qu) - tq * (tq * uu - qu * tu) + tu * (tq * qu - qq * tu)


def _solved(stokes: list[Values], weights: list[Values]) -> list[Values]:
    """The inverse of each matrix times its vector, in the order of spt3g's sums."""
    t, q, u = stokes
    tt, tq, tu, qq, qu, uu = weights
    det = _determinant(weights)
    inverse = [
        (qq * uu - qu * qu) / det,
        (tu * qu - tq * uu) / det,
        (tq * qu - tu * qq) / det,
        (tt * uu - tu * tu) / det,
        (tq * tu - tt * qu) / det,
        (tt * qq - tq * tq) / det,
    ]
    rows = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
    return [inverse[a] * t + inverse[b] * q + inverse[c] * u for a, b, c in rows]


def condition_of(weights: list[Values]) -> Values:
    """The ratio of the largest to the smallest eigenvalue of symmetric 3x3 matrices.

    NaN where all is 0, or the ratio is negative. By the trigonometric formula (Smith 1961,
    Communications of the ACM 4, 168), as spt3g has it.

    Parameters
    ----------
    weights : list of float64 array, shape (n,)
        TT, TQ, TU, QQ, QU and UU.
    """
    tt, tq, tu, qq, qu, uu = weights
    with np.errstate(all="ignore"):
        off = tq * tq + tu * tu + qu * qu
        mean = (tt + qq + uu) / 3.0
        a, b, c = tt - mean, qq - mean, uu - mean
        p = np.sqrt((a * a + b * b + c * c + 2.0 * off) / 6.0)
        a, b, c, d, e, f = (one / p for one in (a, b, c, tq, tu, qu))
        r = (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / 2.0
        phi = np.arccos(np.clip(r, -1.0, 1.0)) / 3.0
        largest = mean + 2.0 * p * np.cos(phi)
        smallest = mean + 2.0 * p * np.cos(phi + 2.0 * np.pi / 3.0)
        condition = largest / smallest
        condition[condition < 0] = np.nan
        diagonal = off == 0
        extremes = np.maximum(np.maximum(tt, qq), uu), np.minimum(np.minimum(tt, qq), uu)
        condition[diagonal] = (extremes[0] / extremes[1])[diagonal]
    return condition
