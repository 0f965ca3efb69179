"""The memory that ranks take while they work, looked at from outside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .onranks import rows_from_ranks
from .rows import Row

MIB = 2**20
MEMORY_OF = "/proc/{}/smaps_rollup"
BETWEEN_LOOKS = 0.002  # seconds


def can_look() -> bool:
    """Whether the kernel tells the memory of a process (Linux)."""
    return os.path.exists(MEMORY_OF.format("self"))


def while_looked_at(comm: Any, folder: str, work: Callable[[], object]) -> None:
    """Work, and say when it begins and ends to `peaks_of`, which looks from outside."""
    before = Memory.of(os.getpid())
    note = Path(folder) / f"rank{comm.rank}.json"
    fresh = note.with_suffix(".new")
    fresh.write_text(json.dumps([os.getpid(), before.anonymous, before.shared]))
    fresh.rename(note)  # whole, for those who look
    comm.Barrier()
    time.sleep(5 * BETWEEN_LOOKS)
    result = work()
    comm.Barrier()
    note.unlink()
    del result


class Memory:
    """Bytes of a process that are its own, and its part of those that it shares with others."""

    def __init__(self, anonymous: int, shared: int):
        self.anonymous = anonymous
        self.shared = shared

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Of a process, now. A page that k processes map counts 1/k for each of them."""
        fields = {}
        with open(MEMORY_OF.format(pid)) as lines:
            for line in lines:
                name, value, *rest = line.split()
                if rest == ["kB"]:
                    fields[name] = int(value) * 1024
        return cls(fields["Anonymous:"], fields["Pss_Shmem:"])

    @property
    def total(self) -> int:
        """Both."""
        return self.anonymous + self.shared

    def above(self, other: Memory) -> Memory:
        """The difference."""
        return Memory(self.anonymous - other.anonymous, self.shared - other.shared)

    def in_mib(self) -> Row:
        """As a part of a row."""
        return {
            "MiB": self.total / MIB,
            "anonymous MiB": self.anonymous / MIB,
            "shared MiB": self.shared / MIB,
        }


def peaks_of(
    n_ranks: int, function: Callable[..., list[Row]], folder: Path, **arguments: Any
) -> list[Memory]:
    """The greatest memory of each rank above what it had before `while_looked_at`.

    It is looked at from outside, because no thread of a rank runs while spt3g adds maps.

    Parameters
    ----------
    n_ranks : int
    function : callable
        At the top level of a module: ``function(comm, folder=folder, **arguments)`` calls
        `while_looked_at`.
    folder : Path
        For notes.
    **arguments
    """
    peaks: dict[int, Memory] = {}

    def look() -> None:
        for note in folder.glob("rank*.json"):
            rank = int(note.stem.removeprefix("rank"))
            try:
                pid, *before = json.loads(note.read_text())
                now = Memory.of(pid).above(Memory(*before))
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            if rank not in peaks or now.total > peaks[rank].total:
                peaks[rank] = now
        time.sleep(BETWEEN_LOOKS)

    rows_from_ranks(n_ranks, function, meanwhile=look, folder=str(folder), **arguments)
    return [peaks[rank] for rank in range(n_ranks)]
