"""Processes that are forked off while a job of this one is watched."""

import os
import signal
import threading
import time

import pytest
from patience import HANGS_S

from g3reduce.mpi import OneProcess
from g3reduce.progress import JSONLog, read_log
from g3reduce.progress.screen import SCREEN, aside
from g3reduce.progress.watching import Watch

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="is about one process")


def code_of_a_child(work):
    """The exit code of a forked process that does this work; one that hangs is killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + HANGS_S
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_messages_of_a_child_wait_for_no_thread_of_its_parent():
    drawing, done = threading.Event(), threading.Event()

    def draw():
        with SCREEN.lock:
            drawing.set()
            done.wait(HANGS_S)

    def write():
        with aside():
            pass

    thread = threading.Thread(target=draw)
    thread.start()
    drawing.wait()
    try:
        assert code_of_a_child(write) == 0
    finally:
        done.set()
        thread.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_end_what_is_told_of_its_parent(tmp_path):
    with Watch(OneProcess(), "coadd", JSONLog(tmp_path / "run.jsonl")) as watch:
        assert code_of_a_child(lambda: watch.__exit__(None, None, None)) == 0
        watch.stage("joining")
    kinds = [event.kind for event in read_log(tmp_path / "run.jsonl")]
    assert kinds == ["begun", "stage", "ended"]
