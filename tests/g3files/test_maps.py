"""Where the pixels of maps lie in the bytes of a frame, against what spt3g writes and reads."""

from __future__ import annotations

import io
import logging
import struct

import numpy as np
import pytest
from anymaps import STEPS, geometries, in_steps_of, skymaps, weights, with_runs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skies import (
    KINDS,
    WEIGHTINGS,
    assert_same_coadd,
    assert_same_map,
    bits,
    map_frame,
    pixels,
    storage,
)
from spt3g import core, maps

from g3reduce import InputError, coadd_files
from g3reduce.g3files import decoding
from g3reduce.g3files.archive import DENSE, INDEXED
from g3reduce.g3files.checksum import Checksum
from g3reduce.g3files.frames import Unrecognised, walk, write_frame
from g3reduce.g3files.maps import PAIR, Content, filled, find_maps
from g3reduce.g3files.outlines import hollow
from g3reduce.g3files.runs import learn
from g3reduce.g3files.source import MemoryBytes
from g3reduce.maps.chunks import RunsChunk
from g3reduce.maps.mapfile import planes_of
from g3reduce.maps.pixels import Plane, as_points, is_flat, lines_of, storage_of, whole

relaxed = settings(deadline=None, max_examples=60)
MAP = int(core.G3FrameType.Map)


def blob_of(value):
    """The bytes by which a frame holds an object."""
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["it"] = value
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    return raw.content(raw.blobs[0])


def object_of(blob):
    file = io.BytesIO()
    write_frame(file, MAP, [("it", len(blob), [blob])])
    frame = core.G3Frame()
    frame._cereal_loads(file.getvalue())
    return frame["it"]


def found_in(blob, before=b"", behind=b""):
    source = MemoryBytes(before + blob + behind)
    return source, find_maps(source, len(before), len(before) + len(blob))


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
        return Content(DENSE, np.frombuffer(source.read(extent.begin, 8 * extent.count)))
    if extent.storage == INDEXED:
        pairs = np.frombuffer(source.read(extent.begin, 16 * extent.count), PAIR)
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
            empty = hollow(source, 6, 6 + len(blob), found)
            again = components(object_of(empty))
            assert list(again) == list(expected)
            for name, skymap in again.items():
                nothing = expected[name].clone(False)
                nothing.overflow = expected[name].overflow
                assert_same_map(skymap, nothing, name)
            contents = {name: content_of(source, extent) for name, extent in found.items()}
            size, pieces = filled(empty, contents)
            made = b"".join(bytes(piece) for piece in pieces)
            assert made == blob
            assert size == len(blob)


@relaxed
@given(skymaps(), st.sampled_from(STEPS))
def test_a_map_is_taken_apart_and_put_together_to_the_same_bytes(skymap, step):
    assert_found(skymap, step)


@relaxed
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


@relaxed
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


@relaxed
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


# What is not known here


@relaxed
@given(
    st.one_of(
        st.text(max_size=5),
        st.integers(-5, 5),
        st.lists(st.floats(), max_size=4).map(core.G3VectorDouble),
        skymaps().map(lambda skymap: maps.G3SkyMapMask(skymap)),
    )
)
def test_other_classes_are_not_recognised(value):
    with pytest.raises(Unrecognised):
        found_in(blob_of(value))


@relaxed
@given(st.one_of(skymaps(), weights()), st.data())
def test_broken_bytes_of_a_map_are_not_recognised_or_name_extents_within(value, data):
    blob = bytearray(blob_of(value))
    for _ in range(data.draw(st.integers(1, 3))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(blob), data.draw(st.integers(0, len(blob)))]))
    try:
        _, found = found_in(bytes(blob[:cut]))
    except (Unrecognised, InputError):
        return
    position = 0
    for extent in found.values():
        assert position <= extent.code_at < extent.begin <= extent.end <= cut
        position = extent.end


def as_blob(name, archive):
    """The bytes of an archive as a frame holds them: with the class in front."""
    named = struct.pack("<IQ", 0x80000001, len(name)) + name.encode()
    return b"\1" + named + struct.pack("<I", 0x80000001) + archive[1:]


def with_version(archive, place, version):
    return archive[:place] + struct.pack("<I", version) + archive[place + 4 :]


def flat_pol_missing(archive):
    return with_version(archive[:-1], 1, 3)


def pol_conv_missing(archive):
    return with_version(archive[:34] + archive[38:], 9, 2)


def centre_from_one(archive):
    x, y = struct.unpack_from("<dd", archive, 94)
    changed = archive[:94] + struct.pack("<dd", x + 1, y + 1) + archive[110:]
    return with_version(changed, 38, 3)


def centre_missing(archive):
    return with_version(archive[:94] + archive[110:], 38, 2)


def resolutions_exchanged(archive):
    x, y = struct.unpack_from("<dd", archive, 78)
    return with_version(archive[:78] + struct.pack("<dd", y, x) + archive[110:], 38, 1)


def shift_at_the_end(archive):
    (nside,) = struct.unpack_from("<Q", archive, 42)
    begin = archive[:38] + struct.pack("<I", nside) + archive[50:51]
    return with_version(begin + archive[52:] + archive[51:52], 1, 2)


def shift_missing(archive):
    return with_version(shift_at_the_end(archive)[:-1], 1, 1)


OLDER = {
    "G3SkyMap 2": (pol_conv_missing, KINDS),
    "FlatSkyMap 3": (flat_pol_missing, KINDS[:2]),
    "FlatSkyProjection 3": (centre_from_one, KINDS[:2]),
    "FlatSkyProjection 2": (centre_missing, KINDS[:2]),
    "FlatSkyProjection 1": (resolutions_exchanged, KINDS[:2]),
    "HealpixSkyMap 2": (shift_at_the_end, KINDS[2:]),
    "HealpixSkyMap 1": (shift_missing, [kind for kind in KINDS[2:] if "shifted" not in kind]),
}


@pytest.mark.parametrize(
    ("version", "kind"), [(version, kind) for version in OLDER for kind in OLDER[version][1]]
)
def test_maps_of_older_versions_are_read_by_spt3g_and_the_log_says_so(
    version, kind, tmp_path, caplog, monkeypatch
):
    make_old, _ = OLDER[version]
    frames = [map_frame(kind, "no weights", seed) for seed in (0, 1)]
    files = []
    for i, frame in enumerate(frames):
        skymap = frame["T"]
        name = type(skymap).__name__
        old = as_blob(name, make_old(skymap._cereal_dumps()))
        again = object_of(old)
        assert again.compatible(skymap)
        assert bits(pixels(again)).tolist() == bits(pixels(skymap)).tolist()
        with pytest.raises(Unrecognised, match=f"of {version.split()[0]}"):
            found_in(old)
        files.append(str(tmp_path / f"old{i}.g3"))
        with open(files[-1], "wb") as file:
            write_frame(file, MAP, [("Id", *whole_blob("x")), ("T", len(old), [old])])
    assert_read_by_spt3g(files, caplog, monkeypatch, f" of {version.split()[0]} ")


def whole_blob(value):
    blob = blob_of(value)
    return len(blob), [blob]


def assert_read_by_spt3g(files, caplog, monkeypatch, reason):
    monkeypatch.setattr(decoding, "_noted", set())
    with caplog.at_level(logging.INFO, "g3reduce.g3files.decoding"):
        mine = coadd_files(files).frame
    assert_same_coadd(mine, maps.coadd_map_files(files))
    records = [record for record in caplog.records if record.name == decoding.__name__]
    (text,) = (record.getMessage() for record in records)
    assert text.startswith(f"{files[0]}, frame 0 is read by spt3g, which takes longer: ")
    assert reason in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", ["polarized", "unpolarized"])
def test_weights_of_an_older_version_are_read_by_spt3g(
    kind, weighting, tmp_path, caplog, monkeypatch
):
    frame = map_frame(kind, weighting, 0)
    key = "Wpol" if weighting == "polarized" else "Wunpol"
    blob = blob_of(frame[key])
    place = 1 + 4 + 8 + len("G3SkyMapWeights") + 4
    old = with_version(blob, place, 2) + struct.pack("<I", 3 if key == "Wpol" else 4)
    with pytest.raises(Unrecognised, match="of G3SkyMapWeights"):
        found_in(old)
    file = str(tmp_path / "old.g3")
    with open(file, "wb") as stream:
        entries = [(name, *whole_blob(frame[name])) for name in frame.keys() if name != key]  # noqa: SIM118
        write_frame(stream, MAP, [*entries, (key, len(old), [old])])
    reason = " of G3SkyMapWeights "
    assert_read_by_spt3g([file], caplog, monkeypatch, reason)


def test_weights_that_hold_one_map_twice_are_read_by_spt3g(tmp_path, caplog, monkeypatch):
    frame = map_frame("flat sparse", "polarized", 0)
    weights = frame.pop("Wpol")
    weights.QQ = weights.TT
    weights.UU = weights.TT
    frame["Wpol"] = weights
    with pytest.raises(Unrecognised, match="a map that is there twice"):
        found_in(blob_of(weights))
    file = str(tmp_path / "twice.g3")
    with core.G3Writer(file) as writer:
        writer(frame)
    assert_read_by_spt3g([file], caplog, monkeypatch, "a map that is there twice")


def test_rings_in_nested_order_are_read_by_spt3g(tmp_path, caplog, monkeypatch):
    skymap = map_frame("healpix nested indexed", "no weights", 0)["T"]
    skymap.ringsparse = True
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"], frame["T"] = "x", skymap
    file = str(tmp_path / "nested.g3")
    with core.G3Writer(file) as writer:
        writer(frame)
    assert_read_by_spt3g([file], caplog, monkeypatch, "rings of a map in NESTED order")


def test_frames_in_another_byte_order_are_read_by_spt3g(tmp_path, caplog, monkeypatch):
    """The blobs have a byte order of their own."""
    frame = map_frame("flat sparse", "no weights", 0)
    plain = frame.__getstate__()[1]
    (raw,) = walk(MemoryBytes(plain))
    data = struct.pack(">BIiI", 0, 1, len(raw.blobs), raw.type)
    for blob in raw.blobs:
        content = raw.content(blob)
        data += struct.pack(">Q", len(blob.name)) + blob.name.encode()
        data += struct.pack(">Q", len(content)) + content
    data += plain[-4:][::-1]
    file = tmp_path / "big.g3"
    file.write_bytes(data)
    reason = "a frame in another byte order or version"
    assert_read_by_spt3g([str(file)], caplog, monkeypatch, reason)


def test_a_map_that_is_filled_already_is_not_filled_again():
    blob = blob_of(map_frame("flat sparse", "hits", 0)["T"])
    with pytest.raises(ValueError, match="the map '' is not empty"):
        filled(blob, {"": Content(DENSE, np.zeros(600))})
