"""Many that want one file: one makes it, and nobody waits for who is no more."""

import os
import socket
import subprocess
import sys
import threading

import pytest
from patience import HANGS_S

from g3reduce.kernels import claiming
from g3reduce.kernels.claiming import found_or_claimed, release


@pytest.fixture(autouse=True)
def nothing_waited(monkeypatch):
    monkeypatch.setattr(claiming, "_waited", 0.0)


def test_one_of_many_makes_it_and_all_others_find_it(tmp_path):
    claim, file = tmp_path / "x.claim", tmp_path / "x"
    made, found, ready = [], [], threading.Barrier(8)

    def work():
        ready.wait()
        one = found_or_claimed(claim, lambda: file.read_text() if file.exists() else None)
        if one is None:
            made.append(1)
            (tmp_path / "new").write_text("all of it")
            os.replace(tmp_path / "new", file)
            release(claim)
        found.append(one)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANGS_S)
    assert len(made) == 1
    assert found.count(None) == 1
    assert found.count("all of it") == 7
    assert os.listdir(tmp_path) == ["x"]


def test_what_was_finished_before_the_claim_is_found_and_not_made_again(tmp_path):
    assert found_or_claimed(tmp_path / "x.claim", lambda: "there") == "there"
    assert os.listdir(tmp_path) == []


def test_nobody_waits_for_a_process_that_was_killed(tmp_path, limits):
    limits(claim_wait_s=1000.0)
    claim = tmp_path / "x.claim"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    claim.write_text(f"{socket.gethostname()} {dead.pid}")
    assert found_or_claimed(claim, lambda: None) is None
    assert claiming._waited == 0
    assert claim.read_text().split()[1] == str(os.getpid())


@pytest.mark.parametrize("text", ["another-host 1", "", "no sense at all", f"x{2**70}"])
def test_who_has_waited_long_enough_makes_it_too_and_waits_no_more(tmp_path, limits, text):
    limits(claim_wait_s=0.1)
    claim = tmp_path / "x.claim"
    claim.write_text(text)
    looked = []
    assert found_or_claimed(claim, lambda: looked.append(1)) is None
    assert looked
    assert not claim.exists()
    claim.write_text("another-host 1")
    looked.clear()
    assert found_or_claimed(claim, lambda: looked.append(1)) is None
    assert not looked


def test_where_no_claim_can_be_made_it_is_made_at_once(tmp_path):
    assert found_or_claimed(tmp_path / "none" / "x.claim", lambda: None) is None
    assert claiming._waited == 0
    release(tmp_path / "none" / "x.claim")
