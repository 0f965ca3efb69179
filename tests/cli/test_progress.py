"""What `g3reduce coadd` shows while it works: on a terminal, and where there is none."""

import os
import pty
import subprocess
import sys

import pytest
import skies
from choices import ALL, among_all, some_of
from terminals import outcome

from g3reduce import cli
from g3reduce.mpi.launch import mpirun_command, mpirun_environment
from g3reduce.progress import read_log

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

N_FILES = 24 if ALL else 14

# The command itself, but that it takes its time.
SCRIPT = """
import sys, time
from g3reduce import cli
from g3reduce.jobs.mapopener import MapOpener

def slowly(original):
    def frames(self, file, piece):
        time.sleep(0.1)
        return original(self, file, piece)
    return frames

MapOpener.frames = slowly(MapOpener.frames)
sys.exit(cli.main())
"""


@pytest.fixture
def work(tmp_path):
    skies.write_files(tmp_path, N_FILES, "flat sparse", "hits")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def at_a_terminal(folder, words, columns, **more):
    """Run a command at a terminal of so many columns; return its exit code and what it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        import fcntl
        import struct
        import termios

        os.chdir(folder)
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.execvpe(words[0], words, {**mpirun_environment(), "TERM": "xterm", **more})
    return outcome(pid, terminal)


def shown(said, columns):
    """The lines that a terminal shows in the end, and all that were drawn meanwhile."""
    lines, drawn = [], []
    for line in said.replace("\r\n", "\n").split("\n"):
        cells = [" "] * columns
        for part in line.split("\r"):
            drawn.append(part)
            assert len(part) <= columns or "% |" not in part
            cells[: len(part)] = part
        lines.append("".join(cells).rstrip())
    return [line for line in lines if line], drawn


@pytest.mark.parametrize(("ranks", "columns"), some_of([None, 2], [80, 40], fewer=[(None, 80)]))
def test_one_line_is_drawn_and_nothing_of_it_stays(work, ranks, columns):
    words = [sys.executable, "script.py", "coadd", "*.g3", "-o", "out.g3", "--log-json", "log"]
    words = mpirun_command(ranks, words) if ranks else words
    code, said = at_a_terminal(work, words, columns)
    assert code == 0, said
    lines, drawn = shown(said, columns)
    assert not [line for line in lines if "% |" in line]
    assert any("Wrote out.g3" in line for line in lines)
    assert any(not line.strip() and len(line) > 30 for line in drawn)  # it is cleared
    bars = [line for line in drawn if "% |" in line]
    assert all(line.startswith("coadd") for line in bars)
    assert any(f"/{N_FILES} files" in line for line in bars)
    assert len({line.split("%")[0] for line in bars}) > 2  # it moves
    assert read_log(work / "log")[-1].totals.files == N_FILES


@among_all
@pytest.mark.parametrize("ranks", [None, 2])
def test_before_an_error_the_line_is_taken_away(work, ranks):
    cut = sorted(work.glob("*.g3"))[-4]
    os.truncate(cut, cut.stat().st_size - 40)
    words = [sys.executable, "script.py", "coadd", "*.g3", "-o", "out.g3"]
    code, said = at_a_terminal(work, mpirun_command(ranks, words) if ranks else words, 80)
    assert code == 1, said
    lines, drawn = shown(said, 80)
    assert any("% |" in line for line in drawn)
    assert not any("joining" in line for line in drawn)
    assert cut.name in lines[0]  # nothing stands above the error
    assert "% |" not in "".join(lines)


@among_all
@pytest.mark.parametrize("flag", ["--no-progress", "--quiet"])
def test_nothing_is_drawn_if_nobody_wants_it(work, flag):
    words = [sys.executable, "script.py", "coadd", "*.g3", "-o", "out.g3", flag]
    code, said = at_a_terminal(work, words, 80)
    assert (code, "\r" in said.replace("\r\n", "\n")) == (0, False)
    assert ("Wrote" in said) == (flag == "--no-progress")


@among_all
def test_no_line_where_there_is_no_terminal(work):
    words = [sys.executable, "script.py", "coadd", "*.g3", "-o", "out.g3"]
    run = subprocess.run(words, cwd=work, capture_output=True, text=True, check=True)
    assert "%" not in run.stderr
    assert "\r" not in run.stdout + run.stderr


def test_a_log_does_not_replace_other_files_of_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    skies.write_files(tmp_path, 1, "flat sparse", "hits")
    (file,) = (one.name for one in tmp_path.iterdir())
    (tmp_path / "list.txt").write_text(f"{file}\n")
    before = (tmp_path / file).read_bytes()
    for words, told in (
        ([file, "--log-json", file], "a name of maps; expected one such as run.jsonl"),
        ([file, "--log-json", "c.g3"], "a name of maps"),
        ([file, "--log-json", "-"], "is '-'; expected the name of a file"),
        (["@list.txt", "--log-json", "list.txt"], "reads or writes as @list.txt"),
        ([file, "--report", "a.html", "--log-json", "./a.html"], "reads or writes as a.html"),
    ):
        assert cli.main(["coadd", *words, "-o", "c.g3", "--collate"]) == 2
        assert told in capsys.readouterr().err
    assert (tmp_path / file).read_bytes() == before
    assert (tmp_path / "list.txt").read_text() == f"{file}\n"
