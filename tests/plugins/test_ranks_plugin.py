"""The way of running tests on ranks is itself tested: on tests that fail, and on one that hangs."""

import os
import subprocess
import sys

import pytest

SUITE = """
import pytest, time

@pytest.mark.ranks(2)
def test_well(comm, n_ranks):
    assert comm.size == n_ranks == 2

@pytest.mark.ranks(2)
def test_fails_on_one(comm):
    assert comm.rank != 1, "this rank is wrong"

@pytest.mark.ranks(2)
def test_hangs(comm):
    if comm.rank == 1:
        raise ValueError("the other one waits for me")
    comm.recv(source=1)

@pytest.mark.ranks(2)
def test_after_the_hang(comm):
    comm.Barrier()
"""


@pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks of its own")
def test_failures_show_their_rank_and_hangs_end(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    here = os.path.dirname(__file__)
    (tmp_path / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {here!r})\n"
        "import ranks_plugin; ranks_plugin.SECONDS_BEHIND = 1\n"
        "pytest_plugins = ['ranks_plugin']\n"
        "import pytest\n"
        "@pytest.fixture\n"
        "def comm():\n"
        "    from mpi4py import MPI\n"
        "    return MPI.COMM_WORLD\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=short", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "2 failed, 2 passed" in run.stdout, run.stdout
    assert "On rank 1:" in run.stdout
    assert "this rank is wrong" in run.stdout
    assert "the ranks hang before all had finished" in run.stdout
    assert "the other one waits for me" in run.stdout
    assert "Rank 0: did not finish" in run.stdout
    assert "PASSED test_suite.py::test_after_the_hang[ranks2]" in run.stdout
