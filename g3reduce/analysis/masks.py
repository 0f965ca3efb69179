"""Masks that fall to zero at the edge of a footprint."""

from __future__ import annotations

import numpy as np

from ..g3files.lines import Index, Values
from ..maps.pixels import is_flat
from ..spt3gtypes import SkyMap


def taper(stub: SkyMap, pixels: Index, width: float) -> Values:
    """A mask that rises as a cosine from the edge of a footprint: (1 - cos(pi d / width)) / 2.

    d is the distance to the nearest pixel outside. From `width` on the mask is 1.

    Parameters
    ----------
    stub : spt3g.maps.G3SkyMap
        A map of the geometry.
    pixels : int64 array, shape (pixels,)
        The footprint, as the map itself numbers its pixels.
    width : float
        In radian.

    Returns
    -------
    float64 array, shape (pixels,)
    """
    if width <= 0 or not len(pixels):
        return np.ones(len(pixels))
    distances = _flat_distances(stub, pixels) if is_flat(stub) else _distances(stub, pixels)
    return (1 - np.cos(np.pi * np.minimum(distances / width, 1))) / 2


def _flat_distances(stub: SkyMap, pixels: Index) -> Values:
    from scipy.ndimage import distance_transform_edt

    n_y, n_x = stub.shape
    inside = np.zeros((n_y + 2, n_x + 2), bool)  # what lies beyond the map is outside
    y, x = np.divmod(pixels, n_x)
    inside[y + 1, x + 1] = True
    distances = distance_transform_edt(inside, sampling=(stub.y_res, stub.x_res))
    mine: Values = distances[y + 1, x + 1]
    return mine


def _distances(stub: SkyMap, pixels: Index) -> Values:
    """Of HEALPix pixels: to the nearest neighbour of the footprint that is not in it."""
    import healpy
    from scipy.spatial import cKDTree

    around = np.unique(healpy.get_all_neighbours(stub.nside, pixels, nest=stub.nested))
    outside = np.setdiff1d(around[around >= 0], pixels)
    if not len(outside):  # the full sky
        return np.full(len(pixels), np.inf)
    edge, mine = (
        np.stack(healpy.pix2vec(stub.nside, part, nest=stub.nested), axis=1)
        for part in (outside, pixels)
    )
    chords, _ = cKDTree(edge).query(mine)
    angles: Values = 2 * np.arcsin(np.minimum(chords / 2, 1))
    return angles
