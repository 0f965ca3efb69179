"""Discs of HEALPix sky with noise and a source, to be drawn."""

import healpy
import numpy as np
from spt3g import core, maps

EQUATORIAL, UK = maps.MapCoordReference.Equatorial, core.G3Units.uK
WEIGHT = 4.0  # per uK^2
SOURCE = 1000.0  # uK


def healpix_frame(centre, radius, nside=32, map_id="150GHz", coord=EQUATORIAL, weights=True):
    """A disc with noise of 2 uK, and a source in its centre; weighted if there are weights."""
    rng = np.random.default_rng(3)
    lon, lat = centre
    middle = healpy.ang2vec(lon, lat, lonlat=True)
    disc = healpy.query_disc(nside, middle, np.radians(radius))
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    common = {"coord_ref": coord, "pol_conv": maps.MapPolConv.IAU}
    for name in "TQU":
        values = np.zeros(12 * nside**2)
        values[disc] = rng.normal(0, 2, len(disc))
        if name == "T":
            values[healpy.ang2pix(nside, lon, lat, lonlat=True)] = SOURCE
        frame[name] = maps.HealpixSkyMap(
            values * UK * (WEIGHT / UK**2 if weights else 1),
            units=core.G3TimestreamUnits.Tcmb,
            weighted=weights,
            pol_type=getattr(maps.MapPolType, name),
            **common,
        )
    if weights:
        found = maps.G3SkyMapWeights()
        for name in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
            values = np.zeros(12 * nside**2)
            values[disc] = WEIGHT / UK**2 if name[0] == name[1] else 0
            setattr(found, name, maps.HealpixSkyMap(values, weighted=False, **common))
        frame["Wpol"] = found
    return frame
