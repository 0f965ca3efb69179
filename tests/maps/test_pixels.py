"""Pixels of spt3g maps as numpy arrays and back, against spt3g's own conversion."""

from __future__ import annotations

import numpy as np
import pytest
from anymaps import contents, geometries, skymaps, stored
from choices import ALL
from hypothesis import assume, given, settings
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

from g3reduce.maps import pixels as pixels_module
from g3reduce.maps.chunks import DenseChunk, PointsChunk, RunsChunk
from g3reduce.maps.pixels import (
    as_points,
    decode,
    encode,
    is_flat,
    merged,
    storage_of,
    whole,
)

NAMES = {"dense": "dense", "sparse": "sparse", "ring": "ring-sparse", "indexed": "indexed-sparse"}
NAMES["empty"] = "empty"

fewer = settings(max_examples=100 if ALL else 30)


@given(st.lists(st.sets(st.integers(0, 30)), min_size=1, max_size=4))
def test_pixels_of_several_maps_are_merged(sets):
    arrays = [np.array(sorted(one), np.int64) for one in sets]
    found = merged(*arrays)
    assert found.dtype == np.int64
    assert found.tolist() == sorted(set().union(*sets))


def without_sign_of_zero(values):
    """-0.0 as 0.0: sparse storage may not tell them apart, and sums do not either."""
    return bits(np.asarray(values) + 0.0)


def oracle(skymap):
    """All pixels, by spt3g's own conversion to dense storage, which numbers them by rows."""
    return np.array(skymap.clone(True)).reshape(-1)


def numbers_of(chunk):
    """The numbers of the pixels in a chunk."""
    if isinstance(chunk, DenseChunk):
        return np.arange(chunk.start, chunk.start + len(chunk.values))
    if isinstance(chunk, PointsChunk):
        return chunk.pixels
    return chunk.layout.pixels(chunk.group)


def listed(skymap):
    """Number (by columns in sparse flat-sky maps) and value of each pixel that decode tells."""
    found = [(numbers_of(chunk), chunk.values.copy()) for chunk in decode(skymap)]
    numbers = [np.empty(0, np.int64), *(numbers for numbers, _ in found)]
    return np.concatenate(numbers), np.concatenate([np.empty(0), *(values for _, values in found)])


def by_rows(skymap, numbers):
    if not is_flat(skymap) or storage_of(skymap) == "dense":
        return numbers
    n_y, n_x = skymap.shape
    return numbers % n_y * n_x + numbers // n_y


@fewer
@given(skymaps())
def test_the_storage_is_named_as_spt3g_stores_it(skymap):
    assert storage_of(skymap) == NAMES[storage(skymap)]


@fewer
@given(skymaps())
def test_decoded_pixels_are_those_of_the_map(skymap):
    numbers, values = listed(skymap)
    assert len(set(numbers.tolist())) == len(numbers), "a pixel is listed twice"
    whole = np.zeros(int(skymap.size))
    whole[by_rows(skymap, numbers)] = values
    np.testing.assert_array_equal(without_sign_of_zero(whole), without_sign_of_zero(oracle(skymap)))


@fewer
@given(skymaps())
def test_decoding_changes_nothing_and_makes_nothing_dense(skymap):
    before = storage(skymap), skymap.npix_allocated, skymap._cereal_dumps()
    list(decode(skymap))
    assert (storage(skymap), skymap.npix_allocated, skymap._cereal_dumps()) == before


@fewer
@given(skymaps())
def test_each_storage_is_decoded_as_it_lies(skymap):
    how = storage(skymap)
    kinds = {"dense": DenseChunk, "indexed": PointsChunk, "sparse": RunsChunk, "ring": RunsChunk}
    if how == "ring" and skymap.nested:
        kinds = {"ring": PointsChunk}  # rings are no runs of pixels in this order
    chunks = list(decode(skymap))
    assert bool(chunks) == (how != "empty")
    assert all(isinstance(chunk, kinds[how]) for chunk in chunks)
    # What is decoded is what is stored: at most a run that is cut in two gets no longer.
    assert len(listed(skymap)[0]) <= skymap.npix_allocated


def test_dense_pixels_are_a_view_of_the_map():
    skymap = maps.FlatSkyMap(np.arange(6.0).reshape(2, 3), 1.0)
    (chunk,) = decode(skymap)
    assert np.shares_memory(chunk.values, np.asarray(skymap))


@fewer
@given(skymaps(), st.booleans())
def test_points_are_the_pixels_one_by_one_in_rising_order(skymap, overwritten):
    """Also where a chunk is overwritten by the next."""
    found = decode(skymap)
    if overwritten:
        found = scribbling(decode(skymap))
    points = as_points(found, skymap.shape)
    assert (np.diff(points.pixels) > 0).all()
    numbers = points.pixels
    if is_flat(skymap):
        n_y, n_x = skymap.shape
        numbers = numbers % n_y * n_x + numbers // n_y
    whole_map = np.zeros(int(skymap.size))
    whole_map[numbers] = points.values
    np.testing.assert_array_equal(
        without_sign_of_zero(whole_map), without_sign_of_zero(oracle(skymap))
    )
    if storage_of(skymap) == "dense":
        assert points.values.all()


def scribbling(chunks):
    """The same chunks, whose values are spoilt when the next is asked for."""
    for chunk in chunks:
        if isinstance(chunk, RunsChunk):
            yield chunk
            chunk.with_values(np.full(len(chunk.values), np.nan))
            continue
        chunk = chunk._replace(values=chunk.values.copy())
        yield chunk
        chunk.values[:] = 1e9


@fewer
@given(skymaps(), st.integers(1, 50))
def test_a_map_is_put_together_from_its_chunks(skymap, step):
    values = oracle(skymap)
    assert bits(whole(decode(skymap), skymap) + 0.0).tolist() == bits(values + 0.0).tolist()
    starts = range(0, len(values), step)
    chunks = [DenseChunk(start, values[start : start + step].copy()) for start in starts]
    together = whole(scribbling(chunks), skymap)
    assert bits(together).tolist() == bits(values).tolist()


@fewer
@given(skymaps())
def test_encoding_what_was_decoded_gives_the_same_map_in_the_same_storage(skymap):
    how = storage_of(skymap)
    assume(how != "dense")
    numbers, values = listed(skymap)
    order = np.argsort(numbers)
    stub = skymap.clone(False)
    stub.overflow = skymap.overflow
    copy = encode(stub, how, numbers[order], values[order])
    if how == "ring-sparse" and skymap.nested and not np.any(values):
        # spt3g lets go of pixels that are 0 when it makes a nested map ring-sparse.
        assert storage_of(copy) == "empty"
        return
    assert_same_attributes(copy, skymap)
    same = without_sign_of_zero(oracle(copy)) == without_sign_of_zero(oracle(skymap))
    assert same.all()


@fewer
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
    nothing = maps.HealpixSkyMap(4)
    assert not list(decode(nothing))
    return listed(nothing)


def test_the_fuller_of_two_storages_is_the_one_that_spells_out_more():
    fullness = pixels_module.FULLNESS
    assert fullness["empty"] < fullness["indexed-sparse"] < fullness["ring-sparse"]
    assert fullness["sparse"] == fullness["ring-sparse"] < fullness["dense"]
