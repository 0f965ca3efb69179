"""A season rehearsed by commands, as a user would type them."""

import json
import os
import re
import subprocess
import sys

import faultyseason
import pytest
from choices import among_all
from patience import HANGS_S

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")


def run(*words, ranks=0):
    command = [sys.executable, "-m", "g3reduce", *map(str, words)]
    return subprocess.run(
        mpirun_command(ranks, command) if ranks else command,
        env=mpirun_environment(),
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )


@among_all
@pytest.mark.parametrize("ranks", [3])
def test_each_command_accounts_for_each_file(tmp_path, ranks):
    season = faultyseason.make(tmp_path, 40, 0)
    names, output = tmp_path / "names.txt", tmp_path / "coadd.g3"
    names.write_text("".join(f"{file}\n" for file in season.files))
    output.write_bytes(b"something old")

    options = [f"@{names}", "--collate", "--nonfinite", "error"]
    checked = run("check", *options, "--deep", "--json")
    assert checked.returncode == 1, checked.stderr
    told = {one["name"]: one["problems"] for one in json.loads(checked.stdout)["files"]}
    assert {*season.bad} <= {file for file, problems in told.items() if problems}

    failed = run("coadd", *options, "-o", output, ranks=ranks)
    assert failed.returncode == 1
    assert output.read_bytes() == b"something old"

    done = run("coadd", *options, "-o", output, "--skip-bad", ranks=ranks)
    assert done.returncode == 3, done.stderr
    left_out = len(season.bad) + len(season.again)
    assert f"Left out {left_out} of {len(season.files)} files" in done.stdout
    for file in season.bad:
        assert len(re.findall(re.escape(file) + r"\s+\(", done.stdout)) == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]

    ledger = run("ledger", output, "--format", "json")
    assert ledger.returncode == 0, ledger.stderr
    for file, index, map_id in season.counted:
        assert re.search(re.escape(json.dumps(file)), ledger.stdout), (file, index, map_id)
    assert run("ledger", output, "--input", season.good[0]).returncode == 0
    assert run("ledger", output, "--input", next(iter(season.bad))).returncode == 1
