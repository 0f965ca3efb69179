"""All maps of a frame: those that are coadded, and others beside them, such as variances."""

from __future__ import annotations

import contextlib

from spt3g import maps

from ..errors import InputError
from ..g3files.fileframe import SPT3G_ERRORS
from ..g3files.maps import MAP_KEYS
from ..maps.mapfile import planes_of
from ..maps.pixels import Plane
from ..spt3gtypes import Frame


def all_planes_of(frame: Frame, where: str, *, verified: bool = False) -> dict[str, Plane]:
    """The maps of a frame under any name, by plane; those that are coadded come first.

    What cannot be decoded, as objects of classes that are not known here, counts as no map.

    Parameters
    ----------
    frame : G3Frame or StoredFrame
    where : str
        How messages name it.
    verified : bool
        See `g3reduce.maps.mapfile.planes_of`.

    Raises
    ------
    InputError
        If a map of those that are coadded cannot be read, or is no map.
    """
    planes = planes_of(frame, where, verified=verified)
    for key in frame.keys():  # noqa: SIM118 (a G3Frame)
        if key in MAP_KEYS:
            continue
        with contextlib.suppress(InputError, *SPT3G_ERRORS):
            value = frame[key]
            if isinstance(value, maps.G3SkyMap):
                planes[key] = Plane.of(value)
            elif isinstance(value, maps.G3SkyMapWeights):
                for component in value.keys():  # noqa: SIM118 (not a dictionary)
                    planes[f"{key}.{component}"] = Plane.of(getattr(value, component))
    return planes
