"""What is added is what was checked, whoever writes to the file or to memory meanwhile."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from skies import assert_same_coadd, map_frame
from spt3g import core, maps

from g3reduce import InputError, MPIMapCoadder, UsageError, coadd_files
from g3reduce.buffers import buffer
from g3reduce.g3files import checksum
from g3reduce.g3files.readonce import ReadOnce
from g3reduce.g3files.source import FileBytes, MemoryBytes
from g3reduce.limits import LIMITS
from g3reduce.maps.mapfile import frames_of

KINDS = ("flat sparse", "flat dense", "healpix ring", "healpix indexed")
MAP = core.G3FrameType.Map


def write(name, *frames):
    with core.G3Writer(str(name)) as writer:
        for frame in frames:
            writer(frame)
    return str(name)


def change_silently(file, content):
    """Change the bytes of a file, as a page of memory or a network may do it: without a trace."""
    status = os.stat(file)
    with open(file, "r+b") as stream:
        stream.write(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def with_other_pixels(file):
    """The same file, but for some bits near the end, where there are pixels."""
    content = bytearray(Path(file).read_bytes())
    content[len(content) * 3 // 4] ^= 0x10
    return bytes(content)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_changes_after_it_was_checked(tmp_path, limits, kind, small):
    """To look at a map in it checks all of it; what is not small is added as it is read later."""
    file = write(tmp_path / "a.g3", map_frame(kind, "polarized", 0))
    expected = maps.coadd_map_files([file])
    if not small:
        limits(small_frame=0, kept_read=128)  # less than what lies between two maps

    def look(frame):
        assert len(frame["Wpol"].TT.nonzero_pixels()[0])
        change_silently(file, with_other_pixels(file))
        return {"Coadd": 1}

    if small:
        assert_same_coadd(coadd_files(file, assign=look)["Coadd"], expected)
        return
    with pytest.raises(InputError, match=r"frame 0, byte 0: .*checksum"):
        coadd_files(file, assign=look)


def test_a_file_that_is_looked_at_and_stays_the_same_is_added_once(survey):
    files = survey(3, "flat sparse", "polarized", map_ids=("90GHz",))
    coadds = coadd_files(files, assign=lambda frame: {"Coadd": len(frame["T"].shape) - 1})
    assert_same_coadd(coadds["Coadd"], maps.coadd_map_files(files))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_of_one_map_never_go_with_the_attributes_of_another(tmp_path, limits, kind):
    """Both files are right, and of one size; but what is read first is of the first one."""
    limits(small_frame=0)  # a small one would be in memory as a whole
    first, second = map_frame(kind, "hits", 0), map_frame(kind, "hits", 0)
    second["Other"] = second.pop("Id")
    second["Id"] = first["Id"].replace("150", "090")
    del second["Other"]
    for frame in (first, second):  # in one order, so that only the Id differs
        frame["Last"] = frame.pop("Id")
        frame["Id"] = frame.pop("Last")
    file, other = write(tmp_path / "a.g3", first), write(tmp_path / "b.g3", second)
    assert os.path.getsize(file) == os.path.getsize(other)
    coadder = MPIMapCoadder(collate=True)
    (frame,) = [frame for frame in frames_of(file) if frame.type == MAP]
    assert frame["Id"] == "150GHz"
    change_silently(file, Path(other).read_bytes())
    with pytest.raises(InputError, match="checksum"):
        coadder.add(frame)
    with pytest.raises(UsageError, match="cannot be used any more"):
        coadder.finish()


def test_a_coadd_with_a_part_of_a_broken_frame_cannot_go_on(tmp_path, limits):
    limits(small_frame=0)  # a small one is compared before it is added
    good = write(tmp_path / "good.g3", map_frame("flat dense", "polarized", 0))
    bad = write(tmp_path / "bad.g3", map_frame("flat dense", "polarized", 1))
    change_silently(bad, with_other_pixels(bad))
    coadder = MPIMapCoadder()
    for frame in frames_of(good):
        if frame.type == MAP:
            coadder.add(frame)
    with pytest.raises(InputError, match=r"bad\.g3.*checksum"):
        coadder.add(next(frames_of(bad)))
    for go_on in (lambda: coadder.add(map_frame("flat dense", "polarized", 2)), coadder.finish):
        with pytest.raises(UsageError, match="make a new coadder"):
            go_on()


@pytest.mark.parametrize("kind", KINDS)
def test_others_cannot_write_to_what_was_checked(survey, monkeypatch, limits, kind):
    """Another thread, and a process that is forked off, use all their scratch memory each time
    that something was checked."""
    limits(small_frame=0)
    files = survey(3, kind, "polarized", map_ids=("90GHz",))
    expected = maps.coadd_map_files(files)
    extend = checksum.google_crc32c.extend

    def spoil():
        for use in ("raw", "values", "checksum"):
            buffer(use, LIMITS.step)[:] = 0xFF

    class Disturbed:
        calls = 0

        @classmethod
        def extend(cls, state, part):
            state = extend(state, part)
            thread = threading.Thread(target=spoil)
            thread.start()
            thread.join()
            cls.calls += 1
            if cls.calls % 20 == 1:
                pid = os.fork()
                if not pid:
                    spoil()
                    os._exit(0)
                os.waitpid(pid, 0)
            return state

    monkeypatch.setattr(checksum, "google_crc32c", Disturbed)
    assert_same_coadd(coadd_files(files).frame, expected)
    assert Disturbed.calls


def test_bytes_are_read_once(tmp_path):
    file = tmp_path / "bytes"
    before, after = bytes(range(200)), bytes(reversed(range(200)))
    file.write_bytes(before)
    with FileBytes(str(file)) as source:
        once = ReadOnce(source)
        known = np.zeros(200, bool)
        for offset, size in ((10, 20), (5, 10), (50, 5), (25, 60), (150, 1)):
            assert once.read(offset, size) == before[offset : offset + size]
            known[offset : offset + size] = True
        change_silently(file, after)
        expected = np.where(known, np.frombuffer(before, "u1"), np.frombuffer(after, "u1"))
        into = bytearray(200)
        once.read_into(0, memoryview(into))
        assert into == expected.tobytes()
        for offset, size in ((0, 200), (20, 40), (149, 3), (90, 0), (190, 50)):
            assert once.read(offset, size) == expected.tobytes()[offset : offset + size]


def test_what_is_large_is_not_kept(limits):
    limits(kept_read=10)
    data = bytearray(100)
    once = ReadOnce(MemoryBytes(data))
    once.read(0, 50)
    once.read(60, 10)
    data[:] = b"x" * 100
    assert once.read(0, 100) == b"x" * 60 + bytes(10) + b"x" * 30


def test_a_frame_that_was_taken_but_never_added_is_not_listed_silently():
    """Such as after an interrupt at the wrong moment, in a notebook that goes on."""
    frames = [map_frame("flat dense", "polarized", seed) for seed in range(3)]
    coadder = MPIMapCoadder()
    first, second = (coadder.take(frame) for frame in frames[:2])
    coadder.add_taken([second])
    coadder.add(frames[2])
    with pytest.raises(UsageError, match=r"150GHz.*taken, but not added"):
        coadder.finish()
    assert first
