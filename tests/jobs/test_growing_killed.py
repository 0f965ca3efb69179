"""A job that adds to a coadd, and is killed at any moment: the coadd is the old one, or the new."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import skies
from choices import among_all
from spt3g import core

from g3reduce import coadd_files, digest

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts processes")

EXACT = {"reproducible": True, "keep_exact": True, "collate": True, "output_map_id": ""}


def digests(file):
    return {frame["Id"]: digest(frame) for frame in core.G3File(str(file))}


@among_all
def test_a_killed_job_loses_nothing_and_counts_nothing_twice(tmp_path):
    files = skies.write_files(tmp_path, 8, "healpix dense", "hits")
    season, old, new = (str(tmp_path / name) for name in ("season.g3", "old.g3", "new.g3"))
    coadd_files(files[:4], old, **EXACT)
    coadd_files(files[1:], new, **EXACT)
    command = [sys.executable, "-m", "g3reduce", "coadd", "-o", season, "--collate", "-i", ""]
    command += ["--add", *files[4:], "--subtract", files[0]]
    chance = random.Random(3)
    for _ in range(12):
        shutil.copy(old, season)
        job = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.2, 1.2))
        job.send_signal(signal.SIGKILL)
        job.wait()
        before = digests(season)
        assert before in (digests(old), digests(new))
        again = subprocess.run(command, capture_output=True, text=True)
        assert again.returncode == (1 if before == digests(new) else 0), again.stderr
        assert digests(season) == digests(new)
