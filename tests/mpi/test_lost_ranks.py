"""Ranks that do not do what the others do: the job ends within seconds, and says why.

Each test starts ranks of its own, because they do not survive it. With ``G3REDUCE_TEST_ALL=1`` in
the environment all cases are tried.
"""

import os
import subprocess
import sys

import pytest
from patience import HANGS_S

import g3reduce
from g3reduce import UsageError
from g3reduce.mpi.agreement import agree, describe_error, same_everywhere
from g3reduce.mpi.communicators import OneProcess
from g3reduce.mpi.launch import is_open_mpi, mpirun_command, mpirun_environment

ALL = "G3REDUCE_TEST_ALL" in os.environ
starts_ranks = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

SCRIPT = """
import contextlib, os, signal, sys, time
import numpy as np
from mpi4py import MPI
from spt3g import core
import g3reduce
from g3reduce.limits import LIMITS
from g3reduce.mpi import transfer
from g3reduce.mpi.agreement import agree
from g3reduce.mpi.communicators import private
from g3reduce.mpi.deciding import decide_at
from g3reduce.reductions.wholes import join_whole
from g3reduce.strategies.traffic import Traffic

comm = MPI.COMM_WORLD
case, files = sys.argv[1], sys.argv[2:]
chosen = comm.rank == comm.size - 1

class Mute(Exception):
    def __str__(self):
        raise KeyError("no text")

if case == "late":
    LIMITS.first_meeting_message_s = 0.3
    time.sleep(1.5 if chosen else 0)
if chosen and case == "an error before the first module":
    raise ValueError("the user's own error")
if chosen and case == "another module":
    g3reduce.MPIMapCoadder(comm)
if case.startswith("interrupted"):
    ours = private(comm)
    if chosen:
        if "in a transfer" in case:
            LIMITS.meeting_end_s = 0.5
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            agree(ours)
        except KeyboardInterrupt:
            comm.send("I am off", dest=0)
            sys.exit(0)
    comm.recv(source=comm.size - 1)
    agree(ours)
    if "in a transfer" in case:
        ours.bcast(0, root=comm.size - 1)
if case == "a decision, interrupted":
    LIMITS.meeting_end_s = 0.5

    def decide(reports):
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        decide_at(private(comm), comm.size - 1, 0, decide, what="the decision")
    sys.exit(0)
if case == "a state, interrupted":
    LIMITS.meeting_end_s = 0.5

    class Unready:
        def __reduce__(self):
            raise KeyboardInterrupt

    state, ours = Unready() if chosen else 0, private(comm)
    with contextlib.suppress(KeyboardInterrupt):
        join_whole(ours, state, max, "tree", commutes=True, result="root", root=0)
    sys.exit(0)
if case == "a transfer, interrupted":
    LIMITS.meeting_end_s = 0.5
    array, ours = np.zeros(3), private(comm)

    def interrupted(array):
        raise KeyboardInterrupt

    if chosen:
        transfer.pieces = interrupted
    with contextlib.suppress(KeyboardInterrupt):
        transfer.send(ours, array, 0) if chosen else transfer.receive(ours, array, comm.size - 1)
    sys.exit(0)
if case == "a reduction, without memory":
    def fail(*args):
        raise MemoryError("no memory for it")

    if comm.rank == 0:
        Traffic.receive = fail
    os.environ["G3REDUCE_DIRECT_MEMORY"] = "0"
    g3reduce.coadd_files(files, mpicomm=comm, collate=True, strategy="tree")
pipe = core.G3Pipeline()
pipe.Add(g3reduce.MPIFileReader, mpicomm=comm, files=[files], schedule="static")
if chosen and case == "sys.exit after the reader":
    sys.exit(0)

def module(frame):
    if chosen and frame.type == core.G3FrameType.Map and "mute" in case:
        raise Mute
    if chosen and frame.type == core.G3FrameType.Map and "progress" in case:
        sys.exit(0)

pipe.Add(module)
if "progress" in case:
    pipe.Add(g3reduce.ProgressModule, mpicomm=comm, files=[files], progress=str)
elif not (chosen and case == "no coadder"):
    pipe.Add(g3reduce.MPIMapCoadder(comm))
if case == "mute in a guard":
    with g3reduce.guard(comm):
        pipe.Run()
else:
    pipe.Run()
if case == "all finalize" or chosen and case == "one finalizes":
    MPI.Finalize()
if chosen and case == "os._exit":
    os._exit(3)
if not chosen:
    sys.stdout.write("done\\n")
"""

TOLD = {
    "an error before the first module": ["rank 1 of 2 failed", "ValueError: the user's own error"],
    "another module": ["Rank 0 is at ", "but rank 1 is at ", "make the same modules"],
    "sys.exit after the reader": ["Rank 1 has come to its end, while rank 0 waits for it at "],
    "sys.exit beside progress": [
        "Rank 1 has come to its end, while rank 0 waits for it at the end of"
    ],
    "no coadder": ["Rank 1 has come to its end, while rank 0 waits for it at "],
    "interrupted": ["Rank 1 has come to its end, while rank 0 waits for it at "],
    "interrupted, in a transfer": ["Rank 1 did not wait for the others at an agreement. It has"],
    "a decision, interrupted": ["Rank 1 did not wait for the others at a comparison. It has"],
    "a state, interrupted": ["Rank 1 did not wait for the others at the reduction. It has"],
    "a transfer, interrupted": ["Rank 1 did not wait for the others at a transfer. It has"],
    "a reduction, without memory": [
        "rank 0 of 2 failed and ends the job",
        "MemoryError: no memory for it",
    ],
    "mute": ["rank 1 of 2 failed and ends the job", "Mute: <exception str() failed>"],
    "mute in a guard": ["rank 1 of 2 failed and ends the job", "Mute: <exception str() failed>"],
}
FEW = ["an error before the first module", "no coadder"]


def start(tmp_path, survey, case):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    files = survey(2, "flat sparse", "polarized")
    return subprocess.run(
        mpirun_command(2, [sys.executable, str(script), case, *files]),
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        env=mpirun_environment(),
    )


@starts_ranks
@pytest.mark.parametrize("case", TOLD if ALL else FEW)
def test_a_rank_that_the_others_wait_for_ends_the_job_with_a_reason(tmp_path, survey, case):
    done = start(tmp_path, survey, case)
    assert done.returncode != 0
    assert "done" not in done.stdout
    for text in TOLD[case]:
        assert text in done.stderr
    assert done.stderr.count("ends the job") == 1


@starts_ranks
@pytest.mark.skipif(not ALL, reason="some of many ends")
@pytest.mark.parametrize("case", ["nowhere", "all finalize", "one finalizes"])
def test_jobs_that_end_well(tmp_path, survey, case):
    done = start(tmp_path, survey, case)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


@starts_ranks
@pytest.mark.skipif(not ALL, reason="one more job")
def test_whoever_waits_for_the_first_module_of_others_says_so(tmp_path, survey):
    done = start(tmp_path, survey, "late")
    assert done.returncode == 0, done.stderr
    assert "g3reduce: rank 0 of 2 has waited 0.3 s for the others to make" in done.stderr
    assert "rank 1" not in done.stderr


@starts_ranks
@pytest.mark.skipif(not ALL, reason="what launchers do")
def test_a_process_that_just_vanishes_ends_the_job(tmp_path, survey):
    """Nothing of ours can say anything then; a code other than 0 is passed on."""
    done = start(tmp_path, survey, "os._exit")
    assert done.returncode != 0
    assert is_open_mpi(mpirun_command(2, [])[0]) or done.returncode == 3


class Mute(Exception):
    def __str__(self):
        raise KeyError("no text")

    __repr__ = __str__


class NoText(Exception):
    def __str__(self):
        return 3


@pytest.mark.parametrize("kind", [Mute, NoText])
def test_an_error_that_cannot_say_what_it_is(kind):
    assert describe_error(kind()).startswith(f"{kind.__name__}: (no text: its __str__ failed with ")


@pytest.mark.ranks(3)
def test_others_hear_of_an_error_that_cannot_say_what_it_is(comm):
    private = g3reduce.mpi.communicators.private(comm)
    with pytest.raises((Mute, g3reduce.RemoteError)) as raised:
        agree(private, Mute() if comm.rank == 1 else None)
    if comm.rank != 1:
        assert "rank 1: Mute: (no text: its __str__ failed with KeyError)" in str(raised.value)


@pytest.mark.ranks(3)
def test_a_value_that_cannot_be_shown_does_not_keep_others_waiting(comm):
    private = g3reduce.mpi.communicators.private(comm)
    with pytest.raises(UsageError, match=r"Things must be the same .* its __repr__ failed"):
        same_everywhere(private, "Things", Mute() if comm.rank == 1 else 1)
    same_everywhere(OneProcess(), "Things", Mute())


@pytest.mark.ranks(3)
def test_ranks_at_different_places_hear_of_it_and_go_on(comm):
    private = g3reduce.mpi.communicators.private(comm)
    with pytest.raises(UsageError, match=r"Rank 0 is at these, but rank 2 is at those\."):
        same_everywhere(private, "Those" if comm.rank == 2 else "These", 1)
    agree(private)
