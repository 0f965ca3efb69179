"""Broken files end in a clear error that names the file: never a crash, a hang or a wrong sum."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tinyfiles
from anymaps import with_runs
from choices import ALL
from patience import HANGS_S
from spt3g import core, maps
from tinyfiles import KINDS, fuzz, is_same, offsets, tiny_file, tiny_frame, tiny_map

from g3reduce import InputError, coadd_files
from g3reduce.g3files.frames import walk, write_frame
from g3reduce.g3files.maps import find_maps
from g3reduce.g3files.source import FileBytes, MemoryBytes

MAP = int(core.G3FrameType.Map)
SUPPORT = os.path.dirname(tinyfiles.__file__)
# Cuts


@pytest.mark.parametrize("kind", ["flat sparse", "dense"])
def test_every_cut_is_an_error_that_names_the_file_and_the_byte(kind, tmp_path):
    """But a cut between frames, which nobody can see."""
    file = tmp_path / "cut.g3"
    data = tiny_file(file, kind, weights=False)
    ends, _ = offsets(data)
    for cut in range(len(data) - 1, 0, -1):
        os.truncate(file, cut)
        if cut in ends[2:]:
            mine = coadd_files(str(file), keep_maps=True).frame
            assert is_same(mine, maps.coadd_map_files([str(file)]))
            continue
        with pytest.raises(InputError) as caught:
            coadd_files(str(file), keep_maps=False)
        text = str(caught.value)
        if cut == ends[1]:
            assert text == "There is no Map frame in the input file."
            continue
        assert text.startswith(str(file))
        if cut >= 5:  # it looks like a .g3 file
            frame = next(i for i, end in enumerate(ends[1:]) if cut < end)
            assert text.startswith(f"{file}, frame {frame}, byte ")
            place = int(text.removeprefix(f"{file}, frame {frame}, byte ").split(":")[0])
            assert ends[frame] <= place <= cut
            assert "this frame cannot be read" in text


def test_a_number_of_pairs_that_no_file_can_have_is_a_wrong_checksum(tmp_path, limits):
    """Though the maps of the frame before have the same attributes."""
    limits(small_frame=0)  # a small one is read at once
    frame = tiny_frame("indexed", 1.0, weights=False)
    frame["Q"], frame["U"] = tiny_map("indexed", 1.0), tiny_map("indexed", 1.0)
    frame["Wpol"] = maps.G3SkyMapWeights()
    for component in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
        setattr(frame["Wpol"], component, tiny_map("indexed", 1.0))
    file = tmp_path / "many.g3"
    with core.G3Writer(str(file)) as writer:
        writer(frame)
        writer(frame)
    data = file.read_bytes()
    *_, raw = walk(MemoryBytes(data))
    (blob,) = (blob for blob in raw.blobs if blob.name == "Wpol")
    first = find_maps(MemoryBytes(data), blob.offset, blob.end)["TT"]
    file.write_bytes(data[: first.sized_at] + b"\xff" * 8 + data[first.begin :])
    with pytest.raises(InputError, match=f"^{re.escape(str(file))}, frame 1, byte .* checksum"):
        coadd_files(str(file))


# Bit flips


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_are_an_error_or_what_spt3g_makes_of_them(kind, tmp_path):
    fuzz(kind, 60, seed=1, folder=tmp_path)


def test_flipped_bits_never_end_the_process():
    """Nor do they make it hang, or take memory."""
    work = f"""
import resource, sys, tempfile
sys.path.insert(0, {SUPPORT!r})
import tinyfiles
tinyfiles.limit_memory()
with tempfile.TemporaryDirectory() as folder:
    for seed, kind in enumerate(tinyfiles.KINDS):
        tinyfiles.fuzz(kind, {350 if ALL else 6}, seed, folder)
    tinyfiles.fuzz_headers(folder)
"""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", work],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


NOT_TAKEN = {
    "the name of the Id": (b"Id", b"Jd", {}),
    "an Id that is not asked for": (b"first", b"furst", {"map_ids": ["x", "second"]}),
    "a frame that is not assigned": (
        b"first",
        b"furst",
        {"assign": lambda frame: {"sum": 1} if frame["Id"] in ("first", "second") else None},
    ),
}


@pytest.mark.parametrize("what", NOT_TAKEN)
@pytest.mark.parametrize("reader", ["", "spt3g"])
def test_a_frame_that_takes_no_part_is_checked_too(what, reader, tmp_path, monkeypatch):
    """It might be one that should have."""
    monkeypatch.setenv("G3REDUCE_READ_WITH", reader)
    good, bad, options = NOT_TAKEN[what]
    file = tmp_path / "named.g3"
    with core.G3Writer(str(file)) as writer:
        for map_id in ("x", "first", "second"):
            frame = tiny_frame("flat sparse", 1.0)
            del frame["Id"]
            frame["Id"] = map_id
            writer(frame)
    data = file.read_bytes()
    place = data.rindex(good) if good == b"Id" else data.index(good)
    file.write_bytes(data[:place] + bad + data[place + len(bad) :])
    with pytest.raises(InputError, match=r"named\.g3, frame [12]"):
        coadd_files(str(file), **options)


# Bytes that are wrong, under a right checksum


def blob_of(value):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["it"] = value
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    return raw.content(raw.blobs[0])


def write_with(file, blob):
    """A Map frame whose T has these bytes, and after it a good one."""
    name = blob_of("x")
    with open(file, "wb") as stream:
        write_frame(stream, MAP, [("Id", len(name), [name]), ("T", len(blob), [blob])])
    return str(file)


FLAT = maps.FlatSkyMap(x_len=3, y_len=4, res=1.0, weighted=True)
RING = maps.HealpixSkyMap(nside=2, weighted=True)
SHIFTED = maps.HealpixSkyMap(nside=2, weighted=True, shift_ra=True)


def sparse(blank, change, first=1):
    """A map with two runs, and the number at the place that is named changed."""
    blob = blob_of(with_runs(blank, first, [(0, [1.0, 2.0]), (1, [3.0, 4.0])]))
    end = len(blob) - (1 if isinstance(blank, maps.FlatSkyMap) else 0)
    begin = end - 2 * (12 + 16) - 32
    places = {
        "lines": (begin, "<Q"),
        "places": (begin + 8, "<Q"),
        "first line": (begin + 16, "<Q"),
        "number of runs": (begin + 24, "<Q"),
        "start": (begin + 32, "<i"),
        "length": (begin + 36, "<Q"),
        "second start": (begin + 60, "<i"),
        "second length": (begin + 64, "<Q"),
    }
    changed = bytearray(blob)
    for name, value in change.items():
        place, how = places[name]
        struct.pack_into(how, changed, place, value)
    return bytes(changed)


def indexed(pixel):
    skymap = maps.HealpixSkyMap(nside=2, weighted=True)
    skymap[3] = 1.0
    skymap.indexedsparse = True
    blob = bytearray(blob_of(skymap))
    blob[-16:-8] = struct.pack("<Q", pixel)
    return bytes(blob)


def indexed_twice():
    skymap = maps.HealpixSkyMap(nside=2, weighted=True)
    skymap[3] = skymap[5] = 1.0
    skymap.indexedsparse = True
    blob = bytearray(blob_of(skymap))
    blob[-16:-8] = blob[-32:-24]
    return bytes(blob)


def dense(blank, count):
    skymap = blank.clone(False)
    np.asarray(skymap)[:] = 1.0  # this makes it dense
    blob = blob_of(skymap)
    size = struct.pack("<Q", skymap.size)
    place = blob.rindex(size)
    return blob[:place] + struct.pack("<Q", count) + blob[place + 8 :]


WRONG = {
    "a run before its line": lambda blank: sparse(blank, {"start": -1}),
    "a run far before its line": lambda blank: sparse(blank, {"start": -(2**31)}),
    "a run beyond its line": lambda blank: sparse(blank, {"start": 7}),
    "a run far beyond its line": lambda blank: sparse(blank, {"start": 2**31 - 1}),
    "the last run beyond its line": lambda blank: sparse(blank, {"second start": 2**20}),
    "a first line behind the map": lambda blank: sparse(blank, {"first line": 2**20}),
    "a first line so large that it wraps": lambda blank: sparse(blank, {"first line": 2**64 - 1}),
    "more lines": lambda blank: sparse(blank, {"lines": 2**33}),
    "more places": lambda blank: sparse(blank, {"places": 2**33}),
    "more runs": lambda blank: sparse(blank, {"number of runs": 3}),
    "very many runs": lambda blank: sparse(blank, {"number of runs": 2**60}),
    "a longer run": lambda blank: sparse(blank, {"length": 9}),
    "a very long run": lambda blank: sparse(blank, {"length": 2**60}),
    "the last run longer": lambda blank: sparse(blank, {"second length": 2**61}),
}
WRONG_ONES = {
    **{
        f"{name}, {what}": (make, blank)
        for name, make in WRONG.items()
        for what, blank in (("flat", FLAT), ("ring", RING), ("shifted", SHIFTED))
    },
    "a pixel behind the map": (lambda _: indexed(48), None),
    "a pixel far behind the map": (lambda _: indexed(2**40), None),
    "a pixel that is negative": (lambda _: indexed(2**64 - 1), None),
    "a pixel twice": (lambda _: indexed_twice(), None),
    "more values, flat": (lambda blank: dense(blank, 13), FLAT),
    "fewer values, flat": (lambda blank: dense(blank, 1), FLAT),
    "very many values, flat": (lambda blank: dense(blank, 2**60), FLAT),
    "more values, HEALPix": (lambda blank: dense(blank, 49), RING),
    "fewer values, HEALPix": (lambda blank: dense(blank, 1), RING),
    "very many values, HEALPix": (lambda blank: dense(blank, 2**60), RING),
}


@pytest.fixture(scope="module")
def ends():
    """What became of each of the wrong files."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{i:03d}.g3" for i in range(len(WRONG_ONES))]
        for name, (make, blank) in zip(names, WRONG_ONES.values(), strict=True):
            write_with(os.path.join(folder, name), make(blank))
        found = {}
        while names:  # a process that ends with a file is begun again behind it
            work = (
                f"import sys; sys.path.insert(0, {SUPPORT!r}); import tinyfiles; "
                f"tinyfiles.limit_memory(); tinyfiles.tell({folder!r})"
            )
            done = subprocess.run(
                [sys.executable, "-c", work],
                capture_output=True,
                text=True,
                timeout=HANGS_S,
                check=False,
            )
            for line in done.stdout.splitlines():
                name, _, what = line.partition("\t")
                found[name] = what or f"the process ended ({done.returncode})"
                names.remove(name)
                os.unlink(os.path.join(folder, name))
            assert done.stdout, done.stderr[-2000:]
        return dict(zip(WRONG_ONES, (found[name] for name in sorted(found)), strict=True))


@pytest.mark.parametrize("what", WRONG_ONES)
def test_pixels_that_cannot_be_are_an_error_that_names_the_file(what, ends):
    assert ends[what] == "named"


def test_a_file_whose_frames_have_the_right_checksums_is_read(tmp_path):
    """That the files above are refused is not for how they were made."""
    for number, blank in enumerate((FLAT, RING, SHIFTED)):
        file = write_with(tmp_path / f"{number}.g3", sparse(blank, {}))
        with FileBytes(file) as source:
            (raw,) = walk(source)
            assert raw.native
        assert is_same(coadd_files(file).frame, maps.coadd_map_files([file]))
    file = write_with(tmp_path / "indexed.g3", indexed(47))
    assert is_same(coadd_files(file).frame, maps.coadd_map_files([file]))
