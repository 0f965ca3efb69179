"""Where the pixels of maps lie in the bytes of a frame, against what spt3g writes and reads."""

from __future__ import annotations

import numpy as np
import pytest
from anymaps import STEPS, geometries, in_steps_of, skymaps, weights, with_runs
from hypothesis import assume, given
from hypothesis import strategies as st
from mapblobs import blob_of, fewer, found_in, object_of
from skies import (
    KINDS,
    WEIGHTINGS,
    assert_same_map,
    bits,
    map_frame,
    pixels,
    storage,
)
from spt3g import core, maps

from g3reduce.g3files.archive import DENSE, INDEXED
from g3reduce.g3files.checksum import Checksum
from g3reduce.g3files.frames import Unrecognised, walk
from g3reduce.g3files.maps import PAIR, Content, filled, find_maps
from g3reduce.g3files.outlines import Outline
from g3reduce.g3files.runs import learn
from g3reduce.g3files.source import MemoryBytes
from g3reduce.maps.chunks import RunsChunk
from g3reduce.maps.mapfile import planes_of
from g3reduce.maps.pixels import Plane, as_points, is_flat, lines_of, storage_of, whole


def components(value):
    """The maps in an object, by the names that they have here."""
    if isinstance(value, maps.G3SkyMap):
        return {"": value}
    return {name: getattr(value, name) for name in value.keys()}  # noqa: SIM118


def is_rings_in_nested_order(value):
    return any(storage(m) == "ring" and m.nested for m in components(value).values())


def content_of(source, extent):
    """The pixels, as they stand in the bytes."""
    if extent.layout is not None:  # which may be another of the same size
        layout, position = learn(source, extent.lines, extent.begin - 32, extent.end)
        values = [np.empty(0)]
        for length in layout.lengths.tolist():
            values.append(np.frombuffer(source.read(position + 12, 8 * length)))
            position += 12 + 8 * length
        return Content(extent.storage, np.concatenate(values), layout)
    if extent.storage == DENSE:
        return Content(DENSE, np.frombuffer(source.read(extent.begin, 8 * extent.n_items)))
    if extent.storage == INDEXED:
        pairs = np.frombuffer(source.read(extent.begin, 16 * extent.n_items), PAIR)
        return Content(INDEXED, pairs)
    return Content(extent.storage, np.empty(0))


def assert_found(value, step):
    """The bytes of a map or of weights are taken apart, and put together again."""
    blob = blob_of(value)
    expected = components(value)
    with in_steps_of(step):
        if is_rings_in_nested_order(value):
            with pytest.raises(Unrecognised):
                found_in(blob)
            return
        for _ in range(2):  # the second time, the layouts are known
            source, found = found_in(blob, b"before", b"behind")
            assert list(found) == list(expected)
            for name, extent in found.items():
                if storage_of(expected[name]) != "empty":
                    assert extent.storage == storage_of(expected[name])
            empty = object_of(Outline.of(source, 6, 6 + len(blob), found).empty)
            assert list(components(empty)) == list(expected)
            for name, skymap in components(empty).items():
                assert_same_map(skymap, expected[name].clone(False), name)
                skymap.overflow = expected[name].overflow
            contents = {name: content_of(source, extent) for name, extent in found.items()}
            whole = filled(blob_of(empty), contents)
            assert b"".join(bytes(piece) for piece in whole.pieces()) == blob
            assert whole.size == len(blob)
            at_once = np.empty(whole.size, np.uint8)
            whole.put(at_once)
            assert bytes(at_once) == blob


@fewer
@given(skymaps(), st.sampled_from(STEPS))
def test_a_map_is_taken_apart_and_put_together_to_the_same_bytes(skymap, step):
    assert_found(skymap, step)


@fewer
@given(weights(), st.sampled_from(STEPS))
def test_weights_are_taken_apart_and_put_together_to_the_same_bytes(value, step):
    assert_found(value, step)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_all_objects_of_usual_frames_are_taken_apart(kind, weighting):
    frame = map_frame(kind, weighting, 0)
    for key in frame.keys():  # noqa: SIM118
        if key != "Id":
            assert_found(frame[key], 2**19)


@fewer
@given(st.one_of(skymaps(), weights()), st.sampled_from(STEPS))
def test_pixels_that_are_read_from_the_bytes_are_those_of_the_map(value, step):
    key = "T" if isinstance(value, maps.G3SkyMap) else "Wpol"
    frame = core.G3Frame(core.G3FrameType.Map)
    frame[key] = value
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    assume(not is_rings_in_nested_order(value))
    with in_steps_of(step):
        checksum = Checksum(raw)
        for plane, skymap in read_planes(raw, key, checksum):
            assert_same_pixels(plane, skymap)
        checksum.finish()
        for plane, skymap in read_planes(raw, key, checksum):  # again, now with known layouts
            assert_same_pixels(plane, skymap)


def read_planes(raw, key, checksum):
    """Planes whose pixels lie in the bytes of a frame, beside the maps themselves."""
    frame = core.G3Frame()
    frame._cereal_loads(raw.read())
    found = find_maps(raw.source, raw.blobs[0].offset, raw.blobs[0].end)
    planes = planes_of(frame, "frame")
    for name, extent in found.items():
        plane = planes[f"{key}.{name}" if name else key]
        yield plane.stored(raw.source, extent, checksum, "it"), components(frame[key])[name]


def assert_same_pixels(plane, skymap):
    expected = pixels(skymap)
    if plane.storage == DENSE:
        values = whole(plane.chunks(), skymap).reshape(expected.shape)
    else:
        points = as_points(plane.chunks(), skymap.shape)
        values = np.zeros(skymap.size)
        values[points.pixels] = points.values
        if is_flat(skymap):
            values = values.reshape(expected.shape[::-1]).T
    np.testing.assert_array_equal(bits(values + 0.0), bits(expected + 0.0))


# Runs that differ from those that are known


FLAT = maps.FlatSkyMap(x_len=6, y_len=9, res=1.0, weighted=True)
RINGS = [maps.HealpixSkyMap(nside=4, shift_ra=shifted, weighted=True) for shifted in (False, True)]


def ones(*lengths):
    return [np.arange(1.0, length + 1) + 10 * i for i, length in enumerate(lengths)]


SAME_SIZE = {
    "other starts": ([0, 1, 2], [3, 2, 1], [0, 2, 2], [3, 2, 1]),
    "other lengths": ([0, 1, 2], [3, 2, 1], [0, 1, 2], [2, 3, 1]),
    "the first is another": ([0, 0], [4, 1], [0, 0], [1, 4]),
    "an empty one": ([0, 1, 2], [3, 0, 1], [0, 1, 2], [2, 2, 0]),
    "the last start is another": ([0, 0, 0], [3, 3, 3], [0, 0, 1], [3, 3, 3]),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("blank", [FLAT, *RINGS], ids=["flat", "ring", "shifted"])
@pytest.mark.parametrize("how", SAME_SIZE)
def test_other_runs_of_the_same_size_are_found_out_when_they_are_read(how, blank, step):
    starts, lengths, other_starts, other_lengths = SAME_SIZE[how]
    known = with_runs(blank, 1, list(zip(starts, ones(*lengths), strict=True)))
    other = with_runs(blank, 1, list(zip(other_starts, ones(*other_lengths), strict=True)))
    with in_steps_of(step):
        for skymap in (known, other, known, other):
            assert_same_pixels(Plane.of(skymap), skymap)
        # Both in one archive, in both orders: the versions of classes come only once.
        for order in ((known, other, other), (other, known, known)):
            both = maps.G3SkyMapWeights()
            for name, skymap in zip(("TT", "TQ", "TU", "QQ", "QU", "UU"), 2 * order, strict=True):
                setattr(both, name, copy_of(skymap))
            frame = core.G3Frame(core.G3FrameType.Map)
            frame["Wpol"] = both
            (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
            checksum = Checksum(raw)
            for plane, skymap in read_planes(raw, "Wpol", checksum):
                assert_same_pixels(plane, skymap)
            checksum.finish()


def copy_of(skymap):
    copy = skymap.clone(False)
    copy._cereal_loads(skymap._cereal_dumps())
    return copy


@fewer
@given(geometries(), st.data())
def test_any_runs_are_read_also_after_any_others(blank, data):
    """Runs as no map has them that spt3g made itself: empty ones, zeros at the ends."""
    assume(is_flat(blank) or not blank.nested)
    lines = Plane.of(blank)
    assert lines.storage == "empty"
    with in_steps_of(data.draw(st.sampled_from(STEPS))):
        for _ in range(3):
            skymap = with_runs(blank, *data.draw(runs_on(blank)))
            if skymap.npix_allocated:
                assert_same_pixels(Plane.of(skymap), skymap)
                assert all(isinstance(c, RunsChunk) for c in Plane.of(skymap).chunks())


@st.composite
def runs_on(draw, blank):
    room = lines_of(blank).lengths(0, 2**40).tolist()
    offset = draw(st.integers(0 if is_flat(blank) else 1, len(room) - 1))
    found = []
    for places in room[offset : offset + draw(st.integers(0, 5))]:
        length = draw(st.sampled_from([0, 1, 2, places]).filter(lambda n, most=places: n <= most))
        start = draw(st.integers(0, places - length))
        found.append((start, np.arange(1.0, length + 1)))
    return offset, found


def test_a_map_that_is_filled_already_is_not_filled_again():
    blob = blob_of(map_frame("flat sparse", "hits", 0)["T"])
    with pytest.raises(ValueError, match="the map '' is not empty"):
        filled(blob, {"": Content(DENSE, np.zeros(600))})
