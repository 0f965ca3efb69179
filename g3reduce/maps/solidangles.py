"""The solid angles of pixels."""

from __future__ import annotations

import math

import numpy as np
from spt3g import maps

from ..g3files.lines import Index, Values
from ..spt3gtypes import SkyMap
from .pixels import is_flat

_EQUAL_AREA = (
    maps.MapProjection.ProjZEA,
    maps.MapProjection.ProjCEA,
    maps.MapProjection.ProjSFL,
)
# Of these spt3g does not know where pixels are on the sky.
_NOWHERE = (maps.MapProjection.ProjNone, maps.MapProjection.Proj8)


def solid_angles(stub: SkyMap, pixels: Index) -> Values:
    """The solid angle of each of these pixels, in steradian (`core.G3Units` have rad = 1).

    Of projections that are not of equal area, that of the parallelogram which the middles of the
    edges of a pixel span; of maps without a projection, that of the plane.

    Parameters
    ----------
    stub : spt3g.maps.G3SkyMap
    pixels : int64 array, shape (n,)
        Their numbers, as the map itself has them.
    """
    if are_equal(stub):
        area = abs(stub.x_res * stub.y_res) if is_flat(stub) else 4 * math.pi / stub.size
        return np.full(len(pixels), area)
    y, x = np.divmod(pixels.astype(np.float64), stub.shape[1])
    right, left, above, below = (
        _on_sphere(stub, x + dx, y + dy) for dx, dy in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))
    )
    crossed = np.cross(right - left, above - below, axis=0)
    angles: Values = np.sqrt(np.sum(crossed**2, axis=0))
    return angles


def are_equal(stub: SkyMap) -> bool:
    """Whether all pixels have the same solid angle, whatever their numbers are."""
    return not is_flat(stub) or stub.proj in (*_EQUAL_AREA, *_NOWHERE)


def _on_sphere(stub: SkyMap, x: Values, y: Values) -> Values:
    """Unit vectors, shape (3, n)."""
    alpha, delta = (np.asarray(angle) for angle in stub.xy_to_angle(x, y))
    return np.array([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)])
