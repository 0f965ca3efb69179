"""Whether what this process prints is seen on a terminal, also behind a launcher's pipe."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from ..mpi.launchers import launched

# Processes between a rank and the shell: these pass on what ranks print.
_LAUNCHERS = ("mpirun", "mpiexec", "hydra", "prte", "orte", "orted", "srun")
_GENERATIONS = 8
_COLUMNS = 80


class Terminal:
    """A terminal, of which the width may change.

    Parameters
    ----------
    file : int or str
        A descriptor of it; or its name, where a launcher passes on what is written.
    """

    def __init__(self, file: int | str):
        self._file = file

    @property
    def behind_launcher(self) -> bool:
        """Whether a launcher passes on what is written: standard output and error separately."""
        return isinstance(self._file, str)

    def columns(self) -> int:
        """How many columns it has now."""
        with contextlib.suppress(OSError):
            if isinstance(self._file, int):
                return os.get_terminal_size(self._file).columns or _COLUMNS
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                return os.get_terminal_size(descriptor).columns or _COLUMNS
            finally:
                os.close(descriptor)
        return _COLUMNS


def terminal_behind(stream: Any) -> Terminal | None:
    """The terminal on which a stream of this process is seen, if one is.

    A launcher takes what ranks print from pipes, and passes it on: so it is the launcher's
    standard error that counts. It can be seen where it runs on the same host.
    """
    if os.environ.get("TERM", "") in ("dumb", ""):
        return None
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None
    if os.isatty(descriptor):
        return Terminal(descriptor)
    if launched() is None:
        return None
    name = _of_launcher()
    return None if name is None else Terminal(name)


def _of_launcher() -> str | None:
    """The terminal of the outermost launcher among the parents of this process."""
    found, pid = None, os.getppid()
    for _ in range(_GENERATIONS):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                name, rest = stat.read().split("(", 1)[1].rsplit(")", 1)
            if any(word in name for word in _LAUNCHERS):
                file = os.readlink(f"/proc/{pid}/fd/2")
                found = file if file.startswith(("/dev/pts/", "/dev/tty")) else None
            pid = int(rest.split()[1])
        except (OSError, IndexError, ValueError):
            break
        if pid <= 1:
            break
    return found
