"""Whether what this process prints is seen on a terminal, also behind a launcher's pipe."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any

from ..mpi.launcherprocess import standard_error_of_launcher

_COLUMNS = 80


class Terminal:
    """A terminal, of which the width may change, as a file to which a live line is written.

    The cursor is left at the beginning of the line, so that messages of others (spt3g's, MPI's) are
    written over it, and not behind it.

    Parameters
    ----------
    file : int or str
        The descriptor of standard error; or the terminal's name, where a launcher stands between:
        that may pass on whole lines only, of which a live line has none.
    """

    def __init__(self, file: int | str):
        self._file = file

    @property
    def behind_launcher(self) -> bool:
        """Whether a launcher passes on what ranks print, a little later than it is printed."""
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

    def write(self, text: str) -> None:
        """Write a text without ends of lines, and go back to the beginning of the line."""
        if not text:
            return
        if isinstance(self._file, int):
            sys.stderr.write(f"{text}\r")
            return
        # A terminal that is held (Ctrl-S), or that does not let those in the background write, is
        # not waited for: the next text says it all.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            with contextlib.suppress(OSError):
                descriptor = os.open(self._file, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
                try:
                    os.write(descriptor, f"{text}\r".encode(errors="replace"))
                finally:
                    os.close(descriptor)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)

    def flush(self) -> None:
        """Let what was written be seen."""
        if isinstance(self._file, int):
            sys.stderr.flush()


def terminal_behind(stream: Any) -> Terminal | None:
    """The terminal on which standard error of this process is seen, if one is.

    Behind a launcher it is the launcher's standard error that counts. It can be seen where it runs
    on the same host.
    """
    if os.environ.get("TERM", "") in ("dumb", ""):
        return None
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError, ValueError):
        return None
    if os.isatty(descriptor):
        return Terminal(descriptor)
    name = standard_error_of_launcher()
    with contextlib.suppress(OSError):
        file = os.readlink(name) if name is not None else ""
        if file.startswith(("/dev/pts/", "/dev/tty")):
            return Terminal(file)
    return None
