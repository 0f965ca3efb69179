"""A rank that is lost ends the whole job, at once and with its own traceback.

Each test starts ranks of its own, because they do not survive it.
"""

import os
import subprocess
import sys

import pytest
from choices import among_all, some_of
from patience import HANGS_S

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

SCRIPT = """
import sys, time
from mpi4py import MPI
from spt3g import core
import g3reduce

comm = MPI.COMM_WORLD
place, files = sys.argv[1], sys.argv[2:]

def fail_here(name):
    if place == name and comm.rank == 1:
        raise ValueError("the user's own error")

coadder = g3reduce.MPIMapCoadder(comm)
fail_here("after the constructor")
pipe = core.G3Pipeline()
pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule="static")

def module(frame):
    if frame.type == core.G3FrameType.Map:
        fail_here("in a module")
    if frame.type == core.G3FrameType.EndProcessing:
        fail_here("at the end")

pipe.Add(module)
pipe.Add(coadder)
pipe.Run()
fail_here("after the pipeline")
comm.Barrier()
sys.stdout.write(f"rank {comm.rank} is done\\n")
"""


def start(n_ranks, arguments, timeout=HANGS_S, **environment):
    """Run a job, which must not hang."""
    return subprocess.run(
        mpirun_command(n_ranks, [sys.executable, *arguments]),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=mpirun_environment() | environment,
    )


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


PLACES = ["after the constructor", "in a module", "at the end", "after the pipeline"]


@pytest.mark.parametrize("place", some_of(PLACES, fewer=["in a module"]))
def test_an_exception_that_nobody_catches_ends_the_job(script, survey, place):
    files = survey(3, "flat sparse", "polarized")
    done = start(3, [script, place, *files])
    assert done.returncode != 0
    assert "g3reduce: rank 1 of 3 failed and ends the job:" in done.stderr
    assert "Traceback (most recent call last)" in done.stderr
    assert "ValueError: the user's own error" in done.stderr
    assert done.stderr.count("ends the job:") == 1, "one rank tells what happened"
    assert "is done" not in done.stdout


def test_without_an_error_the_same_script_ends_well(script, survey):
    files = survey(3, "flat sparse", "polarized")
    done = start(3, [script, "nowhere", *files])
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} is done" for rank in range(3)]


@among_all
def test_a_broken_file_in_a_pipeline_ends_the_job_and_is_named(script, survey):
    files = survey(3, "flat sparse", "polarized")
    with open(files[2], "r+b") as stream:
        stream.truncate(os.path.getsize(files[2]) - 100)
    done = start(3, [script, "nowhere", *files])
    assert done.returncode != 0
    assert "obs_002.g3, frame 2, byte " in done.stderr
    assert "rank 2 of 3 failed" in done.stderr


def test_an_error_that_all_ranks_share_is_told_by_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from mpi4py import MPI\nimport g3reduce\n"
        "g3reduce.MPIFileReader(MPI.COMM_WORLD, [['none.g3']])\n"
    )
    done = start(3, [str(script)])
    assert done.returncode != 0
    assert "none.g3: No such file or directory" in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_processes_that_do_not_know_of_each_other_refuse_to_work(tmp_path, survey):
    """As when mpirun belongs to another MPI than the library: each would do the whole work."""
    files = survey(2, "flat sparse", "polarized")
    lonely = {
        name: value for name, value in os.environ.items() if not name.startswith(("PMI", "OMPI"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "g3reduce", "coadd", *files, "-o", str(tmp_path / "out.g3")],
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        env=lonely | {"PALS_RANKID": "0", "PALS_SIZE": "4"},
    )
    assert done.returncode == 2
    assert "The launcher started 4 processes (PALS_SIZE), but each is alone" in done.stderr
    assert not (tmp_path / "out.g3").exists()


HALTED = """
import os, signal, sys
import g3reduce
from spt3g import core
from g3reduce.mpi.communicators import resolve

comm = resolve(None)
seen = []

def interrupt(frame):
    if frame.type == core.G3FrameType.Map:
        seen.append(frame)
        if len(seen) == 2 and comm.rank == 0:
            os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does

coadder = g3reduce.MPIMapCoadder(comm)
pipe = core.G3Pipeline()
pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[sys.argv[1:]])
pipe.Add(interrupt)
pipe.Add(coadder)
pipe.Run()
print("it went on with", coadder.coadd_frame)
"""


def test_a_pipeline_that_was_halted_gives_no_partial_coadd(tmp_path, survey):
    files = survey(4, "flat sparse", "polarized")
    script = tmp_path / "halted.py"
    script.write_text(HALTED)
    done = subprocess.run(
        [sys.executable, str(script), *files], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.returncode != 0
    assert "InputError: The pipeline was halted before all files were read" in done.stderr
    assert "it went on" not in done.stdout


LEAVES = """
import sys
from mpi4py import MPI
import g3reduce
from spt3g import core

comm = MPI.COMM_WORLD
how, files = sys.argv[1], sys.argv[2:]
coadder = g3reduce.MPIMapCoadder(comm)

def leave(frame):
    if frame.type == core.G3FrameType.Map and comm.rank == 1 and coadder.unfinished:
        sys.stdout.write("the last word")
        if how == "with nobody to tell":
            sys.stderr.close()
        if how != "catch":
            sys.exit(3)
        raise g3reduce.InputError("caught on one rank only")

pipe = core.G3Pipeline()
pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule="static")
pipe.Add(leave)
pipe.Add(coadder)
try:
    pipe.Run()
except g3reduce.InputError:
    pass
"""


@pytest.mark.parametrize(
    "how", some_of(["sys.exit", "catch", "with nobody to tell"], fewer=["sys.exit"])
)
def test_a_rank_that_just_leaves_ends_the_job(tmp_path, survey, how):
    files = survey(4, "flat sparse", "polarized")
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES)
    done = start(2, [str(script), how, *files])
    assert done.returncode != 0
    assert done.stdout == "the last word"
    if how != "with nobody to tell":
        assert "rank 1 of 2 ends before its MPIMapCoadder has joined its sums" in done.stderr
