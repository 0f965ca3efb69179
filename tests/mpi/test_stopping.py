"""Signals that ask the work to stop are noted, and have their usual effect afterwards."""

import signal
import threading
import time

import pytest

from g3reduce.mpi import stopping
from g3reduce.mpi.communicators import OneProcess
from g3reduce.mpi.stopping import StopRequest

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_noted(number):
    before = [signal.getsignal(one) for one in STOPPING]
    with StopRequest(OneProcess()) as request:
        assert stopping.are_noted()
        assert not request.came
        assert not request.known()
        signal.raise_signal(number)
        signal.raise_signal(number)  # a launcher may pass it on again
        assert request.came
        assert request.known()
    assert not stopping.are_noted()
    assert [signal.getsignal(one) for one in STOPPING] == before


def test_only_a_second_ctrl_c_ends_the_process(monkeypatch):
    raised = []
    with StopRequest(OneProcess()) as request:
        signal.raise_signal(signal.SIGUSR1)
        monkeypatch.setattr(stopping, "_SAME_S", -1.0)
        monkeypatch.setattr(stopping.signal, "raise_signal", raised.append)
        request._catch(signal.SIGTERM, None)  # at the end of the queue's time, say
        assert raised == []
        request._catch(signal.SIGINT, None)
        assert raised == [signal.SIGINT]


def test_time_that_is_up():
    with StopRequest(OneProcess(), 0.01) as request:
        assert not request.came
        time.sleep(0.02)
        assert request.came
        assert request.known()


def test_a_launcher_that_is_about_to_end_the_ranks(monkeypatch):
    monkeypatch.setattr(stopping, "_WARNING", (signal.SIGCONT,))
    with StopRequest(OneProcess()) as request:
        signal.raise_signal(signal.SIGCONT)
        assert request.warned
        assert not request.came


def test_in_a_thread_signals_are_somebody_elses():
    seen = []

    def work():
        with StopRequest(OneProcess(), 1000) as request:
            seen.append((request.known(), signal.getsignal(signal.SIGUSR1)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.getsignal(signal.SIGUSR1))]
