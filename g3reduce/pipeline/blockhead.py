"""The head of a parallel block: the metadata that lead its files, brought to all ranks.

Each rank reads the leaders of some of the files; digests are exchanged; all ranks make the same
plan (`leaders`); and the frames of the plan come from the ranks that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from spt3g import core

from ..g3files.fileframe import FileFrame
from ..g3files.frames import digests_of
from ..mpi import communicators, transfer, waiting
from ..mpi.agreement import collectively
from .leaders import Leader, merge

# Frames of one file, given its number in the block. They have units.
FramesOf = Callable[[int], Iterator[Any]]


def merged_leaders(
    comm: communicators.Comm, n_files: int, frames_of: FramesOf, is_data: Callable[[Any], bool]
) -> Iterator[tuple[Leader, Any]]:
    """Read and merge the leaders of a block's files. Collective over `comm`.

    Yields
    ------
    Leader, spt3g.core.G3Frame
        Each frame that there is to see, and the first leader that has it. The same on all ranks.

    Raises
    ------
    Conflict
        On all ranks, if leaders contradict each other.
    """
    mine = range(comm.rank, n_files, comm.size)
    found, contents = collectively(comm, lambda: _scan(mine, frames_of, is_data))
    everywhere = [leader for part in comm.allgather(found) for leader in part]
    plan = collectively(comm, lambda: merge(everywhere))
    for same in plan:
        frame = FileFrame()
        for leader in same:
            content = _from_rank(comm, leader.position % comm.size, contents.get(leader.digests))
            if leader is same[0]:
                frame._cereal_loads(content)
            else:
                join(frame, content)
        yield same[0], frame


def _scan(
    numbers: range, frames_of: FramesOf, is_data: Callable[[Any], bool]
) -> tuple[list[Leader], dict[Any, bytes]]:
    """The leaders of some files; and, by their digests, what they are when serialized."""
    found, contents = [], {}
    for number in numbers:
        for frame in frames_of(number):
            if is_data(frame):
                break
            content = frame.__getstate__()[1]
            digests = digests_of(content)
            unit = frame.unit
            found.append(Leader(number, unit.index, str(frame.type), digests, unit.file))
            contents[digests] = content
    return found, contents


def _from_rank(comm: communicators.Comm, owner: int, content: bytes | None) -> bytes:
    if isinstance(comm, communicators.OneProcess):
        return content  # type: ignore[return-value]
    waiting.meet(comm, "the metadata of a parallel block")
    return transfer.broadcast_bytes(comm, content if comm.rank == owner else None, owner)


def join(frame: Any, content: bytes) -> None:
    """Add to a frame the keys of another one; those that mean something else get a new name."""
    other = core.G3Frame()
    other._cereal_loads(content)
    known = dict(digests_of(frame.__getstate__()[1]))
    for key, digest in digests_of(content):
        number, name = 2, key
        while known.get(name, digest) != digest:
            name, number = f"{key} ({number})", number + 1
        if name not in known:
            frame[name] = other[key]
            known[name] = digest
