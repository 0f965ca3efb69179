"""Events in a file: one a line, as JSON."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from typing import IO, Any

from ..errors import InputError, OutputError
from ..limits import LIMITS
from .events import CLASSES, Begun, Event, FileDone, FileStarted, Summarised, Totals
from .plaindata import WrongValue, made_of

# Of the format, in the first line.
VERSION = 1


class JSONLog:
    """Writes each event to a file as one line of JSON; an observer.

    Parameters
    ----------
    file : name or path
        It is replaced, unless another job is writing it.

    Raises
    ------
    OutputError
        If it cannot be opened, or if another job writes it.

    Examples
    --------
    >>> coadd_files("obs*.g3", "coadd.g3", progress=JSONLog("run.jsonl"))  # doctest: +SKIP
    """

    each_file = True

    def __init__(self, file: str | os.PathLike[str]):
        self._name = os.fspath(file)
        try:
            self._file: IO[str] = _opened(self._name)
        except OSError as error:
            raise OutputError(
                f"{self._name}: this log cannot be written ({error.strerror})."
            ) from error

    def __str__(self) -> str:
        return f"the log {self._name}"

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._file.write(f"{json.dumps(as_data(event), ensure_ascii=True)}\n")
        if not event.kind.startswith("file"):
            self._file.flush()

    def look(self, now: float, totals: Totals) -> None:
        """Let all that was written be in the file."""
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file.closed:
            return
        try:
            self._file.flush()
        finally:
            _unlock(self._file.fileno())  # a process that was forked off may have it open, too
            self._file.close()


def _opened(name: str) -> IO[str]:
    """The file, emptied, once no other job has it.

    Raises
    ------
    OSError, OutputError
    """
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if stat.S_ISREG(os.fstat(file).st_mode):  # and no terminal or pipe
            _lock(file, name)
            os.ftruncate(file, 0)
        return open(file, "w", encoding="utf-8")
    except BaseException:
        os.close(file)
        raise


def _lock(file: int, name: str) -> None:
    """Lock the file, if the file system can; a job that is ending is awaited for a moment."""
    end = time.monotonic() + LIMITS.folder_lock_s
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise OutputError(
                    f"{name}: another job writes this log. Wait for its end, or name another file."
                ) from error
            time.sleep(0.05)
        except OSError:
            return None


def _unlock(file: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)


def as_data(event: Event) -> dict[str, Any]:
    """An event as plain data, of which JSON can be made."""
    data: dict[str, Any] = {"event": event.kind}
    if isinstance(event, Begun):
        data["log_version"] = VERSION
    data |= vars(event)
    for name in ("time", "began", "seconds", "median", "predicted"):
        if name in data:
            data[name] = round(data[name], 6)
    if isinstance(event, Summarised):
        data["ranks"] = [one.as_data() for one in event.ranks]
    # There may be millions of these, and the numbers in them say it all.
    if isinstance(event, FileStarted | FileDone):
        del data["totals"]
        for name, usual in (("part", 0), ("sound", True)):
            if data.get(name) is usual:
                del data[name]
    else:
        data["totals"] = {**vars(event.totals), "n_bytes": round(event.totals.n_bytes)}
    return data


def from_data(data: Any) -> Event | None:
    """The event that plain data stand for; None if this version knows no such event.

    Raises
    ------
    WrongValue
        If a value in it is none that an event has.
    """
    if not isinstance(data, dict) or not isinstance(data.get("event"), str):
        return None
    known = CLASSES.get(data["event"])
    if known is None:
        return None
    try:
        return made_of(known, data)
    except TypeError:  # something is missing
        return None


def read_log(file: str | os.PathLike[str]) -> list[Event]:
    """The events in a file that `JSONLog` has written, in the order of the file.

    A last line that is cut off, and events that this version does not know, are passed over. There
    are no totals with those of single files.

    Parameters
    ----------
    file : name or path

    Returns
    -------
    list of Event

    Raises
    ------
    InputError
        If the file cannot be read, is no such log, or has a value in it that no event has.

    Examples
    --------
    >>> read_log("run.jsonl")[-1].outcome  # doctest: +SKIP
    'done'
    """
    name = os.fspath(file)
    try:
        with open(name, encoding="utf-8", errors="replace") as log:
            lines = log.read().splitlines()
    except OSError as error:
        raise InputError(f"{name}: this log cannot be read ({error.strerror}).") from error
    events: list[Event] = []
    if not lines:
        raise InputError(f"{name}: this log is empty: the run has not begun, or could not.")
    for number, line in enumerate(lines):
        try:
            data = json.loads(line)
        except ValueError:
            if number == len(lines) - 1 and number:
                break
            raise InputError(
                f"{name}, line {number + 1}: expected one event as JSON, as --log-json writes it."
            ) from None
        try:
            event = from_data(data)
        except WrongValue as error:
            raise InputError(f"{name}, line {number + 1}: {error}.") from None
        if number == 0 and not isinstance(event, Begun):
            raise InputError(
                f"{name}: the first line is not the beginning of a log; expected a file that "
                "--log-json has written."
            )
        if event is not None:
            events.append(event)
    return events
