"""Files of maps of which it is said which columns were hit."""

from __future__ import annotations

import numpy as np
import skies
from spt3g import core, maps

SHAPE = (64, 256)  # pixels in y and x


def patch(begin, end, map_id="a"):
    """A frame with an unpolarized map whose columns from `begin` to `end` were hit."""
    values = np.zeros(SHAPE)
    values[:, begin:end] = 3.0
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = map_id
    units = core.G3TimestreamUnits.Tcmb
    common = {"res": 1.0, "proj": maps.MapProjection.ProjZEA, "units": units}
    skymap = maps.FlatSkyMap(values, weighted=True, **common)
    weights = maps.FlatSkyMap(values, weighted=False, **common)
    for one in (skymap, weights):
        one.sparse = True
    frame["T"] = skymap
    frame["Wunpol"] = maps.G3SkyMapWeights(weights.clone(False))
    frame["Wunpol"].TT = weights
    return frame


def write(folder, stretches):
    return [
        skies.write_file(folder / f"{number:02d}.g3", [patch(*stretch)])
        for number, stretch in enumerate(stretches)
    ]
