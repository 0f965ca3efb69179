"""Jobs that are killed at random moments leave the old output or the whole new one.

And nothing else but what the page on failures says: of SIGKILL, or of a launcher that kills, a
hidden file. How many jobs are killed says G3REDUCE_TEST_KILLS; from 4 on also some with ranks.
"""

import contextlib
import functools
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from choices import ALL
from patience import HANGS_S
from spt3g import core, maps

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

KILLS = int(os.environ.get("G3REDUCE_TEST_KILLS", 40 if ALL else 3))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
GROUP = "all, as Ctrl-C in a terminal"
OLD = b"something old"
# As in docs/failures.md.
LEFT = re.compile(r"\.g3reduce-[0-9a-f]{16}-out\.g3\.gz\.partial")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Files of which the writing takes about as long as the rest."""
    folder = tmp_path_factory.mktemp("kills") / "inputs"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(3):
        frame = core.G3Frame(core.G3FrameType.Map)
        frame["Id"] = "150GHz"
        values = rng.integers(-(2**40), 2**40, 12 * 128**2).astype(float)
        frame["T"] = maps.HealpixSkyMap(values, pol_type=maps.MapPolType.T)
        with core.G3Writer(str(folder / f"obs_{number}.g3")) as writer:
            writer(frame)
    return tuple(sorted(map(str, folder.iterdir())))


class Job:
    """A coadd that may be killed."""

    def __init__(self, inputs, folder, ranks):
        self.output = folder / "out.g3.gz"
        self.folder = folder
        flags = ["--no-check-weighted", "--ignore-missing-weights", "-o", str(self.output)]
        command = [sys.executable, "-m", "g3reduce", "coadd", *inputs, *flags]
        self.process = subprocess.Popen(
            mpirun_command(ranks, command) if ranks else command,
            env=mpirun_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def ranks(self):
        """The processes that coadd."""
        command = f"{sys.executable}\0-m\0g3reduce\0".encode()
        return [pid for pid in descendants(self.process.pid) if command_of(pid).startswith(command)]

    def wait(self, ranks=()):
        """Wait until all of it has ended."""
        self.said = self.process.communicate(timeout=HANGS_S)[1]
        end = time.monotonic() + HANGS_S
        while any(command_of(pid) for pid in ranks):
            assert time.monotonic() < end, "ranks outlive their launcher"
            time.sleep(0.01)
        return self.process.returncode

    def wait_until_it_writes(self):
        while self.process.poll() is None and not writes(self.folder):
            time.sleep(0.0005)


def descendants(pid):
    found = [pid]
    for one in found:
        for listed in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found.extend(map(int, listed.read_text().split()))
            except OSError:  # it has ended meanwhile
                continue
    return found


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def writes(folder):
    """Whether there is content, not only a try whether there could be."""
    try:
        return any((folder / name).stat().st_size for name in hidden(folder))
    except FileNotFoundError:
        return False


def hidden(folder):
    return [name for name in os.listdir(folder) if name.startswith(".")]


@functools.lru_cache
def example(ranks, inputs):
    """How long a job takes, and writes, and what it makes if it is left alone."""
    folder = Path(inputs[0]).parent.parent / f"example{ranks}"
    folder.mkdir()
    begin = time.monotonic()
    job = Job(inputs, folder, ranks)
    job.wait_until_it_writes()
    wrote = time.monotonic()
    assert job.wait() == 0, job.said
    seconds = time.monotonic() - begin, time.monotonic() - wrote
    (frame,) = core.G3File(str(job.output))
    np.testing.assert_array_equal(
        np.asarray(frame["T"]), sum(np.asarray(one["T"]) for one in core.G3File(list(inputs)))
    )
    assert os.listdir(folder) == ["out.g3.gz"]
    return seconds, job.output.read_bytes()


@pytest.mark.parametrize(
    ("ranks", "seed"),
    [(ranks, seed) for ranks in ((None, 3) if KILLS > 3 else (None,)) for seed in range(KILLS)],
)
def test_a_killed_job_leaves_the_old_output_or_the_new_one(inputs, tmp_path, ranks, seed):
    (seconds, seconds_of_writing), new = example(ranks, inputs)
    choice = random.Random(seed)
    (tmp_path / "out.g3.gz").write_bytes(OLD)
    number = SIGNALS[seed % 3]
    job = Job(inputs, tmp_path, ranks)
    if seed % 4 < 3:  # in the short time that matters most
        job.wait_until_it_writes()
        time.sleep(choice.uniform(0, seconds_of_writing))
    else:
        time.sleep(choice.uniform(0, seconds))
    processes = job.ranks()
    victim = choice.choice([job.process.pid, GROUP, *processes])
    with contextlib.suppress(ProcessLookupError):  # it was faster
        if victim == GROUP:
            os.killpg(job.process.pid, number)
        else:
            os.kill(victim, number)
    code = job.wait(processes)

    content = job.output.read_bytes()
    assert content in (OLD, new)
    if code == 0:
        assert content == new, job.said
    launcher_was_ended = ranks is not None and victim not in processes
    if code == 1 and not launcher_was_ended:  # Open MPI's has a code of its own, then
        assert content == OLD, job.said
    left = hidden(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [*left, "out.g3.gz"]
    assert len(left) <= 1
    assert all(map(LEFT.fullmatch, left))
    if ranks is None and number != signal.SIGKILL:
        assert not left
        assert number != signal.SIGINT or code == 0 or content == OLD
