"""Multiplying unweighted maps by their weights.

Not by spt3g's ``apply_weights``: it lets sparse maps grow from several threads at once, which
loses values or ends the process wherever T, Q and U do not fill the same pixels (spt3g 1.0.2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..g3files.archive import DENSE, EMPTY
from ..g3files.maps import STOKES
from .chunks import Chunk, PointsChunk, dense_chunks
from .pixels import Plane, as_points, fuller, merged, whole

FloatArray = NDArray[np.float64]


def apply(planes: Mapping[str, Plane], weights: str) -> dict[str, Plane]:
    """Weighted T, or T, Q and U: the weight matrix of each pixel times its Stokes vector.

    A pixel whose weights are all 0 becomes 0, also where the map is NaN there, as maps are after
    their weights were removed.

    Parameters
    ----------
    planes : dict of str to Plane
        The maps and their weights. They are not changed.
    weights : {"Wpol", "Wunpol"}
        Which weights.

    Returns
    -------
    dict of str to Plane
        The Stokes planes only, with the same stubs. They are stored as before.
    """
    stokes = [name for name in STOKES if name in planes]
    matrix = {
        (row, column): f"{weights}." + "".join(sorted((row, column), key="TQU".index))
        for row in stokes
        for column in stokes
    }
    needed = {*stokes, *matrix.values()}
    if all(planes[name].storage == DENSE for name in needed):
        dense = {name: whole(planes[name].chunks(), planes[name].stub) for name in needed}
        products = _multiply(stokes, matrix, dense)
        chunks = {name: partial(dense_chunks, product) for name, product in products.items()}
    else:
        shape = planes["T"].stub.shape
        points = {name: as_points(planes[name].chunks(), shape) for name in needed}
        hit = merged(*(points[name].pixels for name in stokes))
        products = _multiply(
            stokes, matrix, {name: at(hit, found) for name, found in points.items()}
        )
        chunks = {
            name: partial(iter, (PointsChunk(hit, product),)) for name, product in products.items()
        }
    fullest = fuller(*(planes[name].storage for name in stokes))
    return {name: _weighted(planes[name], chunks[name], fullest) for name in stokes}


def _multiply(
    stokes: list[str], matrix: Mapping[tuple[str, str], str], values: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    seen = np.logical_or.reduce([values[name] != 0 for name in set(matrix.values())])
    products = {}
    with np.errstate(invalid="ignore"):
        for row in stokes:
            # From left to right, as spt3g does it: the same bits.
            terms = [values[matrix[row, column]] * values[column] for column in stokes]
            product = terms[0]
            for term in terms[1:]:
                product += term
            product[~seen] = 0
            products[row] = product
    return products


def at(pixels: NDArray[np.int64], points: PointsChunk) -> FloatArray:
    """The values of these pixels, 0 where there is none."""
    if not len(points.pixels):
        return np.zeros(len(pixels))
    if np.array_equal(points.pixels, pixels):  # as most planes of a frame have them
        return points.values
    position = np.minimum(np.searchsorted(points.pixels, pixels), len(points.pixels) - 1)
    return np.where(points.pixels[position] == pixels, points.values[position], 0.0)


def _weighted(plane: Plane, chunks: Callable[[], Iterator[Chunk]], fullest: str) -> Plane:
    storage = fullest if plane.storage == EMPTY else plane.storage
    if storage == DENSE:  # though the weights, or other maps, are sparse
        chunks = partial(dense_chunks, whole(chunks(), plane.stub))
    return Plane(plane.stub, storage, plane.overflow, chunks)
