"""Commands that the demo shows and runs, as a user would."""

from __future__ import annotations

import glob
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import G3ReduceError
from .streams import say

# Seconds that ranks have to end after Ctrl-C.
_ENDING_S = 5.0

# How many lines are written of many files.
_LINES = 10


class Steps:
    """Runs commands of this program, on several ranks or in one process.

    Parameters
    ----------
    n_ranks : int
    verbose : bool
        Whether coadds say more.
    quiet : bool
        Whether commands say nothing.
    """

    def __init__(self, n_ranks: int, *, verbose: bool = False, quiet: bool = False):
        from ..mpi.launch import find_mpirun

        self._n_ranks = n_ranks
        self._verbose = ["-v"] if verbose else []
        self._quiet = ["-q"] if quiet else []
        self._has_mpirun = find_mpirun() is not None
        if not self._has_mpirun:
            say(
                "\nThere is no mpirun here, so one process does it all. (pip install mpich brings "
                "one.)"
            )

    def coadd(self, files: Sequence[str], output: Path, *flags: str) -> float:
        """Coadd files, one coadd for each Id; return how many seconds all took."""
        from ..mpi.launch import mpirun_command

        pattern = os.path.join(glob.escape(os.path.dirname(files[0])), "obs_*.g3")
        arguments = ["coadd", pattern, "-o", str(output), "--collate", *flags]
        arguments += self._verbose + self._quiet
        command = _command(arguments)
        if not self._has_mpirun:
            return _show_and_run(["g3reduce", *arguments], command)
        shown = ["mpirun", "-n", str(self._n_ranks), "g3reduce", *arguments]
        return _show_and_run(shown, mpirun_command(self._n_ranks, command))

    def alone(self, *arguments: str) -> None:
        """Run a command in one process."""
        words = [*arguments, *self._quiet]
        _show_and_run(["g3reduce", *words], _command(words))

    def compare(self, files: Sequence[str], output: Path) -> float:
        """Compare a coadd with spt3g's, and say so; return how many seconds that one took."""
        from ..report.comparison import compare_with_spt3g

        say(f"\nspt3g coadds the same {len(files)} files in one process, to compare ...")
        found = compare_with_spt3g(files, output)
        say(
            f"The same as spt3g's serial coadd ({found.seconds:.2f} s in one process):\n"
            f"{found.n_maps} maps, hits equal, the rest to {found.worst:.0e} of the largest value."
        )
        return found.seconds


class Counting:
    """Tells of things that are done: a function of how many, and of how many there are.

    Attributes
    ----------
    done : int
    """

    def __init__(self, what: str):
        self._what = what
        self.done = 0

    def __call__(self, done: int, total: int) -> None:
        """Say it: each on a line that the next one overwrites; in a file, some of many."""
        self.done = done
        on_screen = sys.stdout.isatty()
        if done and (on_screen or done == total or done % max(1, total // _LINES) == 0):
            overwritten = on_screen and done < total
            say(f"  {self._what} {done} of {total}", end="\r" if overwritten else "\n")


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "g3reduce", *arguments]


def _show_and_run(shown: Sequence[str], command: Sequence[str]) -> float:
    from ..mpi.launch import mpirun_environment

    say(f"\n$ {shlex.join(shown)}")
    start = time.perf_counter()
    with subprocess.Popen(command, env=mpirun_environment()) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
    if code:
        raise G3ReduceError("This command failed; its message stands above.")
    return time.perf_counter() - start


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the ranks end by themselves for some seconds, then kill them."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
