"""Coadds by spt3g, with which others are compared, and splits of frames."""

from __future__ import annotations

import os

from pipelines import maps_from
from spt3g import core, maps

MAP, END = core.G3FrameType.Map, core.G3FrameType.EndProcessing


def tracked(files):
    """The arguments of spt3g's own reader, so that it writes the names of files on frames."""
    return {"filename": files, "track_filename": True}


def by_spt3g(files, **arguments):
    coadder = maps.CoaddMaps(**{"keep_outputs": True, **arguments})
    came = maps_from(tracked(files), coadder)
    return coadder, came


# Splits


def halves(frame):
    """Even and odd files, and their difference."""
    if frame["Id"] == "150GHz":
        return None
    odd = int(os.path.basename(frame._filename)[4:7]) % 2
    return {"odd" if odd else "even": 1, "difference": -1 if odd else 1}
