"""The exit code tells the truth: 0 if and only if the output is there, whoever listens or presses
Ctrl-C at whatever moment."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any

from ..errors import OutputError
from . import interrupted


def prepare() -> None:
    """Make this process ready to be a command."""
    _open_standard_streams()
    interrupted.prepare()


def say(*lines: str) -> None:
    """Tell what was done, on standard output. That nobody can hear it does not undo it."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            complain(f"g3reduce: standard output cannot be written ({error.strerror}).")
        _silence(sys.stdout)


def result(line: str) -> None:
    """Print a line that is what the command is for.

    Raises
    ------
    OutputError
        If it cannot be printed, as on a full disk.
    BrokenPipeError
        If nobody wants it.
    """
    try:
        print(line)
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence(sys.stdout)
        raise OutputError(f"standard output cannot be written ({error.strerror}).") from error


def complain(line: str) -> None:
    """Print a line to standard error, in one piece, so that those of several ranks do not mix."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def flush() -> bool:
    """Bring out what was printed; whether standard output has taken it.

    Python would try it again at its end, and complain with an exit code of its own.
    """
    heard = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            _silence(stream)
            if stream is sys.stderr:
                continue
            heard = False
            if not isinstance(error, BrokenPipeError):
                complain(f"g3reduce: standard output cannot be written ({error.strerror}).")
    return heard


def stand_by(code: int) -> None:
    """Let nothing change the exit code of what is done."""
    if code == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def _open_standard_streams() -> None:
    """Put something in the place of standard streams that are closed.

    The next file that is opened would be taken for them, and they are None in Python.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(fd, True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    with contextlib.suppress(AttributeError):  # names of files need not be text
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _silence(stream: Any) -> None:
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
