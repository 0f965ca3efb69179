"""Small files, and what may happen to one: the material of `fuzz`.

All of it follows from a seed and the number of a case, so that each case can be made again.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import scans
import skies
from spt3g import core

from g3reduce.g3files.frames import walk, write_frame
from g3reduce.g3files.source import MemoryBytes

COMPRESS = {
    "": bytes,
    ".gz": functools.partial(gzip.compress, compresslevel=1),
    ".bz2": bz2.compress,
    ".xz": functools.partial(lzma.compress, preset=0),
}

# Numbers that are lengths, counts and codes gone wrong.
_NUMBERS = (0, 1, 2, 3, 127, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**33, 2**40, 2**63 - 1, 2**64 - 1)


@functools.cache
def map_file(kind, weighting):
    """The bytes of a file with an Observation frame and two maps."""
    with tempfile.TemporaryDirectory() as folder:
        (name,) = skies.write_files(folder, 1, kind, weighting)
        return Path(name).read_bytes()


@functools.cache
def scan_file(kind):
    """The bytes of a file with metadata and three scans."""
    rng = np.random.default_rng(5)
    observation = core.G3Frame(core.G3FrameType.Observation)
    observation["SourceName"], observation["ObservationID"] = "field", 1000
    calibration = core.G3Frame(core.G3FrameType.Calibration)
    calibration["Numbers"] = core.G3VectorDouble([1.0, 2.0])
    frames = scans.an_observation(rng, (4, 3, 5), detectors=("a", "b"), **_SCANS[kind])
    with tempfile.TemporaryDirectory() as folder:
        name = os.path.join(folder, "scans.g3")
        with core.G3Writer(name) as writer:
            for frame in [observation, calibration, *frames]:
                writer(frame)
        return Path(name).read_bytes()


_SCANS = {
    "plain": {},
    "flags": {"flags": "bool", "detector_flags": "bool"},
    "numbers": {"dtype": np.int32, "flags": "int", "detector_flags": "timestreams"},
}
SCAN_KINDS = tuple(_SCANS)
HAVE_FLAGS = ("flags", "numbers")


def packed(content, ending, rng):
    """The content as a file of this ending; in several streams, now and then."""
    if not ending or rng.random() < 0.6:
        return COMPRESS[ending](content)
    cuts = sorted(rng.integers(0, len(content), 2).tolist())
    parts = content[: cuts[0]], content[cuts[0] : cuts[1]], content[cuts[1] :]
    return b"".join(map(COMPRESS[ending], parts))


def unpacked(data, ending):
    """The content of a file, as Python's own decompressors have it; None if they refuse it.

    Their functions for whole files pass over what is behind a stream, if it is no other one.
    """
    if ending not in _STREAMS:
        return data
    content, rest = b"", data
    try:
        while rest:
            stream = _STREAMS[ending]()
            content += stream.decompress(rest)
            if not stream.eof:
                return None
            rest = stream.unused_data.lstrip(b"\0")
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error):
        return None
    return content


_STREAMS = {
    ".gz": lambda: zlib.decompressobj(31),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
}


def nothing(data, rng):
    """As it is."""
    return data


def cut_off(data, rng):
    """A part of the file, from its beginning."""
    return data[: rng.integers(1, len(data))]


def flip(data, rng):
    """One bit is another."""
    changed = bytearray(data)
    changed[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(changed)


def flip_in_head(data, rng):
    """One bit is another, where frames say what is in them."""
    heads = []
    for raw in walk(MemoryBytes(data)):
        heads += [*range(raw.start, raw.start + 13), *range(raw.end - 4, raw.end)]
        for blob in raw.blobs:
            heads += range(blob.offset - 16 - len(blob.name), blob.offset)
    changed = bytearray(data)
    changed[rng.choice(heads)] ^= 1 << rng.integers(8)
    return bytes(changed)


def write_over(data, rng):
    """A few bytes are others."""
    place, size = rng.integers(len(data)), rng.integers(1, 64)
    return data[:place] + rng.bytes(size) + data[place + size :]


def put_number(data, rng):
    """Somewhere stands a number that is large, or odd."""
    form, size = (("<I", 4), ("<Q", 8))[rng.integers(2)]
    place = int(rng.integers(max(1, len(data) - size)))
    number = _NUMBERS[rng.integers(len(_NUMBERS))] & (2 ** (8 * size) - 1)
    return data[:place] + struct.pack(form, number) + data[place + size :]


def leave_out(data, rng):
    """Bytes are missing."""
    place = rng.integers(len(data))
    return data[:place] + data[place + rng.integers(1, 5000) :]


def insert(data, rng):
    """Bytes are there twice, or zeros are there."""
    place, size = rng.integers(len(data)), rng.integers(1, 200)
    more = bytes(size) if rng.random() < 0.5 else data[place : place + size]
    return data[:place] + more + data[place:]


def append(data, rng):
    """Something is behind the end."""
    return data + (bytes(rng.integers(1, 600)) if rng.random() < 0.5 else rng.bytes(30))


def _without_checksum(change):
    def changed(data, rng):
        return _with_blob(data, rng, change)

    changed.__name__ = f"{change.__name__} in a value"
    return changed


def _with_blob(data, rng, change):
    """The value of one key is changed, and the checksum of its frame is right."""
    frames = list(walk(MemoryBytes(data)))
    whole = bytearray()
    chosen = frames[rng.integers(len(frames))]
    number = rng.integers(len(chosen.blobs))
    for raw in frames:
        entries = []
        for i, blob in enumerate(raw.blobs):
            content = raw.content(blob)
            if raw is chosen and i == number:
                content = change(content, rng)
            entries.append((blob.name, len(content), [content]))
        part = _Part()
        write_frame(part, raw.type, entries)
        whole += part
    return bytes(whole)


def rename(data, rng):
    """A key has another name, and the checksum of its frame is right."""
    frames = list(walk(MemoryBytes(data)))
    chosen = frames[rng.integers(len(frames))]
    number = rng.integers(len(chosen.blobs))
    whole = _Part()
    for raw in frames:
        entries = []
        for i, blob in enumerate(raw.blobs):
            name = blob.name
            if raw is chosen and i == number:
                name = _NAMES[rng.integers(len(_NAMES))] or flip(name.encode(), rng)
                name = name if isinstance(name, str) else name.decode(errors="surrogateescape")
            content = raw.content(blob)
            entries.append((name, len(content), [content]))
        write_frame(whole, raw.type, entries)
    return bytes(whole)


_NAMES = ("", "", "T", "Id", "InputFiles", "SourceName", "\udcff", "\udcc3(", "ä", "\0", "x" * 5000)


class _Part(bytearray):
    def write(self, data):
        self.extend(data)


# What happens to the content before it is compressed, and what happens to the file.
OF_CONTENT = (
    nothing,
    flip,
    flip_in_head,
    write_over,
    put_number,
    cut_off,
    rename,
    *map(_without_checksum, (flip, write_over, put_number, cut_off, insert)),
)
OF_FILES = (nothing, nothing, flip, cut_off, write_over, leave_out, insert, append)


# What happens to a file while it is read.


def shorten(name, rng):
    """The file is cut off."""
    os.truncate(name, rng.integers(0, os.path.getsize(name)))


def overwrite(name, rng):
    """Bytes of the file are others."""
    with open(name, "r+b") as file:
        file.seek(rng.integers(os.path.getsize(name)))
        file.write(rng.bytes(40))


def grow(name, rng):
    """The file becomes longer."""
    with open(name, "ab") as file:
        file.write(rng.bytes(40))


def replace(name, rng):
    """Another file has the name now."""
    other = f"{name}.new"
    Path(other).write_bytes(rng.bytes(100))
    os.replace(other, name)


def delete(name, rng):
    """The file is gone."""
    os.unlink(name)


MEANWHILE = (shorten, overwrite, grow, replace, delete)
HARMLESS = (replace, delete)
