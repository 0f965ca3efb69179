"""Pixels of spt3g maps as numpy arrays and back, against spt3g's own conversion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skies import (
    KINDS,
    assert_same_attributes,
    assert_same_map,
    bits,
    map_frame,
    maps_by_plane,
    storage,
)
from spt3g import core, maps

from g3reduce import pixels as pixels_module
from g3reduce.pixels import Dense, Points, Runs, decode, encode, is_flat, storage_of

NAMES = {"dense": "dense", "sparse": "sparse", "ring": "ring-sparse", "indexed": "indexed-sparse"}
NAMES["empty"] = "empty"

SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 5e-324, -1.7976931348623157e308)
relaxed = settings(deadline=None)  # cores are shared, and a first call imports
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


def without_sign_of_zero(values):
    """-0.0 as 0.0: sparse storage may not tell them apart, and sums do not either."""
    return bits(np.asarray(values) + 0.0)


def oracle(skymap):
    """All pixels, by spt3g's own conversion to dense storage, which numbers them by rows."""
    return np.array(skymap.clone(True)).reshape(-1)


def listed(skymap):
    """Number (by columns in sparse flat-sky maps) and value of each pixel that decode tells."""
    found = decode(skymap)
    if isinstance(found, Dense):
        return np.arange(len(found.values)), found.values
    if isinstance(found, Points):
        return found.pixels, found.values
    if not found.values:
        return np.empty(0, np.int64), np.empty(0)
    runs = zip(found.first.tolist(), found.values, strict=True)
    numbers = [np.arange(first, first + len(values)) for first, values in runs]
    return np.concatenate(numbers), np.concatenate(found.values)


def by_rows(skymap, numbers):
    if not is_flat(skymap) or isinstance(decode(skymap), Dense):
        return numbers
    n_y, n_x = skymap.shape
    return numbers % n_y * n_x + numbers // n_y


@relaxed
@given(skymaps())
def test_the_storage_is_named_as_spt3g_stores_it(skymap):
    assert storage_of(skymap) == NAMES[storage(skymap)]


@relaxed
@given(skymaps())
def test_decoded_pixels_are_those_of_the_map(skymap):
    numbers, values = listed(skymap)
    assert len(set(numbers.tolist())) == len(numbers), "a pixel is listed twice"
    whole = np.zeros(int(skymap.size))
    whole[by_rows(skymap, numbers)] = values
    np.testing.assert_array_equal(without_sign_of_zero(whole), without_sign_of_zero(oracle(skymap)))


@relaxed
@given(skymaps())
def test_decoding_changes_nothing_and_makes_nothing_dense(skymap):
    before = storage(skymap), skymap.npix_allocated, skymap._cereal_dumps()
    decode(skymap)
    assert (storage(skymap), skymap.npix_allocated, skymap._cereal_dumps()) == before


@relaxed
@given(skymaps())
def test_each_storage_is_decoded_as_it_lies(skymap):
    how = storage(skymap)
    kind = {"dense": Dense, "indexed": Points, "empty": Points, "sparse": Runs, "ring": Runs}[how]
    if how == "ring" and skymap.nested:
        kind = Points  # rings are no runs of pixels in this order
    assert isinstance(decode(skymap), kind)
    # What is decoded is what is stored: at most a run that is cut in two gets no longer.
    assert len(listed(skymap)[0]) <= skymap.npix_allocated


def test_dense_pixels_are_a_view_of_the_map():
    skymap = maps.FlatSkyMap(np.arange(6.0).reshape(2, 3), 1.0)
    assert np.shares_memory(decode(skymap).values, np.asarray(skymap))


@relaxed
@given(skymaps())
def test_encoding_what_was_decoded_gives_the_same_map_in_the_same_storage(skymap):
    how = storage_of(skymap)
    if how == "dense":
        return
    numbers, values = listed(skymap)
    order = np.argsort(numbers)
    stub = skymap.clone(False)
    stub.overflow = skymap.overflow
    copy = encode(stub, how, numbers[order], values[order])
    # spt3g lets go of pixels that are 0 when it makes a nested map ring-sparse.
    assert storage_of(copy) == how or not np.any(values)
    assert_same_attributes(copy, skymap)
    same = without_sign_of_zero(oracle(copy)) == without_sign_of_zero(oracle(skymap))
    assert same.all()


@relaxed
@given(st.data(), geometries())
def test_encoded_pixels_are_what_spt3g_makes_of_the_same_assignments(data, blank):
    how = data.draw(st.sampled_from(["sparse"] if is_flat(blank) else ["ring", "indexed"]))
    values = data.draw(contents(int(blank.size)).filter(len))
    values = {pixel: value for pixel, value in values.items() if value} or {0: 1.0}
    theirs = stored(blank, values, how)
    if is_flat(blank):
        n_y, n_x = blank.shape
        values = {pixel % n_x * n_y + pixel // n_x: value for pixel, value in values.items()}
    before = blank._cereal_dumps()
    numbers = np.array(sorted(values), np.int64)
    mine = encode(blank, NAMES[how], numbers, np.array([values[i] for i in numbers.tolist()]))
    assert_same_map(mine, theirs)
    assert mine.npix_allocated <= theirs.npix_allocated
    assert blank._cereal_dumps() == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoded_map_lives_on_like_any_other(kind):
    """It can be written and read, and added to: spt3g itself finds nothing amiss in it."""
    skymap = map_frame(kind, "hits", 3)["T"]
    how = storage_of(skymap)
    if how == "dense":
        how = "indexed-sparse" if not is_flat(skymap) else "sparse"
    dense = oracle(skymap)
    held = np.flatnonzero(dense)
    if is_flat(skymap):
        n_y, n_x = skymap.shape
        held = np.sort(held % n_x * n_y + held // n_x)
        dense = dense.reshape(n_y, n_x).T.reshape(-1)
    mine = encode(skymap, how, held, dense[held])
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = mine
    again = core.G3Frame()
    again._cereal_loads(frame.__getstate__()[1])
    assert_same_map(again["T"], mine)
    mine += skymap
    expected = skymap.clone(True)
    expected *= 2.0
    assert bits(oracle(mine)).tolist() == bits(oracle(expected)).tolist()
    assert mine.npix_nonzero == len(held)


@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring", "healpix indexed"])
def test_encoding_no_pixels_gives_an_empty_map(kind):
    (skymap, *_) = maps_by_plane(map_frame(kind, "hits", 0)).values()
    nothing = encode(skymap, storage_of(skymap), np.empty(0, np.int64), np.empty(0))
    assert storage_of(nothing) == storage_of(encode(skymap, "empty", *decode_nothing())) == "empty"
    assert nothing.compatible(skymap)
    assert not oracle(nothing).any()


def decode_nothing():
    nothing = decode(maps.HealpixSkyMap(4))
    assert isinstance(nothing, Points)
    return nothing.pixels, nothing.values


def test_the_fuller_of_two_storages_is_the_one_that_spells_out_more():
    fullness = pixels_module.FULLNESS
    assert fullness["empty"] < fullness["indexed-sparse"] < fullness["ring-sparse"]
    assert fullness["sparse"] == fullness["ring-sparse"] < fullness["dense"]
