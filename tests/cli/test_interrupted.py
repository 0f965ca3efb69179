"""Ctrl-C ends a command with one line that says how far the work was, on any number of ranks."""

import contextlib
import importlib.util
import os
import pty
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scans
import skies
from choices import among_all, some_of
from patience import HANGS_S
from terminals import outcome

from g3reduce.mpi.launch import find_mpirun, is_open_mpi, mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

# The command itself, but that it says when it opens a file, and takes its time.
SCRIPT = """
import os, sys, time
from g3reduce import cli
from g3reduce.formats import reading
from g3reduce.jobs import mapopener
from g3reduce.mpi.agreement import world_rank
from g3reduce.pipeline.reader import WholeFiles

def slowly(original):
    def frames(self, file, piece):
        open(f"begun-{world_rank()}", "a").write(f"{os.getpid()}\\n")
        time.sleep(0.2)
        return original(self, file, piece)
    return frames

for opener in (WholeFiles, *WholeFiles.__subclasses__()):
    opener.frames = slowly(opener.frames)
sys.exit(cli.main())
"""
N_FILES = 60


@pytest.fixture
def work(tmp_path):
    """A folder with input for all commands, an earlier output, and the script."""
    for number, name in enumerate(skies.write_files(tmp_path, N_FILES, "flat sparse", "hits")):
        os.rename(name, tmp_path / f"map_{number:02}.g3")
    rng = np.random.default_rng(1)
    frames = scans.an_observation(rng, [3] * N_FILES, gaps=[0] * N_FILES, detectors="ab", obs=1)
    scans.write_files(tmp_path, frames, N_FILES, "scans")
    (tmp_path / "old.g3").write_text("an earlier result")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


ARGUMENTS = {
    "coadd": ["coadd", "map_*.g3", "-o", "old.g3"],
    "stitch": ["stitch", "scans_*.g3", "-o", "old.g3"],
    "digest": ["digest", *[f"map_{number:02}.g3" for number in range(N_FILES)]],
}
DONE = {"digest": "files were done; the work is not complete."}
BEGUN = "files were begun; nothing was written."


def command(name, ranks):
    words = [sys.executable, "script.py", *ARGUMENTS[name]]
    return mpirun_command(ranks, words) if ranks else words


def wait_for_ranks(folder, ranks):
    """Until each has opened its second file."""
    end = time.monotonic() + HANGS_S
    for rank in range(ranks or 1):
        path = folder / f"begun-{rank}"
        while not path.exists() or len(path.read_text().splitlines()) < 2:
            assert time.monotonic() < end, f"rank {rank} does not begin"
            time.sleep(0.02)


def check(folder, name, said, told=True):
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if "g3reduce" in line]
    if told:
        assert len(lines) == 1, said
        pattern = rf"g3reduce {name}: interrupted when (\d+) of {N_FILES} "
        done = re.search(pattern + re.escape(DONE.get(name, BEGUN)), lines[0])
        assert done, said
        assert 1 <= int(done[1]) < N_FILES
    assert (folder / "old.g3").read_text() == "an earlier result"
    assert not [file for file in os.listdir(folder) if file.startswith(".")]


@pytest.mark.parametrize("name", some_of(list(ARGUMENTS), fewer=["coadd"]))
def test_one_process(work, name):
    process = start(work, command(name, None))
    wait_for_ranks(work, None)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == 130
    check(work, name, said)


def start(folder, words):
    return subprocess.Popen(
        words,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=mpirun_environment(),
        start_new_session=True,
    )


def interrupted(work, interrupt):
    """What ranks say if their launcher is interrupted.

    That of Open MPI kills them a quarter of a second later, on a busy machine before they have said
    a word; not each time.
    """
    by_open_mpi = is_open_mpi(find_mpirun())
    for _ in range(3 if by_open_mpi else 1):
        for begun in work.glob("begun-*"):
            begun.unlink()
        ended, said = interrupt()
        assert ended == (1 if by_open_mpi else 130)
        if "interrupted" in said:
            break
    return said.replace(" on rank 0", "") if by_open_mpi else said


@pytest.mark.parametrize("name", some_of(["coadd", "stitch"], fewer=["stitch"]))
def test_ranks_at_a_terminal(work, name):
    """As somebody types it: the terminal tells the launcher, and that the ranks, or kills them."""

    def interrupt():
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(work)
            words = command(name, 3)
            os.execvpe(words[0], words, mpirun_environment())
        wait_for_ranks(work, 3)
        os.write(terminal, b"\x03")
        return outcome(pid, terminal)

    check(work, name, interrupted(work, interrupt))


@among_all
def test_a_launcher_without_a_terminal(work):
    """As a script ends it: Open MPI passes on nothing that ranks print then."""

    def interrupt():
        process = start(work, command("coadd", 3))
        wait_for_ranks(work, 3)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=HANGS_S)[1]
        return process.returncode, said

    check(work, "coadd", interrupted(work, interrupt))


@among_all
@pytest.mark.parametrize("rank", [0, 1])
def test_one_of_several_ranks(work, rank):
    process = start(work, command("coadd", 2))
    wait_for_ranks(work, 2)
    os.kill(int((work / f"begun-{rank}").read_text().splitlines()[0]), signal.SIGINT)
    said = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == 130, said
    assert f"were begun on rank {rank}; nothing was written." in said
    check(work, "coadd", said.replace(f" on rank {rank}", ""))


# As above, but that it says which files it opens only from a certain step of a splitting on.
SPLITTING = """
import os, sys, time
from g3reduce import cli
from g3reduce.jobs.mapopener import MapOpener
from g3reduce.jobs.parking import Parking
from g3reduce.jobs.splitting import Planner
from g3reduce.mpi.agreement import world_rank

reached = set()

def after(owner, name, step):
    original = getattr(owner, name)
    def call(*given, **options):
        if step == "planning":
            reached.add(step)
        found = original(*given, **options)
        reached.add(step)
        return found
    setattr(owner, name, call)

after(Planner, "_gather", "planning")
after(Planner, "plan", "adding")
after(Parking, "take", "the second pass")

original = MapOpener.frames

def frames(self, file, piece):
    if os.environ["STEP"] in reached:
        open(f"begun-{world_rank()}", "a").write(f"{os.getpid()}\\n")
        time.sleep(0.2)
    return original(self, file, piece)

MapOpener.frames = frames
sys.exit(cli.main())
"""


@among_all
@pytest.mark.parametrize("step", ["planning", "adding", "the second pass"])
@pytest.mark.parametrize("rank", [0, 2])
def test_one_of_several_ranks_of_a_splitting(work, monkeypatch, step, rank):
    monkeypatch.setenv("STEP", step)
    (work / "script.py").write_text(SPLITTING)
    words = ["--split", "all=all", "--bundles", "2", "--signflips", "9", "--passes", "2"]
    process = start(work, command("coadd", 3) + words)
    wait_for_ranks(work, 3)
    before = sorted(os.listdir(work))
    os.kill(int((work / f"begun-{rank}").read_text().splitlines()[0]), signal.SIGINT)
    said = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == 130, said
    lines = [line for line in said.splitlines() if "interrupted" in line]
    assert len(lines) == 1, said
    doing = "looked at, for the plan" if step == "planning" else "begun"
    pattern = (
        r"g3reduce coadd: interrupted when \d+ of 60 files were {} on rank {}; nothing was written."
    )
    assert re.fullmatch(pattern.format(doing, rank), lines[0]), said
    assert "Traceback" not in said
    assert (work / "old.g3").read_text() == "an earlier result"
    assert sorted(os.listdir(work)) == before


IMPORTING = """
import os, signal, sys
from g3reduce import cli

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("toast.") and "pshmem.registry" in sys.modules:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.exit(cli.main())
"""


@pytest.mark.skipif(not importlib.util.find_spec("toast"), reason="TOAST is not installed")
def test_while_toast_is_imported(work):
    """It installs handlers that end the process with 0."""
    process = start(work, [sys.executable, "-c", IMPORTING, "stitch", "scans_*.g3", "-o", "out/"])
    said = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == 130, said
    assert said == "g3reduce stitch: interrupted; nothing was written.\n"
    assert not (work / "out").exists()


# G3Pipeline would halt, and end as if all were well. In a process of its own: pytest and hypothesis
# have code in which an interrupt is lost.
SIMULATING = """
import os, signal, threading, time
from spt3g import core
from g3reduce.simulate.observe import piped

frames = [core.G3Frame(core.G3FrameType.Scan) for _ in range(50)]
for milliseconds in range(1, 7):
    press = threading.Timer(milliseconds / 1000, os.kill, (os.getpid(), signal.SIGINT))
    try:
        press.start()
        for _ in range(100):
            made = piped(frames, [(lambda _: time.sleep(0.0001), {})])
            print(sum(frame.type == core.G3FrameType.Scan for frame in made), end=" ")
        print("went on")
    except KeyboardInterrupt:
        print("interrupted")
    press.join()
"""


def test_a_simulation_loses_no_frame():
    done = subprocess.run(
        [sys.executable, "-c", SIMULATING], capture_output=True, text=True, timeout=HANGS_S
    )
    lines = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == 6 * ["interrupted"], done.stdout + done.stderr
    assert {count for line in lines for count in line.split()[:-1]} <= {"50"}


@among_all
def test_the_demo(tmp_path):
    process = start(tmp_path, [sys.executable, "-m", "g3reduce", "demo", "-d", "out"])
    end = time.monotonic() + HANGS_S
    while not list(tmp_path.glob("out/*/obs_0002.g3")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=HANGS_S)[1]
    assert process.returncode == 130, said
    assert re.search(r"^g3reduce demo: interrupted when \d of 8 observations were made;", said)
    assert "Traceback" not in said


@among_all
def test_a_rank_that_stands_still_ends_the_job_that_is_watched(work):
    words = [*command("coadd", 2), "--stall", "2"]
    with (work / "told").open("w") as told:
        job = subprocess.Popen(words, cwd=work, env=mpirun_environment(), stdout=told, stderr=told)
        wait_for_ranks(work, 2)
        stopped = int((work / "begun-1").read_text().split()[0])
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert job.wait(60) != 0
        finally:
            job.kill()
            with contextlib.suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGKILL)
    assert "rank 0 was waiting for" in (work / "told").read_text()
    assert (work / "old.g3").read_text() == "an earlier result"
