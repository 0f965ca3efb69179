"""How much memory there is for each rank, as its node and its control group say."""

from __future__ import annotations

import os
import socket
from collections import Counter
from pathlib import Path

from .agreement import from_all
from .communicators import Comm

_ROOT = Path("/")


def available_for_each(comm: Comm) -> int | None:
    """Bytes of memory that are available for each rank, where they are least. Collective.

    Ranks share what their node has, or their control group (that of a batch job, or a container).

    Returns
    -------
    int or None
        None if no rank can know it.
    """
    everywhere = from_all(comm, lambda: (socket.gethostname(), available()))
    on_host = Counter(host for host, _ in everywhere)
    found = [size // on_host[host] for host, size in everywhere if size is not None]
    return min(found, default=None)


def available(root: Path = _ROOT) -> int | None:
    """Bytes of memory that are available to this process; None if that is not known.

    Parameters
    ----------
    root : Path
        The folder in which ``proc`` and ``sys`` are.
    """
    found = (_of_node(root / "proc"), _of_group(root / "proc", root / "sys/fs/cgroup"))
    return min((size for size in found if size is not None), default=None)


def peak(root: Path = _ROOT) -> int | None:
    """The most bytes of memory that this process ever had; None if that is not known.

    Parameters
    ----------
    root : Path
        The folder in which ``proc`` is.
    """
    # What the system calls the maximum of a process would count that of its parent, too.
    for line in _text(root / "proc/self/status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _of_node(proc: Path) -> int | None:
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _of_group(proc: Path, groups: Path) -> int | None:
    """What is left of the limits of the control group, and of those that it is in.

    Inside of a container the group may have a path that is not there: then what limits the
    container is at the top.
    """
    found = []
    for line in _text(proc / "self/cgroup").splitlines():
        number, kinds, path = line.split(":", 2)
        if number == "0" and not kinds:  # version 2
            top, names = groups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):  # version 1
            top = groups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = top / path.lstrip("/")
        for each in (folder, *folder.parents):
            limit, used = _number(each / names[0]), _number(each / names[1])
            if limit is not None and used is not None:
                found.append(max(0, limit - used + _cached(each, names[2])))
            if each == top:
                break
    return min(found, default=None)


def _cached(folder: Path, name: str) -> int:
    """Bytes of files in memory, which give way to what needs it."""
    for line in _text(folder / "memory.stat").splitlines():
        if line.split()[0] == name:
            return int(line.split()[1])
    return 0


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None  # "max": no limit


def _text(file: Path) -> str:
    try:
        return os.fsdecode(file.read_bytes())
    except OSError:
        return ""
