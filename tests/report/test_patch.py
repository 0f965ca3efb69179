"""The observed patch of a map frame, averaged down where it is larger than a page."""

import numpy as np
from spt3g import core, maps

from g3reduce.report.patch import observed_patch


def test_narrow_map_keeps_its_rows():
    frame = core.G3Frame(core.G3FrameType.Map)
    plane = maps.FlatSkyMap(3300, 2, core.G3Units.arcmin)
    np.asarray(plane)[:] = 1
    frame["T"] = plane
    assert observed_patch(frame, max_side=700).planes["T"].shape == (1, 1650)


def test_weights_of_maps_larger_than_a_page_are_summed_all_alike():
    """Pixels of the patch are inverse-variance averages, so weights have to be sums."""
    shape = (6, 3300)
    rng = np.random.default_rng(1)
    weights = maps.G3SkyMapWeights()
    values = {}
    for name in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
        values[name] = (
            rng.integers(20, 30, shape) if name[0] == name[1] else rng.integers(1, 3, shape)
        )
        plane = maps.FlatSkyMap(shape[1], shape[0], core.G3Units.arcmin)
        np.asarray(plane)[:] = values[name]
        setattr(weights, name, plane)
    frame = core.G3Frame(core.G3FrameType.Map)
    for name in "TQU":
        plane = maps.FlatSkyMap(shape[1], shape[0], core.G3Units.arcmin, weighted=True)
        plane.pol_type = getattr(maps.MapPolType, name)
        np.asarray(plane)[:] = 1
        frame[name] = plane
    frame["Wpol"] = weights
    patch = observed_patch(frame)
    for name, plane in values.items():
        blocks = plane.reshape(2, 3, 1100, 3).sum(axis=(1, 3))
        np.testing.assert_allclose(patch.planes[name], blocks, err_msg=name)
