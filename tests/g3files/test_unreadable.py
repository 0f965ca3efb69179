"""What cannot be read is told with its file and frame, whoever comes upon it, and none else is."""

from __future__ import annotations

import logging
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skies import map_frame, planes
from spt3g import core, maps

import g3reduce
from g3reduce import InputError, MismatchError, MPIFileReader, coadd_files
from g3reduce.g3files.frames import walk, write_frame
from g3reduce.g3files.source import FileBytes, MemoryBytes
from g3reduce.g3files.values import _COUNTED, problem_of

SCAN, STATUS = int(core.G3FrameType.Scan), int(core.G3FrameType.InstrumentStatus)


def read_all(file):
    return list(MPIFileReader(None, [str(file)]))


def through_a_pipeline(file):
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIIODistributor, mpicomm=None, files=[[str(file)]])
    pipe.Add(lambda frame: None)
    pipe.Run()


def stitched(file):
    g3reduce.stitch_files(str(file), str(Path(file).with_name("out.g3")))


READ = {"coadd": coadd_files, "reader": read_all, "pipeline": through_a_pipeline, "st": stitched}


def with_type(file, frame, kind):
    """The file, in which one frame has another type, as a flipped bit would leave it."""
    data = bytearray(Path(file).read_bytes())
    raw = list(walk(MemoryBytes(bytes(data))))[frame]
    struct.pack_into("<I", data, raw.start + 9, kind)
    Path(file).write_bytes(data)


# Types of frames


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_type_that_does_not_exist_is_an_error_that_names_it(read, ending, survey):
    import gzip

    (file,) = survey(1, "flat sparse", "hits")
    with_type(file, 1, 205)
    if ending:
        data = Path(file).read_bytes()
        file += ending
        Path(file).write_bytes(gzip.compress(data))
    with pytest.raises(InputError) as caught:
        READ[read](file)
    text = str(caught.value)
    assert text.startswith(f"{file}, frame 1, byte ")
    assert "the type of this frame is 205, which does not exist; expected one of " in text


@pytest.mark.parametrize("read", READ)
def test_the_end_of_processing_is_no_frame_of_a_file(read, survey):
    """To a pipeline it would be the end, with what came before for the whole."""
    (file,) = survey(1, "flat sparse", "hits")
    with_type(file, 1, int(core.G3FrameType.EndProcessing))
    with pytest.raises(InputError, match=r"frame 1, byte .*: the type of this frame is EndProc"):
        READ[read](file)


@pytest.mark.parametrize("read", ["coadd", "reader", "pipeline"])
@pytest.mark.parametrize("kind", ["flat sparse", "healpix ring", "healpix dense"])
def test_maps_under_another_type_are_warned_of_once_a_file(read, kind, survey, caplog):
    files = survey(2, kind, "polarized")
    for frame in (1, 2):
        with_type(files[0], frame, STATUS)
    with caplog.at_level(logging.WARNING):
        for file in files if read != "coadd" else [files]:
            READ[read](file)
    (record,) = [record for record in caplog.records if "so it is not counted" in record.message]
    assert record.message.startswith(f"{files[0]}, frame 1: this is a frame of type Instrument")
    assert "T" in record.message


def test_what_is_named_like_a_map_and_is_none_is_not_warned_of(tmp_path, caplog):
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["T"], frame["H"] = core.G3String("FlatSkyMap"), core.G3VectorDouble([1.0])
    with core.G3Writer(str(tmp_path / "scan.g3")) as writer:
        writer(frame)
    assert len(read_all(tmp_path / "scan.g3")) == 1
    assert "not counted" not in caplog.text


# Values that cannot be decoded, under a right checksum


def with_value(file, key, value, kind=None):
    """The file, in which the value of a key is made of these bytes, in its last frame."""
    *_, raw = walk(MemoryBytes(Path(file).read_bytes()))
    entries = [
        (blob.name, len(content), [content])
        for blob in raw.blobs
        for content in [value if blob.name == key else raw.content(blob)]
    ]
    before = raw.source.read(0, raw.start)
    with open(file, "wb") as stream:
        stream.write(before)
        write_frame(stream, raw.type if kind is None else kind, entries)


def blob_of(value):
    frame = core.G3Frame()
    frame["it"] = value
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    return raw.content(raw.blobs[0])


NAME = blob_of(core.G3String("150GHz"))
BROKEN = {
    "a text that ends too early": NAME[:-3],
    "nothing": b"",
    "a text of 8 GiB": NAME[:33].replace(b"\x06\0\0\0\0\0\0\0", b"", 1)
    + struct.pack("<Q", 2**33)
    + b"150GHz",
    "a class with a name of 2 GiB": NAME[:5] + struct.pack("<Q", 2**31) + NAME[13:],
    "a class that is not known": NAME.replace(b"G3String", b"G3Strong"),
    "a newer version": NAME[:25] + struct.pack("<I", 77) + NAME[29:],
    "bytes that are no text": NAME[:-1] + b"\xff",
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_id_that_cannot_be_is_told_wherever_it_is_read(what, survey):
    """Without the memory that it asks for."""
    (file,) = survey(1, "flat sparse", "hits")
    with_value(file, "Id", BROKEN[what])

    def in_a_module():
        pipe = core.G3Pipeline()
        pipe.Add(MPIFileReader, mpicomm=None, files=[file])
        pipe.Add(lambda frame: "Id" not in frame or bool(frame["Id"]))
        pipe.Run()

    def in_the_coadder():
        pipe = core.G3Pipeline()
        pipe.Add(MPIFileReader, mpicomm=None, files=[file])
        pipe.Add(g3reduce.MPIMapCoadder(None, collate=True))
        pipe.Run()

    whole = os.path.getsize(file)
    for read in (lambda: coadd_files(file, collate=True), in_a_module, in_the_coadder):
        with pytest.raises(InputError) as caught:
            read()
        assert str(caught.value).startswith(f"{file}, frame 2: 'Id' cannot be decoded, though ")
    assert os.path.getsize(file) == whole


def test_frames_are_like_those_of_spt3g_but_for_their_errors(survey):
    (file,) = survey(1, "flat sparse", "hits")
    for mine, theirs in zip(read_all(file), core.G3File(file), strict=True):
        assert isinstance(mine, core.G3Frame)
        assert str(mine) == str(theirs)
        assert sorted(mine.keys()) == sorted(theirs.keys())
        assert {key: str(value) for key, value in mine.items()}.keys() == set(theirs.keys())
        assert len(mine.values()) == len(theirs.keys())
        assert mine.get("none") is None
        assert mine.get("none", 5) == 5
        with pytest.raises(KeyError):
            mine["none"]
        with pytest.raises(KeyError):
            mine.pop("none")
        assert mine.pop("none", 7) == 7
        assert mine._filename == file
        key = sorted(mine.keys())[0]
        mine.pop(key)
        assert key not in mine


def test_spt3gs_own_coadder_still_learns_the_files(survey):
    import gzip

    (file,) = survey(1, "flat sparse", "hits")
    packed = f"{file}.gz"
    Path(packed).write_bytes(gzip.compress(Path(file).read_bytes()))
    pipe = core.G3Pipeline()
    pipe.Add(MPIFileReader, mpicomm=None, files=[file, packed])
    pipe.Add(maps.CoaddMaps())
    named = []
    pipe.Add(lambda frame: named.extend(frame.get("InputFiles", [])))
    pipe.Run()
    assert named == [file, packed]


# Whom it is blamed on


def units_of(file, units):
    """A file with one map, whose units are these; and then, with a wrong checksum."""
    frame = map_frame("flat sparse", "no weights", 1)
    for key in "TQU":
        skymap = frame.pop(key)
        skymap.units = units
        frame[key] = skymap
    with core.G3Writer(str(file)) as writer:
        writer(frame)
    return Path(file)


@pytest.mark.parametrize("collate", [False, True])
@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize("reader", ["", "spt3g"])
def test_a_frame_with_a_wrong_checksum_is_not_blamed_on_its_neighbour(
    collate, broken, reader, tmp_path, monkeypatch
):
    """Whichever of them comes first: several wait to be added together."""
    monkeypatch.setenv("G3REDUCE_READ_WITH", reader)
    units = core.G3TimestreamUnits
    files = [str(units_of(tmp_path / f"{i}.g3", units.Tcmb)) for i in range(3)]
    other = str(units_of(tmp_path / "other.g3", units.Power))
    with FileBytes(files[broken]) as mine, FileBytes(other) as theirs:
        # The maps with the other units, and the checksum of those with the right ones.
        size = mine.size
        data = theirs.read(0, size - 4) + mine.read(size - 4, 4)
    Path(files[broken]).write_bytes(data)
    options = {"collate": collate, "ignore_missing_weights": True, "on_duplicate": "sum"}
    with pytest.raises(InputError) as caught:
        coadd_files(files, **options)
    assert not isinstance(caught.value, MismatchError)
    assert str(caught.value).startswith(f"{files[broken]}, frame 0")
    Path(files[broken]).write_bytes(Path(other).read_bytes())
    with pytest.raises(MismatchError, match="units"):
        coadd_files(files, **options)


# Files that change, and places that are gone


def test_a_file_that_is_cut_while_it_is_read_is_told(survey, limits):
    """In the head of a frame, too, of which the system then gives but a part."""
    limits(small_frame=0)  # a small one is read at once
    (file,) = survey(1, "flat sparse", "hits")
    source = FileBytes(file)
    frames = walk(source)
    end = next(frames).end
    os.truncate(file, end + 6)
    with pytest.raises(InputError, match=r"obs_000\.g3, byte \d+: the file was cut off while"):
        next(frames)


def test_a_deleted_working_folder_is_no_reason(survey):
    """Whole names are found from there; others are told."""
    (file,) = survey(1, "flat sparse", "hits")
    work = (
        "import os, sys, tempfile; from g3reduce import coadd_files, InputError\n"
        "folder = tempfile.mkdtemp(); os.chdir(folder); os.rmdir(folder)\n"
        "assert 'T' in coadd_files(sys.argv[1]).frame\n"
        "for name in ('x.g3', '*.g3'):\n"
        "    try: coadd_files(name)\n"
        "    except InputError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", work, file], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "x.g3: No such file or directory.",
        "The pattern '*.g3' matches nothing, seen from a folder that does not exist any more.",
    ]


def test_a_name_that_is_not_utf8_is_told_in_words_that_can_be_printed(tmp_path, survey):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/obs\xff.g3")
    (file,) = survey(1, "flat sparse", "hits")
    os.rename(file, name)
    for given in (name, str(tmp_path / "*.g3")):
        with pytest.raises(InputError, match="the name is not UTF-8") as caught:
            coadd_files(given)
        str(caught.value).encode()


def test_files_are_read_to_their_end_though_their_names_are_gone(survey):
    files = survey(2, "flat dense", "hits")
    expected = planes(maps.coadd_map_files(files))
    reader = MPIFileReader(None, [files])
    coadder = g3reduce.MPIMapCoadder(None)
    for frame in reader:
        if frame.unit.index == 0:
            os.unlink(frame.unit.file)
        coadder(frame)
    found = planes(coadder.finish().frame)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def values_of_all_kinds():
    """One of each class of strings, vectors and maps that spt3g has, with a few items and none."""
    contents = ([], "abc", [1, 2, 3], [1.0, 2.0], ["a", "b"], [True, False], [[1.0]], [["a"]])
    contents += tuple({"a": item, "b": item} for item in (1, 2.0, "x", True, [1], [1.0], ["x"]))
    for name in sorted(dir(core)):
        kind = getattr(core, name)
        if not (isinstance(kind, type) and name.startswith(("G3Vector", "G3Map", "G3String"))):
            continue
        for content in contents:
            try:
                yield blob_of(kind(content))
            except Exception:
                continue  # nothing for this class


def test_no_good_value_is_taken_for_broken():
    blobs = list(values_of_all_kinds())
    assert len({blob[13:40] for blob in blobs}) > 30
    for blob in blobs:
        assert problem_of(blob[:96], len(blob)) == ""


def test_counts_that_cannot_be_are_found_in_all_classes_that_begin_with_them():
    found = set()
    for blob in values_of_all_kinds():
        (length,) = struct.unpack_from("<Q", blob, 5)
        changed = bytearray(blob)
        if len(blob) >= 33 + length:
            struct.pack_into("<Q", changed, 25 + length, 2**33)
            if problem_of(bytes(changed[:96]), len(blob)):
                found.add(blob[13 : 13 + length])
        struct.pack_into("<Q", changed, 5, 2**33)
        assert "the name of its class" in problem_of(bytes(changed[:96]), len(blob))
    assert len(found) > 12
    assert found <= _COUNTED


@pytest.mark.parametrize("read", READ)
def test_a_key_that_is_not_utf8_is_told(read, survey):
    (file,) = survey(1, "flat sparse", "hits")
    data = Path(file).read_bytes()
    with open(file, "wb") as stream:
        for raw in walk(MemoryBytes(data)):
            entries = [(blob.name, blob.size, [raw.content(blob)]) for blob in raw.blobs]
            write_frame(stream, raw.type, [("\udcff", *entries[0][1:]), *entries])
    with pytest.raises(
        InputError, match=r"frame 0, byte 0: the key '\\udcff' is not UTF-8"
    ) as told:
        READ[read](file)
    str(told.value).encode()


@pytest.mark.parametrize("key", ["Id", "InputMapIds", "InputFiles"])
def test_names_that_are_none_are_told(key, tmp_path):
    frame = map_frame("flat sparse", "hits", 1)
    for name, value in (("InputMapIds", ["a"]), ("InputFiles", ["a.g3"])):
        frame[name] = core.G3VectorString(value)
    del frame[key]
    frame[key] = core.G3VectorDouble([1.0, 2.0])
    file = str(tmp_path / "odd.g3")
    with core.G3Writer(file) as writer:
        writer(frame)
    with pytest.raises(InputError, match=rf"odd\.g3, frame 0.*: the {key} is a G3VectorDou"):
        coadd_files(file)
    if key != "Id":
        with pytest.raises(InputError, match=f"the {key} is a G3VectorDouble"):
            coadd_files(file, assign=lambda frame: {"all": 1})
