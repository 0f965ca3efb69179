"""Exit code 0 if and only if the output is there, whoever listens or presses Ctrl-C when."""

import os
import subprocess
import sys

import pytest
from choices import ALL, among_all, some_of
from spt3g import core

from g3reduce.mpi.launch import mpirun_command, mpirun_environment

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

COADD = [sys.executable, "-m", "g3reduce", "coadd"]


@pytest.fixture
def files(survey):
    return survey(3, "flat sparse", "polarized", map_ids=("150GHz",))


@pytest.fixture
def folder(tmp_path):
    """Where output goes, with one of before."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "out.g3").write_bytes(b"something old")
    return tmp_path / "out"


def run(command, ranks=None, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60} | options
    command = mpirun_command(ranks, command) if ranks else command
    return subprocess.run(command, text=True, env=mpirun_environment(), **options)


def assert_new(folder):
    assert os.listdir(folder) == ["out.g3"]
    (frame,) = core.G3File(str(folder / "out.g3"))
    assert len(frame["InputFiles"]) == 3


def assert_old(folder):
    assert os.listdir(folder) == ["out.g3"]
    assert (folder / "out.g3").read_bytes() == b"something old"


def pipe_that_nobody_reads():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_output_that_is_there_is_done_though_nobody_listens(files, folder):
    done = run([*COADD, *files, "-o", folder / "out.g3"], stdout=pipe_that_nobody_reads())
    assert (done.returncode, done.stderr) == (0, "")
    assert_new(folder)


@among_all
def test_nor_can_a_full_disk_behind_standard_output_undo_it(files, folder):
    with open("/dev/full", "w") as full:
        done = run([*COADD, *files, "-o", folder / "out.g3"], stdout=full)
    assert done.returncode == 0
    assert done.stderr == "g3reduce: standard output cannot be written (No space left on device).\n"
    assert_new(folder)


@among_all
@pytest.mark.parametrize("nowhere", ["a pipe", "a full disk"])
def test_nor_can_words_to_standard_error(folder, survey, nowhere):
    files = survey(3, "flat sparse", "polarized")  # of two Ids: a warning
    with open("/dev/full", "w") as full:
        stderr = full if nowhere == "a full disk" else pipe_that_nobody_reads()
        done = run([*COADD, *files, "-o", folder / "out.g3"], stderr=stderr)
    assert done.returncode == 0
    assert "Wrote " in done.stdout
    assert_new(folder)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"][0 if ALL else 1 :])
def test_standard_streams_that_are_closed_do_no_harm(files, folder, closed):
    command = [*COADD, *files, "-o", folder / "out.g3", "-v"]
    done = run(["sh", "-c", f'exec "$@" {closed}', "sh", *command])
    assert (done.returncode, done.stdout) == (0, "")
    assert_new(folder)


def test_names_that_cannot_be_printed_are_done_as_well(files, folder):
    name = os.fsdecode(b"\xff\xe4.g3")
    done = run([*COADD, *files, "-o", folder / name])
    assert done.returncode == 0, done.stderr
    assert "Wrote " in done.stdout
    assert sorted(os.listdir(folder)) == sorted(["out.g3", name])


@among_all
def test_what_only_prints_has_failed_where_nobody_listens(files):
    command = [sys.executable, "-m", "g3reduce", "digest", *files]
    done = run(command, stdout=pipe_that_nobody_reads())
    assert (done.returncode, done.stderr) == (1, "")


@among_all
def test_an_error_that_nobody_hears_is_an_error(folder):
    done = run([*COADD, "none.g3", "-o", folder / "out.g3"], stderr=pipe_that_nobody_reads())
    assert done.returncode == 1
    assert_old(folder)


ABORTS = """
import sys
from mpi4py import MPI
import g3reduce.mpi.communicators
from g3reduce.g3files.outputfile import OutputFile

comm = g3reduce.mpi.communicators.private(MPI.COMM_WORLD)
if comm.rank == 0:
    output = OutputFile(sys.argv[1])
    output.write(b"a part")
    raise ValueError("the user's own error")
comm.Barrier()
"""


@among_all
def test_a_rank_that_ends_the_job_removes_what_it_has_written(folder, tmp_path):
    script = tmp_path / "aborts.py"
    script.write_text(ABORTS)
    done = run([sys.executable, str(script), str(folder / "out.g3")], 2)
    assert "the user's own error" in done.stderr
    assert_old(folder)


# The command, with one call to the system in which Ctrl-C is pressed: before it is done, or after.
PRESSED = """
import os, signal, sys
from g3reduce import cli
from g3reduce.mpi.agreement import world_rank

name, when, rank = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
real = getattr(os, name)

def press(*arguments, **options):
    if when == "before":
        os.kill(os.getpid(), signal.SIGINT)
    result = real(*arguments, **options)
    if when == "after":
        os.kill(os.getpid(), signal.SIGINT)
    return result

if world_rank() == rank:
    setattr(os, name, press)
sys.exit(cli.main())
"""


# The command, with Ctrl-C pressed on rank 1 when MPI has started, and before that is known.
STARTING = """
import os, signal, sys
from importlib.machinery import ExtensionFileLoader
from g3reduce import cli
from g3reduce.mpi.agreement import world_rank

real = ExtensionFileLoader.exec_module

def load(loader, module):
    real(loader, module)
    if module.__name__ == "mpi4py.MPI" and world_rank() == 1:
        os.kill(os.getpid(), signal.SIGINT)

ExtensionFileLoader.exec_module = load
sys.exit(cli.main())
"""


def test_ctrl_c_while_mpi_starts_does_not_hang(files, folder, tmp_path):
    """MPI's end, at that of Python, would wait for the other ranks."""
    script = tmp_path / "starting.py"
    script.write_text(STARTING)
    command = [sys.executable, str(script), "coadd", *files, "-o", str(folder / "out.g3")]
    assert run(command, 2).returncode != 0
    assert_old(folder)


@pytest.mark.parametrize(
    ("call", "when", "ranks"),
    some_of(
        ["write", "fsync", "replace"],
        ["before", "after"],
        [None, 2],
        fewer=[("write", "after", 2), ("replace", "after", None)],
    ),
)
def test_ctrl_c_while_it_is_written(files, folder, tmp_path, call, when, ranks):
    script = tmp_path / "pressed.py"
    script.write_text(PRESSED)
    arguments = [sys.executable, str(script), call, when, "0", "coadd", *files]
    done = run([*arguments, "-o", str(folder / "out.g3")], ranks)
    if call == "replace":  # then it is too late
        assert done.returncode == 0, done.stderr
        assert_new(folder)
        assert "Wrote " in done.stdout
    else:
        assert done.returncode == 130 if ranks is None else done.returncode != 0
        assert_old(folder)
        assert "Wrote " not in done.stdout
        assert "Traceback" not in done.stderr


# A script with ranks, with Ctrl-C pressed when its output has got its name.
LATE = """
import os, signal, sys
from mpi4py import MPI
import g3reduce

real = os.replace

def replace(*names):
    real(*names)
    os.kill(os.getpid(), signal.SIGINT)

if MPI.COMM_WORLD.rank == 0:
    os.replace = replace
g3reduce.coadd_files(sys.argv[2:], sys.argv[1], mpicomm=MPI.COMM_WORLD)
"""


@among_all
def test_ctrl_c_in_a_script_is_not_told_as_failed_work(files, folder, tmp_path):
    script = tmp_path / "late.py"
    script.write_text(LATE)
    done = run([sys.executable, str(script), str(folder / "out.g3"), *files], 2)
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode == 130
    assert_new(folder)


@among_all
def test_a_rule_that_cannot_be_read_is_bad_usage_on_ranks_too_and_told_once(files, folder):
    done = run([*COADD, *files, "-o", folder / "out.g3", "--split", "a=id>3"], ranks=2)
    assert done.returncode == 2
    assert done.stderr.count("the rule 'id>3' cannot be read") == 1
    assert "Abort" not in done.stderr
    assert_old(folder)


# What a batch script is for: after frames were added, a signal comes. The command, or a script that
# knows what 75 means.
STOPPED = """
import os, signal, sys
import g3reduce
from g3reduce import cli
from g3reduce.jobs import mapopener

how, output, *files = sys.argv[1:]
opened, original = [], mapopener.MapOpener.frames

def frames(self, file, piece):
    opened.append(file)
    if len(opened) == 2:
        os.kill(os.getpid(), signal.SIGUSR1)
    return original(self, file, piece)

mapopener.MapOpener.frames = frames
checkpoint = os.path.dirname(output) + "/../checkpoints"
if how == "command":
    sys.argv[1:] = ["coadd", *files, "-o", output, "--checkpoint", checkpoint]
    sys.exit(cli.main())
try:
    g3reduce.coadd_files(files, output, checkpoint=checkpoint)
except g3reduce.Stopped as stopped:
    reason = stopped
    sys.exit(75)
"""


@pytest.mark.parametrize("how", ["command", pytest.param("script", marks=among_all)])
def test_ranks_that_a_signal_has_stopped_end_with_the_code_for_it(survey, folder, tmp_path, how):
    files = survey(6, "flat sparse", "polarized", map_ids=("150GHz",))
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    done = run([sys.executable, str(script), how, str(folder / "out.g3"), *files], 2)
    assert done.returncode == 75, done.stderr
    assert "Abort" not in done.stderr
    assert "has joined its sums" not in done.stderr
    assert any((tmp_path / "checkpoints").glob("set-*.json"))
    assert_old(folder)
