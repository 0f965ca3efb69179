"""Maps that spt3g reads: other classes, broken bytes, older versions."""

from __future__ import annotations

import logging
import struct

import pytest
from anymaps import skymaps, weights
from hypothesis import given
from hypothesis import strategies as st
from mapblobs import MAP, blob_of, fewer, found_in, object_of
from skies import (
    KINDS,
    assert_same_coadd,
    bits,
    map_frame,
    pixels,
)
from spt3g import core, maps

from g3reduce import InputError, coadd_files
from g3reduce.g3files import decoding
from g3reduce.g3files.frames import Unrecognised, walk, write_frame
from g3reduce.g3files.source import MemoryBytes

# What is not known here


@fewer
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


@fewer
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
