"""Compressed files: every stream to its end, wherever it was cut; and nothing on a claim."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import HANGS_S
from skies import planes, write_files
from spt3g import core, maps

from g3reduce import InputError, MPIFileReader, coadd_files
from g3reduce.g3files.compressed import open_bytes
from g3reduce.g3files.frames import walk
from g3reduce.limits import LIMITS
from g3reduce.maps.mapfile import frames_of, planes_of

COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
each_kind = pytest.mark.parametrize("ending", COMPRESS)


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of two files of maps and other frames, one behind the other."""
    files = write_files(tmp_path_factory.mktemp("plain"), 2, "flat sparse", "hits")
    return b"".join(Path(file).read_bytes() for file in files)


@pytest.fixture(scope="module")
def expected(content, tmp_path_factory):
    """What spt3g makes of them."""
    file = tmp_path_factory.mktemp("whole") / "whole.g3"
    file.write_bytes(content)
    return planes(maps.coadd_map_files([str(file)]))


def content_of(file):
    """All content of a file, as it comes in steps of odd sizes."""
    source, whole = open_bytes(str(file)), b""
    steps = random.Random(1)
    while source.reaches(len(whole) + 1):
        end = len(whole) + steps.choice((1, 7, 4096, 70001))
        end = end if source.reaches(end) else source.size
        part = source.part(len(whole), end)
        whole += part.read(len(whole), end - len(whole))
    return whole


def assert_sum(file, expected):
    found = planes(coadd_files(str(file)).frame)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def cut(content, cuts):
    return [content[a:b] for a, b in itertools.pairwise([0, *cuts, len(content)])]


@each_kind
@pytest.mark.parametrize("how", ["one", "at frames", "anywhere", "in blocks", "empty ones"])
def test_all_streams_of_a_file_are_read_wherever_they_were_cut(
    ending, how, content, expected, tmp_path
):
    """As cat, pigz, bgzip, pbzip2 and pixz make them."""
    chosen = random.Random(2)
    cuts = {
        "one": [],
        "at frames": [len(content) // 3],
        "anywhere": sorted(chosen.sample(range(len(content)), 5)),
        "in blocks": list(range(65280, len(content), 65280)),
        "empty ones": [0, 0, 1, 1],
    }[how]
    if how == "at frames":
        plain = tmp_path / "plain.g3"
        plain.write_bytes(content)
        cuts = [raw.end for raw in walk(open_bytes(str(plain)))][:-1]
    file = tmp_path / f"night.g3{ending}"
    file.write_bytes(b"".join(map(COMPRESS[ending], cut(content, cuts))))
    assert DECOMPRESS[ending](file.read_bytes()) == content
    assert content_of(file) == content
    assert_sum(file, expected)
    read = [(str(frame), str(frame.unit)) for frame in MPIFileReader(None, [str(file)])]
    plain = tmp_path / "night.g3"
    plain.write_bytes(content)
    same = [str(frame) for frame in core.G3File(str(plain))]
    assert read == [(text, f"{file}, frame {index}") for index, text in enumerate(same)]


@each_kind
def test_zeros_behind_the_last_stream_are_passed_over(ending, content, expected, tmp_path):
    """Tapes and some copies fill up with them, and the programs themselves do not mind."""
    file = tmp_path / f"padded.g3{ending}"
    file.write_bytes(COMPRESS[ending](content) + bytes(512))
    assert_sum(file, expected)
    both = cut(content, [len(content) // 2])
    file.write_bytes(b"".join(COMPRESS[ending](part) + bytes(4) for part in both))
    assert_sum(file, expected)


@each_kind
@pytest.mark.parametrize(
    "behind", [b"something else", b"\0\0\0\0x", b"\x1f\x8b", b"BZh", b"\xfd7z"]
)
def test_anything_else_behind_the_last_stream_is_an_error(ending, behind, content, tmp_path):
    """It may be a stream whose first bytes have changed."""
    file = tmp_path / f"more.g3{ending}"
    file.write_bytes(COMPRESS[ending](content) + behind)
    with pytest.raises(InputError) as caught:
        coadd_files(str(file))
    assert str(caught.value).startswith(f"{file}, after ")
    assert f" frames, {len(content)} bytes of content: the " in str(caught.value)


def test_reserved_flags_of_gzip_are_refused_in_any_stream(content, tmp_path):
    """As zlib does: who sets them means something that is not known here."""
    parts = [COMPRESS[".gz"](content[:100]), COMPRESS[".gz"](content[100:])]
    for number, flag in itertools.product((0, 1), (0x20, 0x40, 0x80)):
        changed = [bytearray(part) for part in parts]
        changed[number][3] |= flag
        file = tmp_path / "flags.g3.gz"
        file.write_bytes(b"".join(changed))
        with pytest.raises(InputError, match=r"broken here .*reserved"):
            coadd_files(str(file))


@each_kind
@given(
    content=st.binary(max_size=300),
    repeats=st.integers(1, 40),
    sizes=st.tuples(st.integers(1, 90), st.integers(1, 700)),
    again=st.booleans(),
)
@settings(max_examples=60)
def test_the_steps_in_which_a_file_is_read_and_content_is_made_do_not_matter(
    ending, content, repeats, sizes, again
):
    """Content that ends with a step, or whose rest is still inside when all has been read."""
    whole = content * repeats
    packed = COMPRESS[ending](whole)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.multiple(LIMITS, compressed_read=sizes[0], compressed_made=sizes[1]),
    ):
        file = Path(folder) / f"file.g3{ending}"
        file.write_bytes(packed * (1 + again))
        source = open_bytes(str(file))
        assert source.read(0, 2**20) == whole * (1 + again)


@each_kind
@pytest.mark.parametrize("read", ["coadd", "reader"])
def test_a_stream_that_is_cut_off_is_an_error_wherever(ending, read, content, tmp_path):
    """Also where the content ends between two frames, and in the last bytes of the stream."""
    file = tmp_path / f"cut.g3{ending}"
    plain = tmp_path / "plain.g3"
    plain.write_bytes(content)
    ends = [raw.end for raw in walk(open_bytes(str(plain)))]
    reads = {
        "coadd": lambda name: coadd_files(name, on_duplicate="sum"),
        "reader": lambda name: list(MPIFileReader(None, [[name]])),
    }
    whole = COMPRESS[ending](content)
    at_frame = {
        ".gz": _gzip_without_an_end,
        ".bz2": lambda part: bz2.compress(part)[:-11],
        ".xz": lambda part: lzma.compress(part)[:-29],
    }[ending]
    broken = {f"the last {n} bytes": whole[:-n] for n in (1, 2, 4, 5, 8, 9, 20)}
    broken |= {f"behind frame {i}": at_frame(content[:end]) for i, end in enumerate(ends[:-1])}
    broken["in the middle"] = whole[: len(whole) // 2]
    broken["of a second one"] = whole + whole[: len(whole) // 2]
    for what, data in broken.items():
        file.write_bytes(data)
        with pytest.raises(InputError) as caught:
            reads[read](str(file))
        text = str(caught.value)
        assert text.startswith(f"{file}, "), what
        assert "cut off here" in text, what


def _gzip_without_an_end(content):
    stream = zlib.compressobj(wbits=31)
    return stream.compress(content) + stream.flush(zlib.Z_FULL_FLUSH)


@each_kind
def test_checksums_of_the_stream_are_compared(ending, content, tmp_path):
    """Also where that of each frame is right."""
    file = tmp_path / f"changed.g3{ending}"
    data = bytearray(COMPRESS[ending](content))
    # gzip: the last byte of the checksum; bzip2: a bit of it; xz: that of the index, at the end.
    place = {".gz": -5, ".bz2": -3, ".xz": -20}[ending]
    data[place] ^= 0x10
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"broken here|cut off here"):
        coadd_files(str(file))
    if ending == ".gz":
        data = bytearray(COMPRESS[ending](content))
        data[-1] ^= 0x10  # of the length
        file.write_bytes(data)
        with pytest.raises(InputError, match="broken here"):
            coadd_files(str(file))


def test_plain_content_under_a_compressed_name_is_told(content, tmp_path):
    for ending in COMPRESS:
        file = tmp_path / f"plain.g3{ending}"
        file.write_bytes(content)
        with pytest.raises(InputError, match="not compressed as its name says"):
            coadd_files(str(file))


CLAIMS = """
import resource, sys
from spt3g import core
import numpy, g3reduce
from g3reduce import coadd_files, InputError, MPIFileReader
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name in sys.argv[1:]:
    for read in (coadd_files, lambda name: list(MPIFileReader(None, [name]))):
        try:
            read(name)
        except InputError as error:
            assert str(error).startswith(name), error
            print("named")
"""


def _with_a_large_dictionary(data):
    """An .xz file whose header says, under a right checksum, that it needs 4 GiB."""
    changed, header = bytearray(data), 12
    end = header + 4 * data[header]  # of the header of the first block, before its checksum
    place = data.index(b"\x21\x01", header, end) + 2
    changed[place] = 40
    changed[end : end + 4] = struct.pack("<I", zlib.crc32(changed[header:end]))
    return bytes(changed)


def test_a_length_that_is_claimed_takes_no_memory(content, tmp_path):
    """Neither that of a name or a value of a frame, nor that of the dictionary of an .xz file."""
    files = []
    name_at = 13
    value_at = 13 + 8 + struct.unpack_from("<Q", content, name_at)[0]
    for number, (place, length) in enumerate(
        [(name_at, 4000), (value_at, 2**33), (value_at, 2**40), (value_at, 2**63 + 5)]
    ):
        changed = bytearray(content)
        struct.pack_into("<Q", changed, place, length)
        for ending, compress in {"": bytes, **COMPRESS}.items():
            file = tmp_path / f"claim{number}.g3{ending}"
            file.write_bytes(compress(bytes(changed)))
            files.append(str(file))
    file = tmp_path / "dictionary.g3.xz"
    file.write_bytes(_with_a_large_dictionary(lzma.compress(content)))
    files.append(str(file))
    done = subprocess.run(
        [sys.executable, "-c", CLAIMS, *files],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["named"] * 2 * len(files)


def test_of_a_large_file_one_frame_is_in_memory(tmp_path):
    """Whatever the number of frames, and however well they are compressed."""
    part = maps.FlatSkyMap(x_len=1024, y_len=1024, res=1.0, weighted=True)
    np.asarray(part)[:] = 1.0
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"], frame["T"] = "x", part
    data = frame.__getstate__()[1]
    file = tmp_path / "large.g3.gz"
    with gzip.open(file, "wb", 1) as stream:
        for _ in range(16):
            stream.write(data)
    work = (
        "import resource, sys; from g3reduce import coadd_files; before = "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; "
        "t = coadd_files(sys.argv[1], on_duplicate='sum').frame['T']; assert t[5] == 16; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", work, str(file)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64 * 1024  # of 128 MiB: a frame, growing, and the sum


@pytest.mark.parametrize("side", [100, 200])
@each_kind
def test_maps_that_are_in_memory_say_so_or_several_large_ones_would_be_held(tmp_path, ending, side):
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["T"] = maps.FlatSkyMap(np.ones((side, side)), 1.0)
    plain = str(tmp_path / "plain.g3")
    with core.G3Writer(plain) as writer:
        writer(frame)
    packed = tmp_path / f"packed.g3{ending}"
    packed.write_bytes(COMPRESS[ending](Path(plain).read_bytes()))
    for file, in_file in ((plain, True), (str(packed), False)):
        (read,) = frames_of(file)
        assert planes_of(read, "it")["T"].in_file == in_file
