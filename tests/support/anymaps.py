"""Maps of any geometry, in any storage, with any values: strategies for property tests."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import strategies as st
from spt3g import core, maps

from g3reduce.g3files import archive as archives
from g3reduce.g3files import runs
from g3reduce.limits import LIMITS
from g3reduce.maps import pixels
from g3reduce.maps.pixels import is_flat

SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 5e-324, -1.7976931348623157e308)
numbers = st.floats(width=64) | st.sampled_from(SPECIAL)
UNITS = core.G3TimestreamUnits.names


@st.composite
def geometries(draw):
    """An empty map with any attributes."""
    attributes = {
        "weighted": draw(st.booleans()),
        "coord_ref": draw(st.sampled_from(list(maps.MapCoordReference.names.values()))),
        "units": draw(st.sampled_from([UNITS["Tcmb"], UNITS["None"], UNITS["Trj"]])),
        "pol_type": draw(st.sampled_from(list(maps.MapPolType.names.values()))),
        "pol_conv": draw(st.sampled_from(list(maps.MapPolConv.names.values()))),
    }
    if draw(st.booleans()):
        blank = maps.FlatSkyMap(
            x_len=draw(st.integers(1, 12)),
            y_len=draw(st.integers(1, 9)),
            res=draw(st.floats(0.1, 3)) * core.G3Units.deg,
            proj=maps.MapProjection.Proj5,
            alpha_center=draw(st.floats(-3, 3)),
            flat_pol=draw(st.booleans()),
            **attributes,
        )
    else:
        blank = maps.HealpixSkyMap(
            nside=draw(st.sampled_from([1, 2, 4, 8, 16])),
            nested=draw(st.booleans()),
            shift_ra=draw(st.booleans()),
            **attributes,
        )
    blank.overflow = draw(numbers)
    return blank


@st.composite
def contents(draw, npix):
    """Values by pixel: nothing, single pixels, runs with gaps, everything."""
    if draw(st.integers(0, 9)) == 0:
        return dict.fromkeys(range(npix), draw(numbers))
    values = {}
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, npix - 1))
        for offset, value in enumerate(draw(st.lists(numbers, min_size=1, max_size=9))):
            if first + offset < npix:
                values[first + offset] = value
    return values


def stored(blank, values, how):
    """A map of spt3g's with these values, stored like this."""
    skymap = blank.clone(False)
    skymap.overflow = blank.overflow
    for pixel, value in values.items():
        skymap[pixel] = value
    if not values:
        return skymap  # with nothing in it, however it is stored
    if is_flat(blank):
        skymap.sparse = how == "sparse"
    elif how == "dense":
        skymap.dense = True
    elif how == "ring":
        skymap.ringsparse = True
    else:
        skymap.indexedsparse = True
    return skymap


@st.composite
def skymaps(draw):
    """A map of any geometry, in any storage, with any values."""
    blank = draw(geometries())
    how = draw(st.sampled_from(["dense", "sparse"] if is_flat(blank) else HEALPIX))
    return stored(blank, draw(contents(int(blank.size))), how)


HEALPIX = ("dense", "ring", "indexed")


@st.composite
def weights(draw):
    """Weights, polarized or not, whose maps have one geometry, and each its own storage."""
    blank = draw(geometries())
    made = maps.G3SkyMapWeights()
    for component in ("TT", "TQ", "TU", "QQ", "QU", "UU") if draw(st.booleans()) else ("TT",):
        how = draw(st.sampled_from(["dense", "sparse"] if is_flat(blank) else HEALPIX))
        setattr(made, component, stored(blank, draw(contents(int(blank.size))), how))
    return made


def with_runs(blank, offset, all_runs):
    """A sparse map with just these runs: of each line from `offset` on a start and the values."""
    stub = blank.clone(False)
    name = "SparseMapData"
    lines = pixels.lines_of(stub).shape
    found = struct.pack("<IQQQQ", archives.VERSIONS[name], *lines, offset, len(all_runs))
    for start, values in all_runs:
        found += struct.pack("<iQ", start, len(values)) + np.asarray(values, float).tobytes()
    archive = stub._cereal_dumps()
    end = len(archive) - (1 if is_flat(stub) else 0)  # flat_pol
    code = struct.pack("<I", 1 if is_flat(stub) else 2)
    stub._cereal_loads(archive[: end - 4] + code + found + archive[end:])
    return stub


STEPS = (16, 48, 160, 2**19)  # from one pair of pixel and value to what is usual


@contextlib.contextmanager
def in_steps_of(step):
    """Let maps be read in parts of this many bytes, and no layout be known before."""
    with pytest.MonkeyPatch.context() as patch:
        known = runs.Layouts()
        for module in (runs, archives):
            patch.setattr(module, "KNOWN", known)
        patch.setattr(LIMITS, "step", step)
        yield
