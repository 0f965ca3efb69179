"""Flat-sky geometries from the WCS of FITS (Calabretta & Greisen 2002)."""

from __future__ import annotations

from typing import Any

import numpy as np
from spt3g import core, maps

from ..errors import UsageError
from ..spt3gtypes import SkyMap

_PROJECTIONS = {
    "CAR": maps.MapProjection.ProjCAR,
    "SFL": maps.MapProjection.ProjSFL,
    "CEA": maps.MapProjection.ProjCEA,
    "SIN": maps.MapProjection.ProjSIN,
    "ARC": maps.MapProjection.ProjARC,
    "STG": maps.MapProjection.ProjSTG,
    "ZEA": maps.MapProjection.ProjZEA,
    "TAN": maps.MapProjection.ProjTAN,
}

# How far spt3g's pixels may be from those of the WCS, in pixels.
_CLOSE = 1e-3


def stub_of_wcs(wcs: Any, shape: tuple[int, int]) -> SkyMap:
    """An empty flat-sky map with the geometry of a WCS.

    Its pixels are compared with those of the WCS at some places.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        With two celestial axes, longitude first. Others, such as that of Stokes parameters, are
        left out.
    shape : (n_y, n_x)
        Of the map, as numpy has it.

    Returns
    -------
    spt3g.maps.FlatSkyMap
        With ``coord_ref``, if the WCS says it.

    Raises
    ------
    UsageError
        If spt3g has no such geometry.
    """
    celestial = wcs.celestial
    names = [str(name) for name in celestial.wcs.ctype]
    projection = _PROJECTIONS.get(names[0][-3:])
    if projection is None or celestial.wcs.lng != 0:
        raise UsageError(
            f"The WCS has the axes {', '.join(names)}; expected longitude, latitude, and one of "
            f"the projections {', '.join(_PROJECTIONS)}."
        )
    degree = core.G3Units.deg
    x_step, y_step = celestial.wcs.get_cdelt()
    if not x_step < 0 < y_step:
        raise UsageError(
            f"The WCS has steps of {x_step:g} and {y_step:g} degrees; spt3g's maps have longitude "
            "to the left and latitude upwards. Turn the arrays round, and the WCS with them "
            "(pixell: enmap[..., ::-1], or [..., ::-1, :])."
        )
    stub = maps.FlatSkyMap(
        x_len=shape[1],
        y_len=shape[0],
        res=y_step * degree,
        x_res=-x_step * degree,
        proj=projection,
        alpha_center=celestial.wcs.crval[0] * degree,
        delta_center=celestial.wcs.crval[1] * degree,
        x_center=celestial.wcs.crpix[0] - 1,
        y_center=celestial.wcs.crpix[1] - 1,
        weighted=False,
    )
    _compare(stub, celestial, shape)
    coord = coord_of_wcs(celestial)
    if coord is not None:
        stub.coord_ref = coord
    return stub


def coord_of_wcs(wcs: Any) -> Any:
    """The coordinate system that a WCS names, as spt3g has it; None if it names none."""
    name = str(wcs.wcs.ctype[0])
    if name.startswith("GLON"):
        return maps.MapCoordReference.Galactic
    if name.startswith("RA--"):
        local = str(wcs.wcs.radesys).strip().upper() == "ALTAZ"
        return maps.MapCoordReference.Local if local else maps.MapCoordReference.Equatorial
    return None


def _compare(stub: SkyMap, wcs: Any, shape: tuple[int, int]) -> None:
    """Refuse a WCS whose pixels are elsewhere: turned, oblique, or with parameters of its own."""
    y, x = (one.ravel() for one in np.meshgrid(*(np.linspace(0, n - 1, 5) for n in shape)))
    alpha, delta = (np.asarray(a) for a in stub.xy_to_angle(x, y))
    on_sky = np.isfinite(alpha) & np.isfinite(delta)
    if on_sky.any():
        degree = core.G3Units.deg
        back = wcs.wcs_world2pix(
            np.stack([alpha[on_sky] / degree, delta[on_sky] / degree], axis=1), 0
        )
        off = np.abs(back - np.stack([x[on_sky], y[on_sky]], axis=1))
        # Once round the sky is the same place, and the WCS may count it from elsewhere.
        around = 360.0 / abs(wcs.wcs.get_cdelt()[0])
        off[:, 0] = np.minimum(off[:, 0], np.abs(off[:, 0] - around))
        if np.nanmax(off) <= _CLOSE and np.isfinite(off).all():
            return
    raise UsageError(
        f"spt3g has no geometry with the pixels of this WCS ({', '.join(wcs.wcs.ctype)}, CRVAL "
        f"{wcs.wcs.crval[0]:g} {wcs.wcs.crval[1]:g}): it is turned, oblique, or has parameters "
        "that spt3g does not know. Reproject the map before."
    )
