"""Files and folders on their way: beside their name, hidden, until they are whole.

They are called ``.g3reduce-`` and sixteen hexadecimal digits drawn by lot, ``-``, the name they
will get (of a long one, its beginning), and ``.partial``.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import signal
import stat
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

_BEGIN, _END = ".g3reduce-", ".partial"
_DIGITS = 16
_LONGEST = 255 - len(_BEGIN) - _DIGITS - 1 - len(_END)  # bytes of the name that find room in ours

# More than a few tries mean that something else is wrong.
_TRIES = 100

# Within so many seconds what is made is locked, too.
_LOCKED_AFTER_S = 0.05

# Those that end a process without a handler; for SIGINT Python raises KeyboardInterrupt.
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class TemporaryFile:
    """A new file in the folder of `target`, which gets that name when it is whole.

    Nobody else has it: its name cannot be foreseen, and nothing that is there is opened, be it a
    link. It is removed by `discard`, and on each way out of the process that can be caught.

    Parameters
    ----------
    target : str
        A path without links.

    Attributes
    ----------
    path : str
    fd : int
        Open for writing.
    written : int
        Bytes that the system has taken.

    Raises
    ------
    OSError
    """

    _kept = 0o777  # bits of the mode that a successor inherits

    def __init__(self, target: str):
        self.target = target
        self.path, self.fd, self.written = "", -1, 0
        self._pid = os.getpid()
        self._replaced = _status(target)
        _alive.append(self)
        _catch_signals()
        try:
            self.fd = _not_standard(self._create())
        except BaseException:
            self.discard()
            raise
        _lock(self.fd)

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it, where the system may take less at a time.

        Raises
        ------
        OSError
        """
        rest = memoryview(data).cast("B")
        while len(rest):
            taken = os.write(self.fd, rest)
            if not taken:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.written += taken
            rest = rest[taken:]

    def complete(self) -> None:
        """See to it that everything is on the disk.

        Systems that write later, or elsewhere, report errors only here.

        Raises
        ------
        OSError
        """
        size = os.fstat(self.fd).st_size
        if size != self.written:
            raise OSError(errno.EIO, f"{size} of {self.written} bytes have arrived")
        self._set_rights()
        os.fsync(self.fd)
        # Systems may report errors when a file is closed; the lock stays with the other one.
        kept = fcntl.fcntl(self.fd, fcntl.F_DUPFD_CLOEXEC, 3)
        try:
            self.close()
        finally:
            self.fd = kept

    def publish(self) -> None:
        """Give it its name; a file of that name is replaced.

        Raises
        ------
        OSError
        """
        os.replace(self.path, self.target)
        _sync_folder(os.path.dirname(self.target))

    def close(self) -> None:
        """Close it, and give up its lock.

        Raises
        ------
        OSError
            Systems may report errors of writing here.
        """
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def discard(self) -> None:
        """Let nothing remain of it, unless it has its name."""
        with contextlib.suppress(OSError):
            self.close()
        if self._pid == os.getpid():  # not in a child of the process that writes
            with contextlib.suppress(OSError):
                self._remove()
        if self in _alive:
            _alive.remove(self)
        if not _alive:
            _let_go_of_signals()

    def _create(self) -> int:
        # A file that replaces a private one must not be readable by others while it is written.
        mode = 0o666 if self._replaced is None else 0o600
        for path in _new_paths(self.target):
            self.path = path
            with contextlib.suppress(FileExistsError):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                return os.open(path, flags, mode)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _set_rights(self) -> None:
        """Give it the mode, the group and the owner of what it replaces, where that can be."""
        old = _status(self.target) or self._replaced
        if old is None:
            return
        mode = stat.S_IMODE(old.st_mode) & self._kept
        try:
            os.fchown(self.fd, -1, old.st_gid)
        except OSError:  # rights of that group are not for another one
            mode = mode & ~0o070 | (mode & 0o007) << 3
        with contextlib.suppress(OSError):
            os.fchown(self.fd, old.st_uid, -1)
        with contextlib.suppress(OSError):  # file systems without modes
            os.fchmod(self.fd, mode)

    def _remove(self) -> None:
        os.unlink(self.path)


class TemporaryFolder(TemporaryFile):
    """A new folder, as `TemporaryFile`. It can get the name of an empty one only."""

    _kept = 0o3777

    def complete(self) -> None:
        """See to it that all files in it are on the disk.

        Raises
        ------
        OSError
        """
        for folder, _, names in os.walk(self.path):
            for name in names:
                fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            _sync_folder(folder)
        self._set_rights()

    def _create(self) -> int:
        for path in _new_paths(self.target):
            self.path = path
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o777 if self._replaced is None else 0o700)
                return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    def _remove(self) -> None:
        shutil.rmtree(self.path)


class Other(NamedTuple):
    """A temporary file of another job, or of an earlier one.

    Attributes
    ----------
    path : str
    in_use : bool or None
        Whether the job is alive; None if the file system cannot say.
    """

    path: str
    in_use: bool | None


def others(target: str) -> list[Other]:
    """Find temporary files and folders that other jobs have made for the same output."""
    folder = os.path.dirname(target)
    ending = f"-{_shortened(target)}{_END}"
    try:
        names = [
            name
            for name in os.listdir(folder)
            if name.startswith(_BEGIN) and name[len(_BEGIN) + _DIGITS :] == ending
        ]
    except OSError:
        return []
    mine = {one.path for one in _alive}
    paths = [os.path.join(folder, name) for name in sorted(names)]
    found = [Other(path, _in_use(path)) for path in paths if path not in mine]
    if any(one.in_use is False for one in found):
        time.sleep(_LOCKED_AFTER_S)
        found = [Other(one.path, _in_use(one.path)) for one in found]
    return [one for one in found if os.path.lexists(one.path)]


def remove_leftovers(folder: str, matches: Callable[[str], object]) -> None:
    """Remove temporary files that jobs which were killed have left behind.

    Parameters
    ----------
    folder : str
        One in which nobody else is at work.
    matches : callable
        Says of the name of an output whether it is meant.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    for name in os.listdir(folder):
        target = name[len(_BEGIN) + _DIGITS + 1 : -len(_END)]
        if name.startswith(_BEGIN) and name.endswith(_END) and matches(target):
            path = os.path.join(folder, name)
            if not _in_use(path):
                with contextlib.suppress(OSError):
                    os.unlink(path)


def discard_all() -> None:
    """Remove what this process has not finished, before it ends in a way that unwinds nothing."""
    for one in list(_alive):
        one.discard()


# How often an output got its name, as all ranks of the job know.
published = 0

_alive: list[TemporaryFile] = []
atexit.register(discard_all)


def _new_paths(target: str) -> Any:
    folder, name = os.path.dirname(target), _shortened(target)
    for _ in range(_TRIES):
        yield os.path.join(folder, f"{_BEGIN}{secrets.token_hex(_DIGITS // 2)}-{name}{_END}")


def _shortened(target: str) -> str:
    return os.fsdecode(os.fsencode(os.path.basename(target))[:_LONGEST])


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _not_standard(fd: int) -> int:
    """The same file under a number above 2.

    Where standard output is closed the system gives its number to the next file that is opened,
    and whatever any library prints would go there.
    """
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _sync_folder(folder: str) -> None:
    # So that the name outlives a power cut; the file is whole whether or not this can be done.
    with contextlib.suppress(OSError):
        fd = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _lock(fd: int) -> None:
    """Let others see that this process is alive; not every file system can. See `others`."""
    for _ in range(_TRIES):
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # somebody looks whether it is locked
            time.sleep(_LOCKED_AFTER_S / _TRIES)
        except OSError:
            return None


def _in_use(path: str) -> bool | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)
    return False


_previous: dict[int, Any] = {}


def _catch_signals() -> None:
    """Handle signals that would end this process at once, if there is no other handler.

    Only as long as there is something to remove: a rank that waits in MPI hears of a signal when
    it has waited to the end.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            with contextlib.suppress(ValueError):  # not the main thread
                signal.signal(number, _end)
                _previous[number] = signal.SIG_DFL


def _let_go_of_signals() -> None:
    for number in list(_previous):
        if signal.getsignal(number) is _end:
            with contextlib.suppress(ValueError):
                signal.signal(number, signal.SIG_DFL)
        _previous.pop(number, None)  # another thread may do the same


def _end(number: int, frame: FrameType | None) -> None:
    discard_all()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)
