"""A link that is down: the work goes on afterwards, or ends with a message and is resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import skies
from hostmpi import on_ranks, start_ranks
from patience import HANGS_S
from spt3g import core

import g3reduce

SLOWLY = str(Path(__file__).with_name("slowcoadd.py"))
N_FILES = 60


@pytest.fixture
def job(hosts, tmp_path):
    """Start a coadd on all hosts, and wait until each rank is at work and a checkpoint is there."""
    skies.write_files(tmp_path, N_FILES, "flat sparse", "polarized", map_ids=("90GHz",))
    running = []

    def start(stall):
        with (tmp_path / "output").open("w") as output:
            process = start_ranks(
                hosts,
                [sys.executable, SLOWLY, str(tmp_path), "0.2", str(stall)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        running.append(process)
        give_up = time.monotonic() + HANGS_S
        while len(list(tmp_path.glob("begun-*"))) < 6 or not list(
            tmp_path.glob("checkpoint/set-*.json")
        ):
            assert process.poll() is None, (tmp_path / "output").read_text()
            assert time.monotonic() < give_up, (tmp_path / "output").read_text()
            time.sleep(0.02)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with the launcher, which it has started
            hosts.kill_all()
            process.wait()


def is_right(folder):
    """Whether the output is to the bit what one process makes of the files, each frame once."""
    expected = g3reduce.coadd_files(
        str(folder / "obs_*.g3"), assign=lambda frame: {"all": 1}, reproducible=True
    )
    (found,) = core.G3File(str(folder / "coadd.g3"))
    assert g3reduce.digest(found) == g3reduce.digest(expected["all"])
    assert sorted(found["Ledger"]["file"]) == sorted(map(str, folder.glob("obs_*.g3")))
    return True


def test_a_link_that_is_down_for_some_seconds_delays_the_job(hosts, job, tmp_path):
    process = job(stall=40)
    hosts.cut("h2")
    time.sleep(5)
    assert process.poll() is None
    hosts.mend()
    process.wait(HANGS_S)
    output = (tmp_path / "output").read_text()
    assert "complete 3" in output, output
    assert is_right(tmp_path)


def test_a_link_that_stays_down_ends_the_job_which_others_finish(hosts, job, tmp_path):
    job(stall=6)
    hosts.cut("h2")
    give_up = time.monotonic() + HANGS_S
    for host in hosts.names:  # also there where no message arrives
        while left := hosts.run(["pgrep", "-af", "slowcoadd"], host=host).stdout:
            output = (tmp_path / "output").read_text()
            assert time.monotonic() < give_up, (host, left, output)
            time.sleep(0.1)
    output = (tmp_path / "output").read_text()
    assert "Nothing has moved on any rank for 6 s" in output, output
    assert "complete" not in output
    assert not (tmp_path / "coadd.g3").exists()
    assert list(tmp_path.glob("checkpoint/set-*.json"))
    command = [sys.executable, SLOWLY, str(tmp_path), "0", "40"]
    done = on_ranks(hosts, command, slots={"h1": 2, "h3": 1})
    assert "complete 2" in done.stdout, done.stderr
    assert is_right(tmp_path)
