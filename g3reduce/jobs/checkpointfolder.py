"""The folder of checkpoints: a lock, the files of all ranks, manifests of sets, and a marker.

=====================  ==================================================================
``set-000012.json``    manifest: what belongs to a set; there is the set once it has this name
``rank-…-3-7.g3``      the sums of one rank; the third number counts what this rank wrote
``complete.json``      marker of a job that is complete, in place of its sets
``lock``               locked by the job that works here
=====================  ==================================================================

Only the coordinator, rank 0, commits sets, and removes files: those that no set names any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import socket
import time

from ..errors import OutputError, UsageError
from ..limits import LIMITS
from ..temporary import TemporaryFile, remove_leftovers
from .checkpointset import Manifest, Unusable

COMPLETE = "complete.json"
_LOCK = "lock"
_KEPT = 2
_SET = re.compile(r"set-(\d{6,})\.json")
_RANK = re.compile(r"rank-[0-9a-f]{8}-\d+-\d+\.g3")
_OURS = re.compile(f"{_SET.pattern}|{_RANK.pattern}|{re.escape(COMPLETE)}")


class CheckpointFolder:
    """A folder of checkpoints, as one rank sees it.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    path : str
        Without links.
    run : str
        Marks the files of one job, so that another one never writes under the same names.
    """

    def __init__(self, path: str):
        if "\0" in path:
            raise UsageError(f"checkpoint is {path!r}: a NUL byte, which no name can have.")
        self.given = path
        self.path = os.path.realpath(path)
        self.run = ""
        self._lock_fd = -1

    def file(self, name: str) -> str:
        """The path of a file in it."""
        return os.path.join(self.path, name)

    def claim(self) -> str:
        """On the coordinator: make the folder if it is not there, and lock it; return `run`.

        Raises
        ------
        UsageError
            If another job works with it.
        OutputError
            If it cannot be made or written to.
        """
        try:
            os.makedirs(self.path, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._lock_fd = os.open(self.file(_LOCK), flags, 0o666)
            self._lock()
            self.run = secrets.token_hex(4)
            os.ftruncate(self._lock_fd, 0)
            me = f"{self.run} process {os.getpid()} on {socket.gethostname()}\n"
            os.pwrite(self._lock_fd, me.encode(), 0)
            remove_leftovers(self.path, _OURS.fullmatch)
        except OSError as error:
            raise OutputError(
                f"{self.given}: this folder cannot be used for checkpoints ({error.strerror})."
            ) from error
        return self.run

    def see(self, run: str) -> None:
        """On the other ranks: make sure that this is the folder that the coordinator has claimed.

        Raises
        ------
        UsageError
            If it is another one, as a folder of this host only would be.
        """
        self.run = run
        try:
            with open(self.file(_LOCK)) as file:
                found = file.read(len(run))
        except OSError:
            found = ""
        if found != run:
            raise UsageError(
                f"checkpoint is {self.given!r}, which is not the same folder on all hosts: name "
                "one that all ranks see."
            )

    def release(self) -> None:
        """Let other jobs work here."""
        if self._lock_fd >= 0:
            fd, self._lock_fd = self._lock_fd, -1
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)

    def sets(self) -> list[int]:
        """The numbers of all sets, the newest first.

        Raises
        ------
        OutputError
            If the folder cannot be listed.
        """
        found = [_SET.fullmatch(name) for name in self._names()]
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def manifest(self, number: int) -> Manifest:
        """Read the manifest of a set, and see that its files are there.

        Raises
        ------
        Unusable
        """
        try:
            with open(self.file(_name_of(number)), "rb") as file:
                manifest = Manifest.from_bytes(file.read())
        except OSError as error:
            raise Unusable(f"its manifest cannot be read ({error.strerror})") from error
        for member in manifest.members:
            if not member.name:
                continue
            if not _RANK.fullmatch(member.name):
                raise Unusable(f"its manifest names {member.name!r}, which no rank has written")
            try:
                size = os.stat(self.file(member.name)).st_size
            except OSError as error:
                raise Unusable(f"its file {member.name} is missing ({error.strerror})") from error
            if size != member.size:
                raise Unusable(
                    f"its file {member.name} is half-written or corrupted: it has {size} bytes "
                    f"of {member.size}"
                )
        return manifest

    def commit(self, manifest: Manifest) -> None:
        """Let a set be there, and remove what only older sets than the last two name.

        Raises
        ------
        OSError
        """
        self.write(_name_of(manifest.number), manifest.to_bytes())
        with contextlib.suppress(OutputError):
            for number in self.sets()[_KEPT:]:
                self._remove(_name_of(number))

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, which has its name once it is on the disk.

        Raises
        ------
        OSError
        """
        file = TemporaryFile(self.file(name))
        try:
            file.write(content)
            file.complete()
            file.publish()
        finally:
            file.discard()

    def remove(self, name: str) -> None:
        """Remove a file of a rank that no set names."""
        self._remove(name)

    def drop(self, number: int) -> None:
        """Remove a set that is of no use."""
        self._remove(_name_of(number))

    def drop_marker(self) -> None:
        """Remove the marker of a job that is complete.

        Raises
        ------
        OutputError
            If it cannot be removed: a later run would take its job for complete.
        """
        try:
            os.unlink(self.file(COMPLETE))
        except OSError as error:
            raise OutputError(
                f"{self.given}: {COMPLETE}, which tells of another job, cannot be removed "
                f"({error.strerror}). Remove it, or name another folder."
            ) from error

    def named_by_last(self) -> list[set[str]]:
        """The files that the last two sets name, those of the older one first."""
        named: list[set[str]] = []
        for number in self.sets()[:_KEPT]:
            with contextlib.suppress(Unusable):
                named.insert(0, self.manifest(number).names)
        return [set() for _ in range(_KEPT - len(named))] + named

    def tidy(self) -> None:
        """Remove files of ranks that no set names. Only while no rank writes any."""
        named = set()
        for number in self.sets():
            with contextlib.suppress(Unusable):
                named |= self.manifest(number).names
        for name in self._names():
            if _RANK.fullmatch(name) and name not in named:
                self._remove(name)

    def clear(self) -> None:
        """Remove all sets and all files of ranks, if it can. Only while no rank writes any."""
        with contextlib.suppress(OutputError):
            for number in self.sets():  # first, so that no set ever lacks a file
                self._remove(_name_of(number))
            for name in self._names():
                if _RANK.fullmatch(name):
                    self._remove(name)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.path)
        except OSError as error:
            raise OutputError(
                f"{self.given}: this folder of checkpoints cannot be listed ({error.strerror})."
            ) from error

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self.file(name))

    def _lock(self) -> None:
        """Wait a little for a job that is ending: one that was killed holds the lock till then."""
        end = time.monotonic() + LIMITS.folder_lock_s
        while True:
            try:
                return fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    break
                time.sleep(0.05)
            except OSError:  # a file system without locks
                return None
        who = os.pread(self._lock_fd, 200, 0).decode(errors="replace").strip()
        os.close(self._lock_fd)
        self._lock_fd = -1
        raise UsageError(
            f"checkpoint is {self.given!r}, where another job is at work "
            f"({who.partition(' ')[2] or 'it has just begun'}). Wait for its end, or name another "
            "folder."
        )


def _name_of(number: int) -> str:
    return f"set-{number:06d}.json"
