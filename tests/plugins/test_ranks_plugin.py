"""The way of running tests on ranks is itself tested: on tests that fail, and on one that hangs."""

import os
import re
import subprocess
import sys

import pytest
from choices import among_all

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

@pytest.mark.ranks(2)
def test_is_skipped(comm):
    pytest.skip("none of us wants to")

@pytest.mark.ranks(2)
def test_is_skipped_on_one(comm):
    if comm.rank == 1:
        pytest.skip("this rank alone cannot")

@pytest.mark.ranks(2, seconds=1)
def test_takes_too_long(comm):
    time.sleep(60)

@pytest.mark.ranks(2, seconds=30)
def test_takes_long_and_may(comm):
    time.sleep(1.5)
"""


@among_all
@pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks of its own")
def test_failures_show_their_rank_and_hangs_end(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)
    here = os.path.dirname(__file__)
    (tmp_path / "conftest.py").write_text(
        f"import sys; sys.path.insert(0, {here!r})\n"
        "import ranks_plugin; ranks_plugin.SECONDS_BEHIND = 1\n"
        "pytest_plugins = ['ranks_plugin']\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=short", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "4 failed, 3 passed, 1 skipped" in run.stdout, run.stdout
    told = run.stdout.split("= short test summary info =")[0]
    told = {part.split(" _", 1)[0]: part for part in re.split(r"\n_+ (?=test_)", told)[1:]}
    assert told.keys() == {
        f"test_{name}[ranks2]"
        for name in ("fails_on_one", "hangs", "is_skipped_on_one", "takes_too_long")
    }
    one = told["test_fails_on_one[ranks2]"]
    assert "On rank 1: failed" in one
    assert "this rank is wrong" in one
    assert "On rank 0" not in one
    hang = told["test_hangs[ranks2]"]
    assert "the ranks hang before all had finished" in hang
    assert "the other one waits for me" in hang
    assert "Rank 0: did not finish" in hang
    skip = told["test_is_skipped_on_one[ranks2]"]
    assert "On rank 0: passed" in skip
    assert "On rank 1: skipped" in skip
    assert "this rank alone cannot" in skip
    assert "in test_takes_too_long" in told["test_takes_too_long[ranks2]"]  # a stack of a rank
    assert "none of us wants to" in run.stdout
    for name in ("after_the_hang", "takes_long_and_may"):
        assert f"PASSED test_suite.py::test_{name}[ranks2]" in run.stdout
