"""How jobs end in which TOAST's own collective work fails, or is told to stop.

Each test starts ranks of its own, because they do not survive it. TOAST takes seconds to import:
those that need all of it run with ``G3REDUCE_TEST_ALL=1`` in the environment only, and so do larger
numbers of ranks. The others have what matters here: MPI, and the handlers of its shared memory.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from patience import HANGS_S
from spt3g import core
from toastscans import observation, toast_or_skip

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

ALL = "G3REDUCE_TEST_ALL" in os.environ
RANKS = [2, 3] if ALL else [2]

HEAD = """
import os, sys, time
from mpi4py import MPI
import g3reduce
from g3reduce.limits import LIMITS
from g3reduce.mpi import foreign
from g3reduce.mpi.communicators import private
from g3reduce.toast3 import signals

comm = MPI.COMM_WORLD
files, folder = sys.argv[1:-1], sys.argv[-1]
open(os.path.join(folder, f"pid{comm.rank}"), "w").write(str(os.getpid()))

"""

# A file that cannot be written after all, while the others wait.
FULL = """
import h5py

def full(self, *arguments, **options):
    raise OSError(28, "No space left on device")

if comm.rank == 0:
    h5py.Group.create_dataset = full
try:
    g3reduce.stitch_to_toast(files, folder + "/new", mpicomm=comm, nets="NET")
finally:
    sys.stdout.write("went on")
"""

# All ranks fail in the same way, and none is waited for.
ALIKE = """
def fail():
    comm.Barrier()
    raise ValueError(f"no good {min(comm.rank, 1)}")

try:
    foreign.together(private(comm), "a test", fail)
except ValueError as error:
    sys.stdout.write(f"{error}, told by rank {comm.rank}\\n")
"""

# Rank 0 is busy, and the others wait for it in MPI.
SLOW = """
import h5py

def slow(self, *arguments, **options):
    open(os.path.join(folder, "writing"), "w")
    time.sleep(100)

if comm.rank == 0:
    h5py.Group.create_dataset = slow
g3reduce.stitch_to_toast(files, folder + "/new", mpicomm=comm, nets="NET")
"""

# The same as above, and quicker.
ONE_FAILS = """
def fail():
    if comm.rank == comm.size - 1:
        raise OSError(28, "No space left on device")
    comm.Barrier()

LIMITS.foreign_failed_s = 0.5
clear_up = lambda: os.mkdir(os.path.join(folder, "cleared_up"))
foreign.together(private(comm), "a test", fail, clear_up=clear_up)
sys.stdout.write("went on")
"""

WAITS = """
import pshmem

LIMITS.script_reacts_s = LIMITS.guards_react_s = 0.5

def wait():
    if comm.rank == 0:
        comm.recv(source=0)
    comm.Barrier()

with g3reduce.guard(comm) if guarded else open(os.devnull):
    signals.take_over()
    open(os.path.join(folder, f"ready{comm.rank}"), "w")
    foreign.together(private(comm), "a test", wait)
"""

# Signals that are heard: by a guard, which is left soon after, and by the script's own handler.
HEARD = """
import os, signal, sys, time
import g3reduce, pshmem
from g3reduce.limits import LIMITS
from g3reduce.mpi import waiting
from g3reduce.toast3 import signals

LIMITS.script_reacts_s = LIMITS.guards_react_s = 0.2
if "late" in sys.argv:  # the thread that watches comes when the guard is closed already
    is_handled = signals._is_handled
    signals._is_handled = lambda *arguments: time.sleep(0.3) or is_handled(*arguments)
signals.take_over()
signal.signal(signal.SIGUSR1, lambda number, frame: sys.stdout.write("the script's own; "))
try:
    with g3reduce.guard():
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(0)
        if sys.argv[1] == "SIGUSR1":
            time.sleep(0.6)
        waiting.check()
except g3reduce.InterruptedByUser:
    sys.stdout.write("an error; ")
time.sleep(0.6)
sys.stdout.write("went on")
"""


@pytest.fixture
def job(tmp_path):
    """Starts a script of this head on the scans of an observation."""
    names = [str(tmp_path / f"{part}.g3") for part in range(2)]
    for part, name in enumerate(names):
        frames = observation(1, ["a", "b", "c"])
        with core.G3Writer(name) as writer:
            for frame in [*frames[:2], *frames[2 + part :: 2]]:
                writer(frame)
    started = []

    def start(n_ranks, text):
        script = tmp_path / "script.py"
        script.write_text(HEAD + text)
        process = subprocess.Popen(
            mpirun_command(n_ranks, [sys.executable, str(script), *names, str(tmp_path)]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=mpirun_environment() | {"TOAST_LOGLEVEL": "WARNING"},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def end_of(process):
    try:
        return process.communicate(timeout=HANGS_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"the job hangs\n{out}\n{err[-5000:]}")


def wait_for(path):
    end = time.monotonic() + HANGS_S
    while not path.exists():
        assert time.monotonic() < end, f"there is no {path}"
        time.sleep(0.05)


@pytest.mark.parametrize("n_ranks", RANKS)
def test_a_rank_that_fails_where_others_wait_ends_the_job(job, n_ranks, tmp_path):
    process = job(n_ranks, ONE_FAILS)
    out, err = end_of(process)
    assert process.returncode != 0
    assert out == ""
    assert (tmp_path / "cleared_up").exists()
    assert f"g3reduce: rank {n_ranks - 1} of {n_ranks} failed in a test, in which others" in err
    assert "No space left on device" in err


@pytest.mark.skipif(not ALL, reason="imports TOAST on all ranks")
@pytest.mark.parametrize("n_ranks", RANKS)
def test_a_file_that_rank_0_cannot_write_leaves_nothing(job, tmp_path, n_ranks):
    toast_or_skip()
    process = job(n_ranks, FULL)
    out, err = end_of(process)
    assert process.returncode != 0
    assert "went on" not in out
    assert f"g3reduce: rank 0 of {n_ranks} failed in TOAST's writing of files in " in err
    assert "No space left on device" in err
    assert not [name for name in os.listdir(tmp_path) if "partial" in name or "new" in name]


@pytest.mark.skipif(not ALL, reason="imports TOAST on all ranks")
@pytest.mark.parametrize("n_ranks", RANKS)
@pytest.mark.parametrize("whom", ["the launcher", "a rank that waits", "a rank that writes"])
def test_sigterm_while_toast_writes_leaves_nothing(job, tmp_path, n_ranks, whom):
    toast_or_skip()
    process = job(n_ranks, SLOW)
    wait_for(tmp_path / "writing")
    rank = {"the launcher": None, "a rank that waits": 1, "a rank that writes": 0}[whom]
    number = process.pid if rank is None else int((tmp_path / f"pid{rank}").read_text())
    os.kill(number, signal.SIGTERM)
    end_of(process)
    assert process.returncode != 0
    assert not (tmp_path / "new").exists()
    if whom == "a rank that writes":
        assert not [name for name in os.listdir(tmp_path) if "partial" in name]


@pytest.mark.parametrize("n_ranks", RANKS)
def test_what_fails_on_all_ranks_is_raised_on_all(job, n_ranks):
    process = job(n_ranks, ALIKE)
    out, err = end_of(process)
    assert process.returncode == 0, err
    told = [f"no good {min(rank, 1)}, told by rank {rank}" for rank in range(n_ranks)]
    assert sorted(out.splitlines()) == told


@pytest.mark.parametrize("guarded", [False, True] if ALL else [True])
@pytest.mark.parametrize("n_ranks", RANKS)
def test_sigterm_ends_a_rank_that_waits_in_others_work(job, tmp_path, n_ranks, guarded):
    pytest.importorskip("pshmem")
    process = job(n_ranks, f"guarded = {guarded}\n" + WAITS)
    pids = []
    for rank in range(n_ranks):
        wait_for(tmp_path / f"ready{rank}")
        pids.append(int((tmp_path / f"pid{rank}").read_text()))
    time.sleep(0.5)
    os.kill(pids[0], signal.SIGTERM)
    _, err = end_of(process)
    assert process.returncode != 0
    assert "rank 0 waits in TOAST or MPI and does not react to SIGTERM" in err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *[("SIGTERM", "an error; went on"), ("SIGTERM late", "an error; went on")],
        ("SIGUSR1", "the script's own; went on"),
    ],
)
def test_a_process_that_hears_a_signal_is_left_alone(name, said):
    pytest.importorskip("pshmem")
    command = [sys.executable, "-c", HEARD, *name.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S)
    assert (done.returncode, done.stdout) == (0, said), done.stderr
