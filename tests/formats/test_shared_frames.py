"""Frames that several ranks write: what the checksum covers, and places beyond 2 and 4 GiB."""

import os

import google_crc32c
import numpy as np
import pytest
from choices import among_all
from spt3g import core, maps

from g3reduce.formats import shardedframes
from g3reduce.formats.shardedframes import ShardedFrames
from g3reduce.g3files.checksum import Checksum
from g3reduce.g3files.frames import CRC, CRC_START, walk
from g3reduce.g3files.source import FileBytes
from g3reduce.maps.shares import DenseShare
from g3reduce.mpi.communicators import OneProcess


def written(folder, nside, rows, monkeypatch):
    """A file of one dense map, of which only these rows of 4 pixels are no zeros."""
    stub = maps.HealpixSkyMap(
        nside, weighted=False, units=core.G3TimestreamUnits.Tcmb, pol_type=maps.MapPolType.T
    )
    outline = core.G3Frame(core.G3FrameType.Map)
    outline["Id"] = "x"
    outline["T"] = stub
    outline["Telescope"] = "beside the map"
    values = 1.0 + np.arange(4.0 * len(rows)).reshape(-1, 4)
    share = DenseShare(stub, np.array(rows), values)
    monkeypatch.setattr(shardedframes, "shares_of", lambda comm, total: {"T": share})
    content = ShardedFrames(OneProcess(), 0, [(lambda: outline, None)])
    file = folder / "large.g3"
    with open(file, "wb") as output:
        output.truncate(content.size)
        content.finish(output.fileno(), [content.put(output.fileno())])
    assert os.stat(file).st_size == content.size
    return str(file)


def raw_frame_of(file):
    """The frame of a file, as our own reader finds it."""
    (raw,) = walk(FileBytes(file))
    return raw


@pytest.mark.parametrize("counted", [0, 0xFF, 0xFFF])
def test_as_much_of_an_entry_is_covered_as_spt3g_counts(tmp_path, monkeypatch, counted):
    monkeypatch.setattr(shardedframes, "_COUNTED", counted)
    raw = raw_frame_of(written(tmp_path, 8, [1, 2, 9, 11, 190], monkeypatch))
    state = CRC_START
    for blob in raw.blobs:
        content = raw.content(blob)
        assert len(content) == blob.size
        state = google_crc32c.extend(state, blob.name.encode())
        state = google_crc32c.extend(state, content[: blob.size & counted])
    stored = raw.source.read(raw.end - CRC.size, CRC.size)
    assert CRC.unpack(bytes(stored)) == (state ^ 0xFFFFFFFF,)


def test_a_small_one_is_read_by_spt3g(tmp_path, monkeypatch):
    (frame,) = core.G3File(written(tmp_path, 8, [0, 1, 190], monkeypatch))
    assert frame["Telescope"] == "beside the map"
    found = np.asarray(frame["T"])
    assert found[np.flatnonzero(found)].tolist() == np.arange(1.0, 13.0).tolist()
    assert np.flatnonzero(found)[[0, 7, 8, 11]].tolist() == [0, 7, 760, 763]


@among_all
def test_places_beyond_4_gib(tmp_path, monkeypatch):
    n_rows = 12 * 8192**2 // 4
    rows = [0, 2**31 // 32 - 1, 2**31 // 32, 2**32 // 32 - 1, 2**32 // 32, n_rows - 1]
    file = written(tmp_path, 8192, rows, monkeypatch)
    assert os.stat(file).st_size > 6 * 2**30
    assert os.stat(file).st_blocks * 512 < 2**20  # the rest are holes
    raw = raw_frame_of(file)
    blobs = {blob.name: blob for blob in raw.blobs}
    assert sorted(blobs) == ["Id", "T", "Telescope"]
    assert b"beside the map" in raw.content(blobs["Telescope"])
    blob = blobs["T"]
    assert raw.blobs[-1].offset > 2**32  # an entry beside the map
    assert blob.size > 2**32
    pixels = blob.end - 32 * n_rows  # they are the last of a map
    for number, row in enumerate(rows):
        values = np.frombuffer(raw.source.read(pixels + 32 * row, 32))
        assert values.tolist() == [4 * number + one for one in (1.0, 2.0, 3.0, 4.0)]
    Checksum(raw).finish()
