"""``g3reduce coadd --ranks N --retries K``: starts the ranks, and the job again when it dies.

How a job has ended is not believed of the launcher, whose exit code may be that of any rank, or of
none. The job itself writes its exit code into a file of the folder of checkpoints, as its last
deed. Where there is no such file the job has died: it lost a rank, or was killed, or had no memory
left. Errors that it has told of, in contrast, would come again, and are final.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ..errors import G3ReduceError, OutputError, UsageError
from ..mpi.launch import find_mpirun, mpirun_command, mpirun_environment
from ..mpi.launchers import several
from .checkpointing import STOPPED
from .streams import complain

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

# How often it is looked for signals.
_LOOK_S = 0.1
# Seconds that ranks have to end after a second Ctrl-C.
_ENDING_S = 5.0


def run(options: argparse.Namespace, words: list[str]) -> int:
    """Start the ranks, and again if need be; return the exit code of the job.

    Parameters
    ----------
    options : argparse.Namespace
    words : list of str
        Those of the command line, after the name of the program.

    Raises
    ------
    G3ReduceError
    """
    if options.ranks is None:
        raise UsageError("--retries needs --ranks, the number of ranks to start.")
    if options.retries and options.checkpoint is None:
        raise UsageError("--retries needs --checkpoint, the folder from which the job goes on.")
    if several():
        raise UsageError("--ranks starts ranks itself: run it without mpirun.")
    if find_mpirun() is None:
        raise G3ReduceError(
            "There is no mpirun, neither beside this Python nor on the PATH. Install an MPI: "
            "pip install mpich brings one."
        )
    return _Job(options, words).run()


class _Job:
    """A job that is started again when it dies."""

    def __init__(self, options: argparse.Namespace, words: list[str]):
        self._words = words
        self._checkpoint: str | None = None if options.dry_run else options.checkpoint
        self._ranks: int = options.ranks
        self._retries: int = options.retries or 0
        self._received: list[int] = []
        self._stops = False

    def run(self) -> int:
        """Run it to its end."""
        if self._checkpoint is None:
            with self._signals():
                return self._start(["--outcome-file", ""])  # so that these start no others
        try:
            os.makedirs(self._checkpoint, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self._checkpoint}: this folder cannot be used for checkpoints "
                f"({error.strerror})."
            ) from error
        with self._signals():
            return self._run_with_retries(self._checkpoint)

    def _run_with_retries(self, folder: str) -> int:
        for left in range(self._retries, -1, -1):
            before = _newest_set(folder)
            file = os.path.join(folder, f"outcome-{secrets.token_hex(8)}")
            launcher = self._start(["--outcome-file", file, "--resume"])
            code = _taken(file)
            if code is not None:
                return code
            newest = _newest_set(folder)
            if self._stops:
                self._say(f"stopped without a last checkpoint; {_go_on(newest)}")
                return STOPPED
            died = f"the job on {self._ranks} ranks died ({_describe(launcher)})"
            if not left:
                self._say(f"{died}; {_go_on(newest)}")
                break
            if newest == before:
                self._ranks = max(1, self._ranks // 2)
            again = f"retry {self._retries - left + 1} of {self._retries}"
            self._say(f"{died}; {again} on {self._ranks} ranks, {_from(newest)}")
        return 1

    def _start(self, more: list[str]) -> int:
        """Run the command on all ranks, and return the exit code of the launcher."""
        command = [sys.executable, "-m", "g3reduce", self._words[0], *more, *self._words[1:]]
        with subprocess.Popen(
            mpirun_command(self._ranks, command),
            env=mpirun_environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C comes here only, and is passed on as it is best
        ) as process:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_LOOK_S)
                if self._received:
                    self._pass_on(process)
            return process.returncode

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        """Pass the first signal on; after a second Ctrl-C end the ranks."""
        if not self._stops:
            self._stops = True
            # Launchers pass on SIGUSR1 without killing the ranks a moment later.
            first = self._received[0]
            process.send_signal(first if self._checkpoint is None else signal.SIGUSR1)
        if signal.SIGINT in self._received[1:]:
            process.terminate()
            try:
                process.wait(timeout=_ENDING_S)
            except subprocess.TimeoutExpired:
                process.kill()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        previous: dict[int, Any] = {n: signal.signal(n, self._catch) for n in _STOPPING}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._received.append(number)

    def _say(self, text: str) -> None:
        complain(f"g3reduce {self._words[0]}: {text}.")


def _newest_set(folder: str) -> int:
    from ..jobs.checkpointfolder import CheckpointFolder

    with contextlib.suppress(OSError):
        return max(CheckpointFolder(folder).sets(), default=0)
    return 0


def _go_on(newest: int) -> str:
    return f"--resume goes on {_from(newest)}"


def _from(newest: int) -> str:
    return f"from set {newest}" if newest else "from nothing"


def _describe(code: int) -> str:
    if code < 0:
        return f"the launcher by {signal.Signals(-code).name}"
    return f"the launcher's exit code is {code}"


def _taken(file: str) -> int | None:
    """The exit code that a job has left, if it has; the file is removed."""
    try:
        with open(file) as left:
            code = int(left.read())
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):
        os.unlink(file)
    return code
