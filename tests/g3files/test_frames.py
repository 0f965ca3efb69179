"""Frames as bytes, against what spt3g writes and reads."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skies import map_frame
from spt3g import core

from g3reduce import InputError
from g3reduce.g3files.checksum import Checksum
from g3reduce.g3files.frames import Blob, Unrecognised, walk, write_frame
from g3reduce.g3files.source import FileBytes, MemoryBytes

fewer = settings(max_examples=40)

TYPES = [kind for kind in core.G3FrameType.names.values() if kind != core.G3FrameType.EndProcessing]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.floats(width=64)


def vector(kind, items):
    return st.lists(items, max_size=300).map(kind)


def mapping(kind, items):
    def made(content):
        filled = kind()
        for key, value in content.items():
            filled[key] = value
        return filled

    return st.dictionaries(texts, items, max_size=5).map(made)


objects = st.one_of(
    texts,
    st.integers(-(2**63), 2**63 - 1),
    floats,
    st.booleans(),
    vector(core.G3VectorDouble, floats),
    vector(core.G3VectorInt, st.integers(-(2**31), 2**31 - 1)),
    vector(core.G3VectorString, texts),
    vector(core.G3VectorBool, st.booleans()),
    vector(core.G3Timestream, floats),
    mapping(core.G3MapDouble, floats),
    mapping(core.G3MapString, texts),
    mapping(core.G3MapVectorDouble, vector(core.G3VectorDouble, floats)),
    st.integers(0, 2**60).map(core.G3Time),
)


@st.composite
def frames(draw):
    frame = core.G3Frame(draw(st.sampled_from(TYPES)))
    for key, value in draw(st.dictionaries(texts, objects, max_size=6)).items():
        frame[key] = value
    return frame


def serialized(frame):
    return frame.__getstate__()[1]


def loaded(data):
    frame = core.G3Frame()
    frame._cereal_loads(data)
    return frame


def walked(data, *, index=0):
    return list(walk(MemoryBytes(data, "made.g3"), index=index))


def is_one_of_17_zeros(frame):
    return int(frame.type) == 0 and not len(frame.keys())


@fewer
@given(st.lists(frames(), max_size=5))
def test_frames_are_walked_as_spt3g_wrote_them(written):
    contents = [serialized(frame) for frame in written if not is_one_of_17_zeros(frame)]
    written = [frame for frame in written if not is_one_of_17_zeros(frame)]
    found = walked(b"".join(contents))
    assert [raw.index for raw in found] == list(range(len(written)))
    position = 0
    for raw, frame, content in zip(found, written, contents, strict=True):
        assert (raw.start, raw.end) == (position, position + len(content))
        assert raw.type == int(frame.type)
        assert raw.native
        assert raw.read() == content
        assert sorted(blob.name for blob in raw.blobs) == sorted(frame.keys())
        position = raw.end
        Checksum(raw).finish()


@fewer
@given(frames())
def test_the_content_of_an_entry_is_what_spt3g_makes_the_object_of(frame):
    assume(not is_one_of_17_zeros(frame))
    (raw,) = walked(serialized(frame))
    position = raw.start + 13
    for blob in raw.blobs:
        name = blob.name.encode()
        assert blob.offset == position + 8 + len(name) + 8
        assert blob.end == blob.offset + blob.size
        position = blob.end
        alone = io.BytesIO()
        write_frame(alone, raw.type, [(blob.name, blob.size, [raw.content(blob)])])
        again = core.G3Frame(frame.type)
        again[blob.name] = frame[blob.name]
        assert alone.getvalue() == serialized(again)
    assert position + 4 == raw.end


@fewer
@given(frames())
def test_a_frame_that_is_written_again_is_the_same(frame):
    assume(not is_one_of_17_zeros(frame))
    data = serialized(frame)
    (raw,) = walked(data)
    file = io.BytesIO()
    entries = [(blob.name, blob.size, in_pieces(raw.content(blob))) for blob in raw.blobs]
    write_frame(file, raw.type, entries)
    assert file.getvalue() == data


def in_pieces(content):
    """Bytes, arrays and views, empty ones too."""
    third = len(content) // 3
    return [
        content[:third],
        b"",
        np.frombuffer(content[third : 2 * third], np.uint8),
        memoryview(content[2 * third :]),
    ]


@fewer
@given(
    st.dictionaries(texts.filter(lambda text: "\0" not in text), st.binary(max_size=30), max_size=5)
)
def test_spt3g_reads_what_was_written(contents):
    """Also from a file; and a walk of the file finds the same as one in memory."""
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "made.g3")
        with open(name, "wb") as file:
            for _ in range(3):
                entries = [(key, len(value), [value]) for key, value in contents.items()]
                write_frame(file, int(core.G3FrameType.Scan), entries)
        read = list(core.G3File(name))
        assert [frame.type for frame in read] == 3 * [core.G3FrameType.Scan]
        assert all(sorted(frame.keys()) == sorted(contents) for frame in read)
        with FileBytes(name) as source:
            for raw in walk(source):
                assert {blob.name: raw.content(blob) for blob in raw.blobs} == contents
                Checksum(raw).finish()


@fewer
@given(st.integers(0, 3).map(lambda seed: map_frame("flat sparse", "polarized", seed)), st.data())
def test_parts_may_be_shown_to_the_checksum_in_any_way(frame, data):
    """Some twice, some late, some not at all, some over the border of an entry."""
    content = serialized(frame)
    (raw,) = walked(content)
    checksum = Checksum(raw)
    places = st.integers(0, len(content) - 1)
    for start in data.draw(st.lists(places, max_size=8), "starts"):
        size = data.draw(st.sampled_from([0, 1, 7, 100, 3000]), "size")
        part = np.frombuffer(content[start : start + size], np.uint8)
        checksum.show(start, part)
    checksum.finish()


@fewer
@given(st.data())
def test_a_wrong_byte_is_noticed_also_by_parts_that_are_shown(data):
    """The part that is shown counts, not what the file has there at another time."""
    content = serialized(map_frame("flat sparse", "hits", 0))
    (raw,) = walked(content)
    blob = data.draw(st.sampled_from([blob for blob in raw.blobs if blob.size]))
    part = bytearray(raw.content(blob))
    part[data.draw(st.integers(0, len(part) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    checksum = Checksum(raw)
    checksum.show(blob.offset, np.frombuffer(bytes(part), np.uint8))
    with pytest.raises(InputError, match=r"^made\.g3, frame 0, byte 0: this frame cannot be read"):
        checksum.finish()


@pytest.mark.parametrize("step", [1, 2, 3, 64])
def test_what_nobody_shows_is_read_in_steps(limits, step):
    content = serialized(map_frame("flat sparse", "hits", 0))
    limits(step=step, small_frame=0)  # a small one would be checked in one go
    (raw,) = walked(content)
    Checksum(raw).finish()
    file = io.BytesIO()
    write_frame(file, raw.type, [(blob.name, blob.size, [raw.content(blob)]) for blob in raw.blobs])
    assert file.getvalue() == content


def test_a_wrong_checksum_names_file_frame_and_byte_and_both_values():
    good = serialized(map_frame("flat sparse", "hits", 0))
    bad = bytearray(good + good)
    bad[-1] ^= 0x80
    first, second = walked(bytes(bad))
    Checksum(first).finish()
    text = rf"^made\.g3, frame 1, byte {len(good)}: .*the checksum 0x[0-9a-f]{{8}}, but 0x"
    with pytest.raises(InputError, match=text):
        Checksum(second).finish()


# Frames as others may have written them


def handmade(entries, order="<", version=1, kind=None, mark=None):
    """A frame in any byte order and version, with a right checksum, but for what is in it."""
    plain = io.BytesIO()
    write_frame(plain, 0, [(name, len(value), [value]) for name, value in entries])
    mark = (0 if order == ">" else 1) if mark is None else mark
    kind = int(core.G3FrameType.Scan) if kind is None else kind
    data = struct.pack(f"{order}BIiI", mark, version, len(entries), kind)
    for name, value in entries:
        for part in (name.encode(), value):
            data += struct.pack(f"{order}Q", len(part)) + part
    (crc,) = struct.unpack("<I", plain.getvalue()[-4:])
    return data + struct.pack(f"{order}I", crc)


ENTRIES = [("a", b"12345"), ("", b""), ("longer name", b"x" * 100)]


@pytest.mark.parametrize(("order", "version"), [(">", 1), (">", 0), ("<", 0)])
def test_frames_of_other_byte_orders_and_older_versions_are_walked_but_not_native(order, version):
    data = handmade(ENTRIES, order, version)
    assert sorted(loaded(data).keys()) == sorted(name for name, _ in ENTRIES)
    raw, following = walked(data + handmade(ENTRIES))
    assert [(blob.name, raw.content(blob)) for blob in raw.blobs] == ENTRIES
    assert raw.type == int(core.G3FrameType.Scan)
    assert (raw.start, raw.end) == (0, len(data))
    assert not raw.native
    assert following.native


def test_a_newer_version_is_left_to_spt3g():
    with pytest.raises(Unrecognised, match="version 2 of a frame"):
        walked(handmade(ENTRIES, version=2))


def test_two_entries_of_one_name_are_left_to_spt3g():
    (raw,) = walked(handmade([("a", b"1"), ("b", b"2"), ("a", b"3")]))
    assert [blob.name for blob in raw.blobs] == ["a", "b", "a"]
    assert not raw.native


def test_a_name_need_not_be_text():
    name = b"\xff\xfe"
    data = serialized(loaded(handmade([("ab", b"")])))
    data = data.replace(b"ab", name)
    (raw,) = walked(data)
    assert [blob.name.encode("utf-8", "surrogateescape") for blob in raw.blobs] == [name]
    assert isinstance(raw.blobs[0], Blob)


@pytest.mark.parametrize("mark", [2, 17, 255])
def test_another_mark_of_the_byte_order_is_refused(mark):
    with pytest.raises(InputError, match=rf"made\.g3, frame 0, byte 0: .*byte order is {mark}"):
        walked(handmade(ENTRIES, mark=mark))


def test_zeros_are_no_frame():
    """To spt3g they are one: a file may have been cut off, and filled up."""
    with pytest.raises(InputError, match=r"made\.g3, frame 4, byte 0: .*there are zeros"):
        walked(bytes(17), index=4)
    good = handmade(ENTRIES)
    with pytest.raises(InputError, match=rf"frame 1, byte {len(good)}: .*there are zeros"):
        walked(good + bytes(1000))


# Absurd sizes

HEAD = struct.Struct("<BIiI")
ABSURD = {
    "2**31 - 1 entries": HEAD.pack(1, 1, 2**31 - 1, 7),
    "-1 entries": HEAD.pack(1, 1, -1, 7),
    "-2**31 entries": HEAD.pack(1, 1, -(2**31), 7),
    "a name of 2**60 bytes": HEAD.pack(1, 1, 1, 7) + struct.pack("<Q", 2**60),
    "a name of 2**64 - 1 bytes": HEAD.pack(1, 1, 1, 7) + struct.pack("<Q", 2**64 - 1),
    "2**60 bytes": HEAD.pack(1, 1, 1, 7) + struct.pack("<QcQ", 1, b"a", 2**60),
    "2**63 bytes": HEAD.pack(1, 1, 1, 7) + struct.pack("<QcQ", 1, b"a", 2**63),
    "many entries of which there are two": HEAD.pack(1, 1, 2**30, 7)
    + 2 * struct.pack("<QcQ", 1, b"a", 0),
    "big-endian 2**31 - 1 entries": struct.pack(">BIiI", 0, 1, 2**31 - 1, 7),
}


@pytest.mark.parametrize("what", ABSURD)
@pytest.mark.parametrize("tail", [0, 100_000])
def test_absurd_sizes_are_refused_and_allocate_nothing(what, tail):
    data = ABSURD[what] + b"\xa5" * tail
    source = MemoryBytes(data, "made.g3")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"^made\.g3, frame 0, byte \d+: this frame cannot"):
            list(walk(source))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_count_that_a_file_of_zeros_goes_along_with_is_bounded_by_the_file():
    """Empty entries without names take 16 bytes each."""
    data = HEAD.pack(1, 1, 2**31 - 1, 7) + bytes(100_000)
    with pytest.raises(InputError, match=r"frame 0, byte \d+: this frame cannot be read"):
        walked(data)


@fewer
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_walked_or_refused(data, begun):
    if begun:
        data = struct.pack("<BI", 1, 1) + data
    try:
        found = walked(data)
    except (InputError, Unrecognised):
        return
    assert sum(raw.end - raw.start for raw in found) == len(data)


def test_every_cut_is_refused_with_file_frame_and_byte():
    first = handmade(ENTRIES)
    second = serialized(map_frame("flat sparse", "hits", 0))
    data = first + second
    for cut in range(1, len(data)):
        if cut == len(first):
            assert len(walked(data[:cut])) == 1
            continue
        with pytest.raises(InputError) as caught:
            walked(data[:cut])
        frame, begin = (0, 0) if cut < len(first) else (1, len(first))
        where, _, rest = str(caught.value).removeprefix("made.g3, ").partition(", byte ")
        assert where == f"frame {frame}"
        assert begin <= int(rest.split(":")[0]) <= cut


def test_a_file_that_shrinks_while_it_is_read_is_told(tmp_path, limits):
    limits(small_frame=0)  # a small one is read at once
    file = tmp_path / "made.g3"
    file.write_bytes(serialized(map_frame("flat sparse", "hits", 0)))
    with FileBytes(str(file)) as source:
        (raw,) = walk(source)
        os.truncate(file, raw.end - 100)
        with pytest.raises(InputError, match=r"made\.g3, byte \d+: the file was cut off while"):
            Checksum(raw).finish()


def test_a_file_that_loses_its_last_bytes_while_it_is_read_is_told(tmp_path, limits):
    limits(small_frame=0)
    file = tmp_path / "made.g3"
    file.write_bytes(serialized(map_frame("flat sparse", "hits", 0)))
    with FileBytes(str(file)) as source:
        (raw,) = walk(source)
        os.truncate(file, raw.end - 2)
        with pytest.raises(InputError, match=r"made\.g3"):
            Checksum(raw).finish()


def test_fewer_bytes_than_announced_are_not_written_as_if_all_were_well():
    with pytest.raises(ValueError, match="a: 3 bytes were given, but 4 announced"):
        write_frame(io.BytesIO(), 7, [("a", 4, [b"abc"])])
