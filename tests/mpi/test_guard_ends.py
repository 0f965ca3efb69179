"""How jobs end whose ranks fail in a guard: uncaught errors, signals, stalls, endless user code.

Each test starts ranks of its own, because they do not survive it.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from choices import among_all, some_of
from patience import HANGS_S

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")


SCRIPT = """
import os, signal, sys, time
from mpi4py import MPI
from spt3g import core
import g3reduce
from g3reduce.mpi import waiting

comm = MPI.COMM_WORLD
what, ranks, folder, options = sys.argv[1], *map(eval, sys.argv[2:5])
files = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if "obs" in name]
open(os.path.join(folder, f"pid{comm.rank}"), "w").write(str(os.getpid()))
chosen = comm.rank in ranks

def module(frame):
    if frame.type == core.G3FrameType.Map and chosen:
        if what == "raise":
            raise ValueError("the user's own error")
        if what == "exit":
            sys.exit(5)
        if what in ("SIGINT", "SIGTERM"):
            time.sleep(0.2)
            os.kill(os.getpid(), getattr(signal, what))
            time.sleep(0.2)
        if what == "loop":
            while True:
                pass
        if what == "C loop":
            sum(range(10**12))
    if frame.type == core.G3FrameType.Map and what == "raise and loop" and comm.rank < 2:
        if comm.rank == 0:
            while not os.path.exists(os.path.join(folder, "asleep")):
                time.sleep(0.01)
            raise ValueError("the user's own error")
        open(os.path.join(folder, "asleep"), "w")
        time.sleep(100)
    if what == "slow":
        open(os.path.join(folder, f"ready{comm.rank}"), "w")
        time.sleep(0.2)

# How long imports take, and how far ranks are apart at the start, is no stall.
g3reduce.MPIMapCoadder, g3reduce.MPIFileReader
comm.Barrier()
with g3reduce.guard(comm, **options):
    coadder = g3reduce.MPIMapCoadder(comm)
    pipe = core.G3Pipeline()
    pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule="static")
    pipe.Add(module)
    pipe.Add(coadder)
    if what == "wait" and chosen:
        waiting.wait(lambda: False, "Godot")
    pipe.Run()
sys.stdout.write(f"rank {comm.rank} went on with {coadder.coadd_frame}\\n")
"""


@pytest.fixture
def job(tmp_path, survey):
    """Starts the script: ``job(what, ranks that do it, n_ranks)``."""
    survey(9, "flat sparse", "polarized")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = []

    def start(what, ranks, n_ranks=3, **options):
        command = [sys.executable, str(script), what, repr(ranks), repr(str(tmp_path))]
        process = subprocess.Popen(
            mpirun_command(n_ranks, [*command, repr(options)]),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=mpirun_environment(),
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def end_of(process):
    """What the job has printed; it must end by itself, and not well."""
    try:
        out, err = process.communicate(timeout=HANGS_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"the job hangs\n{out}\n{err[-5000:]}")
    assert process.returncode != 0, err
    assert "went on" not in out
    return err


@pytest.mark.parametrize("failing", some_of([0, 1], fewer=[1]))
def test_the_failed_rank_tells_its_traceback_and_the_job_ends(job, failing):
    err = end_of(job("raise", [failing]))
    assert f"g3reduce: rank {failing} of 3 failed and ends the job:" in err
    assert "ValueError: the user's own error" in err
    assert 'script.py", line' in err
    assert err.count("failed and ends the job") == 1
    assert f"obs_00{failing}.g3, frame 1" in err


@among_all
@pytest.mark.parametrize("leaving", [0, 1])
def test_sys_exit_on_one_rank_ends_the_job(job, leaving):
    err = end_of(job("exit", [leaving]))
    assert f"another rank failed (rank {leaving}: SystemExit: 5 (at " in err
    assert err.count("failed and ends the job") == 1


@pytest.mark.parametrize(
    ("number", "ranks"),
    some_of(
        ["SIGINT", "SIGTERM"],
        [[0], [1], [0, 1, 2]],
        fewer=[("SIGTERM", [0])],
    ),
)
def test_a_signal_is_an_error_and_no_part_is_taken_for_the_whole(job, number, ranks):
    err = end_of(job(number, ranks))
    assert told_of(err, number), err


def told_of(err, number):
    """Where G3Pipeline's own handler was still in place, it has halted the pipeline."""
    halted = number == "SIGINT" and "The pipeline was halted before all files were read" in err
    return halted or f"{number} came" in err


SIGNALS = some_of([signal.SIGINT, signal.SIGTERM], fewer=[signal.SIGINT])


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_one_rank_from_outside(job, tmp_path, number):
    process = job("slow", [])
    wait_for(tmp_path / "ready1")
    os.kill(int((tmp_path / "pid1").read_text()), number)
    err = end_of(process)
    assert told_of(err, number.name), err
    assert "rank 1" in err


@among_all
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_the_launcher(job, tmp_path, number):
    """Launchers pass it on, or end the ranks; in any case nothing goes on with a part."""
    process = job("slow", [])
    wait_for(tmp_path / "ready1")
    process.send_signal(number)
    end_of(process)


@among_all
def test_a_signal_to_one_process_alone(job, tmp_path):
    process = job("slow", [], n_ranks=1)
    wait_for(tmp_path / "ready0")
    os.kill(int((tmp_path / "pid0").read_text()), signal.SIGINT)
    err = end_of(process)
    assert told_of(err, "SIGINT"), err


def test_patience_ends_the_job(job):
    err = end_of(job("raise and loop", [], patience=1.0))
    assert "g3reduce: rank 1 did not come to its next frame within 1 s of an error" in err
    assert "in module\n    raise ValueError" in err, "the traceback is there, too"


@pytest.mark.parametrize(
    ("stuck", "loop"), some_of([0, 1], ["loop", "C loop"], fewer=[(1, "C loop")])
)
def test_a_stall_shows_where_the_ranks_are(job, stuck, loop):
    err = end_of(job(loop, [stuck], stall=1.5))
    for rank in {0, 1, 2} - {stuck}:
        assert f"g3reduce: rank {rank} was waiting for" in err
    assert "Timeout (0:00:0" in err
    assert "in module" in err


def test_a_stall_in_which_all_wait(job):
    err = end_of(job("wait", [0, 1, 2], stall=1.5))
    for rank in range(3):
        assert f"g3reduce: rank {rank} was waiting for Godot when nothing had moved " in err
    assert "StallError: Nothing has moved on any rank for 1.5 s" in err


@among_all
def test_a_stall_in_which_all_are_in_their_own_code(job):
    """With time to come there also where others work."""
    err = end_of(job("loop", [0, 1, 2], stall=5.0))
    assert "in module" in err


@among_all
def test_a_stall_of_one_process(job):
    err = end_of(job("loop", [0], n_ranks=1, stall=5.0))
    assert "in module" in err


@among_all
def test_slow_is_not_stalled(job):
    """Each frame takes a fifth of a second, all together more than the limit."""
    process = job("slow", [], stall=1.5)
    out, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0, err
    assert out.count("went on with") == 3


def wait_for(path):
    end = time.monotonic() + HANGS_S
    while not path.exists():
        assert time.monotonic() < end, f"there is no {path}"
        time.sleep(0.05)
