"""A process that is killed while it writes FITS or HDF5: each file is the old one, or the new."""

import os
import random
import signal
import time

import pytest
from choices import ALL
from skies import map_frame

from g3reduce import digest
from g3reduce.formats import map_frames_in, write_maps
from g3reduce.formats.firstlook import expand

KILLS = 12 if ALL else 2


def write_until_killed(output, versions, seconds):
    """Let another process write these frames in turn, and kill it after some time."""
    pid = os.fork()
    if not pid:
        try:
            while True:
                for frames in versions:
                    write_maps(output, frames)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def content_of(file):
    return [(frame["Id"], digest(frame)) for frame in map_frames_in(file)]


@pytest.mark.parametrize("kind", ["healpix ring", "flat sparse"])
@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".h5"])
def test_each_file_is_whole(tmp_path, kind, ending):
    versions = [
        [map_frame(kind, "polarized", 10 * number + one, f"{one}") for one in range(2)]
        for number in range(2)
    ]
    output = tmp_path / f"out{ending}"
    valid: dict[str, list[object]] = {}
    for frames in versions:
        for file in write_maps(output, frames):
            valid.setdefault(file, []).append(content_of(file))
    assert all(old != new for old, new in valid.values())
    chance = random.Random(5)
    for _ in range(KILLS):
        write_until_killed(output, versions, chance.uniform(0.01, 0.12))
        assert all(content_of(file) in contents for file, contents in valid.items())
    left = {*os.listdir(tmp_path)} - {os.path.basename(file) for file in valid}
    assert all(name.startswith(".g3reduce-") and name.endswith(".partial") for name in left)
    assert expand([str(tmp_path / f"*{ending}")]) == sorted(valid)  # what is left is no input
