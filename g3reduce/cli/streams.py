"""Standard output and standard error, and an exit code that is 0 only if the output is there.

Standard output may be closed, full, or a pipe whose reader has ended: that changes the exit code
only of commands whose result is what they print.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import Any

from ..errors import OutputError
from ..progress.screen import aside
from . import ctrlc

# So many objects are made before it is looked which of them are garbage: nearly all that are made
# at the start stay, and to look every few hundred takes a tenth of a short command's time.
_OBJECTS = 50_000


# Control characters, and those that turn the direction of writing: in names and Ids these could
# change what a terminal shows. Only ends of lines and tabs are as they are.
_NOT_PRINTED = {
    number: f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    for number in (
        *(set(range(32)) - {9, 10}),
        *range(127, 160),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}


def printable(text: str) -> str:
    """A text that cannot do more to a terminal than to stand there."""
    return text.translate(_NOT_PRINTED)


def one_line(text: str) -> str:
    """The same in one line, whatever is in names."""
    return text.replace("\n", r"\n")


def prepare() -> None:
    """Make this process ready to be a command."""
    gc.set_threshold(_OBJECTS)
    _open_standard_streams()
    ctrlc.prepare()


_quiet: list[bool] = []


def be_quiet(quiet: bool) -> None:
    """From now on `say` prints nothing, or does so again."""
    _quiet[:] = [True] if quiet else []


def say(*lines: str, end: str = "\n") -> None:
    """Print what was done. If that fails, the work is done all the same."""
    if _quiet or not lines:
        return
    try:
        with aside():
            print(*map(printable, lines), sep="\n", end=end, flush=True)
    except OSError as error:
        _silence(sys.stdout)
        _complain_of(error)


def result(line: str) -> None:
    """Print a line of the command's result.

    Raises
    ------
    OutputError
        If it cannot be printed, as on a full disk.
    BrokenPipeError
        If the reader of a pipe has ended.
    """
    try:
        # What another program reads is as it is.
        print(printable(line) if sys.stdout.isatty() else line)
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence(sys.stdout)
        raise OutputError(_unwritable(error)) from error


def complain(line: str) -> None:
    """Print a line to standard error, in one piece, so that those of several ranks do not mix."""
    with contextlib.suppress(OSError), aside():
        sys.stderr.write(f"{printable(line)}\n")
        sys.stderr.flush()


def flush() -> bool:
    """Flush what was printed; return whether standard output has taken all of it.

    Else Python would try at its end, and exit with a code of its own.
    """
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            _silence(stream)
            if stream is sys.stdout:
                written = False
                _complain_of(error)
    return written


def stand_by(code: int) -> None:
    """Get ready to exit: once the work is done, signals do not change the exit code 0."""
    gc.freeze()  # what is left ends with the process, and need not be looked through again
    if code == 0:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def _open_standard_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Else the next file that is opened would get their number; and in Python they would be None.
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


def _complain_of(error: OSError) -> None:
    if not isinstance(error, BrokenPipeError):
        complain(f"g3reduce: {_unwritable(error)}")


def _unwritable(error: OSError) -> str:
    return f"standard output cannot be written ({error.strerror})."


def _silence(stream: Any) -> None:
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
