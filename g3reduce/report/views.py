"""Views of the sky: how directions and pixels of a picture belong together."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

FloatArray = NDArray[np.float64]

# Projections that show less than a hemisphere: what lies behind comes out mirrored.
_OF_A_HEMISPHERE = (maps.MapProjection.ProjTAN, maps.MapProjection.ProjSIN)

_NAMES = {
    "CAR": "plate carrée",
    "SFL": "Sanson-Flamsteed",
    "SIN": "orthographic",
    "ZEA": "zenithal equal-area",
    "ARC": "zenithal equidistant",
    "STG": "stereographic",
    "TAN": "gnomonic",
    "CEA": "cylindrical equal-area",
    "BICEP": "BICEP",
    "NONE": "no projection",
}


class View(Protocol):
    """A picture of the sky, `shape` pixels large. Row 0 is at the bottom.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    name : str
        The name of the projection.
    coord_ref : spt3g.maps.MapCoordReference
    centre_lon : float
        The longitude in the middle, in radian.
    res : float
        The size of a pixel, in radian.
    aspect : float
        The height of a pixel over its width.
    is_whole_sky : bool
        Whether it is an ellipse that holds the whole sky.
    has_sky : bool
        Whether its pixels have directions.
    """

    shape: tuple[int, int]
    name: str
    coord_ref: Any
    centre_lon: float
    res: float
    aspect: float
    is_whole_sky: bool
    has_sky: bool

    def to_xy(self, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixel coordinates of directions in radian; NaN where the view does not show them."""

    def to_angles(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Longitude and latitude, in radian, of pixel coordinates; NaN beside the sky."""


class FlatView:
    """The pixels of a flat-sky map; see `View`.

    Parameters
    ----------
    geometry : spt3g.maps.FlatSkyMap
    """

    is_whole_sky = False

    def __init__(self, geometry: Any):
        self.geometry = geometry
        self.shape: tuple[int, int] = tuple(geometry.shape)
        projection = str(geometry.proj).rsplit(".", maxsplit=1)[-1].removeprefix("Proj")
        self.name = _NAMES.get(projection.upper(), projection)
        self.has_sky = geometry.proj != maps.MapProjection.ProjNone
        self.coord_ref = geometry.coord_ref
        self.centre_lon = float(geometry.alpha_center)
        self.res = float(geometry.y_res)
        self.aspect = float(geometry.y_res / geometry.x_res)

    def to_xy(self, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixel coordinates of directions in radian; NaN where the view does not show them."""
        x, y = to_xy(self.geometry, lon, lat)
        if self.geometry.proj in _OF_A_HEMISPHERE:
            delta = self.geometry.delta_center
            cosine = np.sin(lat) * np.sin(delta)
            cosine += np.cos(lat) * np.cos(delta) * np.cos(lon - self.centre_lon)
            x, y = (np.where(cosine > 0.02, one, np.nan) for one in (x, y))
        return x, y

    def to_angles(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Longitude and latitude, in radian, of pixel coordinates; NaN beside the sky."""
        lon, lat = self.geometry.xy_to_angle(
            core.DoubleVector(np.ravel(x)), core.DoubleVector(np.ravel(y))
        )
        lon, lat = np.array(lon), np.array(lat)
        # Beside the sky there is a direction, too, but it leads back to another pixel.
        back = self.to_xy(lon, lat)
        with np.errstate(invalid="ignore"):
            on_sky = np.hypot(back[0] - np.ravel(x), back[1] - np.ravel(y)) < 0.5
        lon[~on_sky] = lat[~on_sky] = np.nan
        return lon.reshape(np.shape(x)), lat.reshape(np.shape(x))


class Mollweide:
    """The whole sky in Mollweide's equal-area projection; see `View`.

    Formulae: Snyder 1987, Map Projections (USGS Professional Paper 1395), page 251. Longitude
    rises to the left, as it is seen from inside of the sphere.

    Parameters
    ----------
    width : int
        Pixels along the equator; the height is half of it.
    coord_ref : spt3g.maps.MapCoordReference
    centre_lon : float
        In radian.
    """

    name = "Mollweide"
    aspect = 1.0
    is_whole_sky = True
    has_sky = True

    def __init__(self, width: int, coord_ref: Any, centre_lon: float = 0.0):
        self.shape = (width // 2, width // 2 * 2)
        self.coord_ref = coord_ref
        self.centre_lon = centre_lon
        self._unit = self.shape[0] / 2  # half the height, in pixels
        self.res = np.sqrt(2) / self._unit  # at the centre

    def to_xy(self, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Pixel coordinates of directions in radian."""
        lon, lat = np.asarray(lon, float), np.asarray(lat, float)
        theta = np.array(lat)
        for _ in range(60):  # Newton's method is slow at the poles only
            slope = 2 + 2 * np.cos(2 * theta)
            step = 2 * theta + np.sin(2 * theta) - np.pi * np.sin(lat)
            theta -= np.where(slope > 1e-12, step / np.maximum(slope, 1e-12), 0)
            if np.abs(step).max(initial=0) < 1e-12:
                break
        # pi itself stays at the left edge, -pi at the right one.
        relative = lon - self.centre_lon
        relative = np.where(
            np.abs(relative) <= np.pi, relative, (relative + np.pi) % (2 * np.pi) - np.pi
        )
        x = -2 * relative / np.pi * np.cos(theta)
        y = np.sin(theta)
        return (x + 2) * self._unit - 0.5, (y + 1) * self._unit - 0.5

    def to_angles(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Longitude and latitude, in radian, of pixel coordinates; NaN beside the sky."""
        across = (np.asarray(x, float) + 0.5) / self._unit - 2
        up = (np.asarray(y, float) + 0.5) / self._unit - 1
        inside = (across / 2) ** 2 + up**2 < 1
        theta = np.arcsin(np.where(inside, up, 0))
        lat = np.arcsin((2 * theta + np.sin(2 * theta)) / np.pi)
        lon = self.centre_lon - np.pi * across / (2 * np.cos(theta))
        return np.where(inside, lon, np.nan), np.where(inside, lat, np.nan)


def to_xy(geometry: Any, lon: FloatArray, lat: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Pixel coordinates, on a flat-sky map, of directions in radian."""
    x, y = geometry.angle_to_xy(core.DoubleVector(lon), core.DoubleVector(lat))
    return np.asarray(x), np.asarray(y)
