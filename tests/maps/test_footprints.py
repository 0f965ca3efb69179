"""Maps whose footprints come and come back in any order, on a sky of many submaps."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skies import pixels, write_frames
from spt3g import core, maps

import g3reduce
from g3reduce import MPIMapCoadder
from g3reduce.maps.mapfile import frames_of, planes_of

pytestmark = pytest.mark.usefixtures("compiled_kernels")  # both with G3REDUCE_TEST_ALL=1

SIDE, NSIDE, LONG = 300, 64, 250

orders = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, -1])), min_size=1, max_size=12)


def flat(footprint, value):
    """Patches of 15 by 15 pixels; of two footprints long ones."""
    skymap = maps.FlatSkyMap(SIDE, SIDE, 1.0, pol_type=maps.MapPolType.T)
    skymap.sparse = True
    height = LONG if footprint % 3 == 2 else 15
    values = np.zeros((SIDE, SIDE))
    begin = 40 * (5 - footprint)
    values[20 : 20 + height, begin : begin + 15] = value
    for y, x in zip(*np.nonzero(values), strict=True):
        skymap[int(y), int(x)] = value
    return skymap


def rings(footprint, value):
    skymap = maps.HealpixSkyMap(NSIDE, pol_type=maps.MapPolType.T)
    skymap.ringsparse = True
    begin = 7000 * (5 - footprint)
    for pixel in range(begin, begin + 300):
        skymap[pixel] = value
    return skymap


def frame_of(skymap, number):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"], frame["T"] = str(number), skymap
    return frame


@pytest.mark.parametrize("reproducible", [False, True])
@pytest.mark.parametrize("make", [flat, rings])
@settings(max_examples=6)
@given(order=orders)
@example(order=[(one, 1) for one in (0, 1, 0, 3, 0, 1)])
def test_footprints_may_come_again_after_others(tmp_path_factory, make, reproducible, order):
    expected = sum(sign * pixels(make(footprint, 1 + footprint)) for footprint, sign in order)
    options = {"assign": lambda frame: {"sum": order[int(frame["Id"])][1]}}
    options["reproducible"] = reproducible
    frames = [frame_of(make(one, 1 + one), number) for number, (one, _) in enumerate(order)]
    coadder = MPIMapCoadder(**options)
    for frame in frames:
        coadder.add(frame)
    file = str(tmp_path_factory.mktemp("footprints") / "all.g3")
    with core.G3Writer(file) as writer:
        for frame in frames:
            writer(frame)
    coadd = coadder.finish().frame
    np.testing.assert_array_equal(pixels(coadd["T"]), expected)
    read = g3reduce.coadd_files(file, **options)
    np.testing.assert_array_equal(pixels(read["sum"]["T"]), expected)


def test_footprints_that_are_done_with_take_no_memory(tmp_path, limits):
    limits(small_frame=0)
    files = write_frames(tmp_path, [frame_of(flat(number % 6, 1), number) for number in range(12)])
    coadder, layouts = MPIMapCoadder(), []
    for file in files:
        frame = next(frames_of(file))
        layouts += [weakref.ref(plane.layout) for plane in planes_of(frame, file).values()]
        coadder.add(frame)
    del frame
    gc.collect()
    # The last ones, and that of the sum.
    assert len({layout() for layout in layouts} - {None}) <= 5


@pytest.mark.parametrize("indexed", ["T", "H"])
def test_maps_that_are_stored_in_several_ways_are_written_from_the_same_rows(
    tmp_path, limits, indexed
):
    """Rows come in any order, and are not moved while some maps are still to be written."""
    limits(small_sum=0, small_frame=0)
    frames = []
    for number in range(10):
        footprint = max(0, number - 6)  # later ones, that are not added with the first, lie before
        skymap, hits = rings(footprint, 1.0 + number), rings(footprint, 10.0 + number)
        hits.pol_type = maps.MapPolType.none
        (skymap if indexed == "T" else hits).indexedsparse = True
        frame = frame_of(skymap, number)
        frame["H"] = hits
        frames.append(frame)
    output = str(tmp_path / "coadd.g3")
    g3reduce.coadd_files(write_frames(tmp_path, frames), output, keep_maps=False)
    written = next(frame for frame in core.G3File(output) if frame.type == core.G3FrameType.Map)
    for key in ("T", "H"):
        expected = sum(pixels(frame[key]) for frame in frames)
        np.testing.assert_array_equal(pixels(written[key]), expected)
