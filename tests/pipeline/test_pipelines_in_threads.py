"""Pipelines in several threads of one process, and processes that are forked off in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from skies import assert_same_coadd
from spt3g import core, maps

import g3reduce
from g3reduce import (
    InputError,
    InterruptedByUser,
    MPIFileReader,
    MPIMapCoadder,
    UsageError,
    coadd_files,
    guard,
)
from g3reduce.jobs.mapopener import MapOpener

SOON = 60
MAP = core.G3FrameType.Map


@pytest.fixture
def files(survey):
    return survey(3, "flat sparse", "polarized", map_ids=("90GHz",))


def run(files, *modules, guarded=True):
    """One pipeline, as a user has it."""
    pipe = core.G3Pipeline()
    pipe.Add(MPIFileReader(None, [files]))
    for module in modules:
        pipe.Add(module)
    if not guarded:
        pipe.Run()
        return
    with guard():
        pipe.Run()


@pytest.mark.parametrize("guarded", [True, False])
def test_what_other_threads_do_meanwhile_is_their_business(files, guarded):
    """One pipeline begins in the middle of another one, and stands still until that has ended."""
    expected = maps.coadd_map_files(files)
    waits, goes_on = threading.Event(), threading.Event()
    pending = []

    def stand_still(frame):
        if frame.type == MAP:
            waits.set()
            assert goes_on.wait(SOON)

    def begin_other(frame):
        if frame.type == MAP and not pending:
            pending.append(pool.submit(run, files, stand_still, second, guarded=guarded))
            assert waits.wait(SOON)

    def fail(frame):
        raise ValueError("this pipeline fails")

    first, second = MPIMapCoadder(), MPIMapCoadder()
    with ThreadPoolExecutor(1) as pool:
        try:
            run(files, begin_other, first, guarded=guarded)
            with pytest.raises(ValueError, match="this pipeline fails"):
                run(files, fail, MPIMapCoadder(), guarded=guarded)
        finally:
            goes_on.set()
        pending[0].result(SOON)
    assert_same_coadd(first.coadd_frame, expected)
    assert_same_coadd(second.coadd_frame, expected)


def test_modules_may_be_made_in_one_thread_and_run_in_another(files):
    """The second coadder of a pipeline knows what comes from the first, also there."""
    expected = maps.coadd_map_files(files)
    pairs = [(MPIMapCoadder(), MPIMapCoadder()) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for pending in [pool.submit(run, files, *pair) for pair in pairs]:
            pending.result(SOON)
    for first, second in pairs:
        assert_same_coadd(first.coadd_frame, expected)
        assert_same_coadd(second.coadd_frame, expected)


def test_a_pipeline_that_is_halted_in_a_thread_is_noticed(files):
    def halt(frame):
        if frame.type == MAP:
            core.G3Pipeline.halt_processing()

    coadder = MPIMapCoadder()
    with (
        ThreadPoolExecutor(1) as pool,
        pytest.raises(InputError, match="was halted before all"),
    ):
        pool.submit(run, files, coadder, halt).result(SOON)
    # G3Pipeline hands it on to the next one, in whatever thread.
    with pytest.raises(InputError, match="was halted before all"):
        run(files, MPIMapCoadder())
    # One whose error says so, in the main thread, hands nothing on.
    run(files, again := MPIMapCoadder())
    assert_same_coadd(again.coadd_frame, maps.coadd_map_files(files))


@pytest.mark.parametrize("guarded", [False, True])
def test_after_an_interrupted_pipeline_the_next_one_works_and_can_be_interrupted(files, guarded):
    def interrupt(frame):
        if frame.type == MAP:
            signal.raise_signal(signal.SIGINT)

    for _ in range(2):
        with pytest.raises(InputError, match="was halted before all"):
            run(files, MPIMapCoadder(), interrupt, guarded=False)
        with pytest.raises(KeyboardInterrupt):  # by Python's handler, not spt3g's
            signal.raise_signal(signal.SIGINT)
    if guarded:
        with pytest.raises(InterruptedByUser):
            run(files, MPIMapCoadder(), interrupt)
    run(files, again := MPIMapCoadder(), guarded=guarded)
    assert_same_coadd(again.coadd_frame, maps.coadd_map_files(files))


def test_after_a_pipeline_that_failed_a_coadd_can_be_interrupted(files, monkeypatch):
    """G3Pipeline's handler is still there, which would only halt a pipeline."""

    def fail(frame):
        raise ZeroDivisionError

    def interrupt(*args):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(ZeroDivisionError):
        run(files, MPIMapCoadder(), fail, guarded=False)
    monkeypatch.setattr(MapOpener, "frames", interrupt)
    with pytest.raises(KeyboardInterrupt, match=f"of {len(files)} files were begun") as caught:
        coadd_files(files)
    shown = "".join(caught.value._render_traceback_())
    assert "coadd_files(files)" in shown
    assert os.path.dirname(g3reduce.__file__) not in shown


def test_a_watch_over_all_of_the_process_is_refused_in_threads():
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(UsageError, match=r"guard\(stall=\.\.\.\) was called in another thread"):
            pool.submit(guard, None, stall=1.0).result(SOON)
        pool.submit(guard(None).__enter__).result(SOON)


def in_a_child(work):
    """What a process that is forked off here says: "well", or what went wrong."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        text = "well"
        try:
            work()
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(theirs, text.encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as stream:
        text = stream.read().decode()
    os.waitpid(pid, 0)
    return text


@pytest.mark.ranks(1, 2)
def test_processes_that_a_rank_forks_off_work_alone(comm, survey):
    """They are no ranks, whatever the launcher has put into their environment."""
    files = survey(3, "flat dense", "polarized", map_ids=("90GHz",), seed=comm.rank)
    expected = maps.coadd_map_files(files)
    coadder = MPIMapCoadder(comm, on_duplicate="sum")
    frames = [frame for name in files for frame in core.G3File(name) if frame.type == MAP]
    for frame in frames:
        coadder.add(frame)

    def alone():
        run(files, mine := MPIMapCoadder())
        assert_same_coadd(mine.coadd_frame, expected)
        assert_same_coadd(coadd_files(files).frame, expected)

    def as_if_a_rank():
        coadder.add(frames[0])

    def with_its_communicator():
        coadd_files(files, mpicomm=comm)

    with guard(comm):
        assert in_a_child(alone) == "well"
        for work in (as_if_a_rank, with_its_communicator):
            text = in_a_child(work)
            assert comm.size == 1 or text.startswith("UsageError: The process "), text
    coadder.finish()
    total = comm.gather(list(maps.coadd_map_files(files)["T"]), root=0)
    if comm.rank == 0:
        assert list(coadder.coadd_frame["T"]) == [sum(pixel) for pixel in zip(*total, strict=True)]


SCRIPT = """
import multiprocessing, os, signal, sys, time
from g3reduce import guard

def work(number):
    return number

def leave():
    sys.exit(3)

if __name__ == "__main__":
    with guard():
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(work, range(4)) == [0, 1, 2, 3]
        # Ends by SIGTERM, for which the guard has a handler here.
        pid = os.fork()
        if not pid:
            time.sleep(60)
            os._exit(0)
        time.sleep(0.2)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        pid = os.fork()
        if not pid:
            leave()  # through the guard, in which it is no rank
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    print("all is well")
"""


def test_a_guard_leaves_signals_of_forked_processes_to_these(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    path = os.pathsep.join([str(Path(g3reduce.__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=SOON,
    )
    assert done.stdout == "all is well\n", done.stderr
