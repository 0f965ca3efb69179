"""The leaders of a parallel block: metadata at the head of its files, merged for all ranks.

Each rank reads the leaders of some of the files; digests are exchanged; all ranks make the same
plan; and the frames of the plan come from the ranks that have them. Planning is pure: `merge` works
on names, types and digests of frames, without MPI and without files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spt3g import core

from ..errors import MismatchError
from ..g3files.fileframe import FileFrame
from ..g3files.frames import digests_of
from ..mpi import communicators, transfer, waiting
from ..mpi.agreement import collectively
from ..mpi.deciding import decide_at
from ..spt3gtypes import Frame

# Every pipeline adds one of these, stamped with its time: they are joined, not compared.
JOINED = "PipelineInfo"

# So many keys that differ are named in a message.
_MAX_KEYS = 5

# Frames of one file, given its number in the block. They have units.
FramesOf = Callable[[int], Iterator[Frame]]


@dataclass(frozen=True)
class Leader:
    """One metadata frame at the head of a file.

    Attributes
    ----------
    position : int
        Which file of the block.
    index : int
        Which frame of the file.
    kind : str
        The type of the frame.
    digests : tuple of (str, str)
        Its keys in alphabetical order, each with a digest of its value.
    file : str
        The file, as messages name it.
    """

    position: int
    index: int
    kind: str
    digests: tuple[tuple[str, str], ...]
    file: str

    def __str__(self) -> str:
        return f"{self.file}, frame {self.index}"


class Conflict(MismatchError):
    """Two files lead with frames of the same type, in the same place, that are not the same.

    Parameters
    ----------
    first, second : Leader
        The frames.
    place : int
        How many frames of their type come before them in their files.
    """

    def __init__(self, first: Leader, second: Leader, place: int):
        self.first, self.second, self.place = first, second, place
        super().__init__(
            f"{first} and {second}: each is {first.kind} frame number {place + 1} of its file, but "
            f"they differ ({_difference(first, second)}), so it is not clear which of them belongs "
            "to the data of a parallel block. Read these files one after another (not in a nested "
            f"list), or count {first.kind} among the "
            "dataframetype."
        )

    def __reduce__(self) -> tuple[type[Conflict], tuple[Leader, Leader, int]]:
        return Conflict, (self.first, self.second, self.place)


def merge(leaders: Iterable[Leader]) -> list[list[Leader]]:
    """Merge the leaders of all files of a block: in list order, equal ones once.

    Frames of one type are in the same place if as many of that type come before them in their
    file.

    Parameters
    ----------
    leaders : iterable of Leader
        Of all files, in any order.

    Returns
    -------
    list of list of Leader
        For each frame that there is to see, in order, the first leader that has it; for a
        PipelineInfo frame all leaders of which it is to be joined.

    Raises
    ------
    Conflict
        If leaders contradict each other.
    """
    merged: dict[tuple[str, int], list[Leader]] = {}
    counts: dict[tuple[int, str], int] = {}
    for leader in sorted(leaders, key=lambda found: (found.position, found.index)):
        place = counts.get((leader.position, leader.kind), 0)
        counts[leader.position, leader.kind] = place + 1
        same = merged.setdefault((leader.kind, place), [])
        if not same:
            same.append(leader)
        elif leader.kind == JOINED:
            if leader.digests not in {other.digests for other in same}:
                same.append(leader)
        elif same[0].digests != leader.digests:
            raise Conflict(same[0], leader, place)
    return list(merged.values())


def _difference(first: Leader, second: Leader) -> str:
    one, two = dict(first.digests), dict(second.digests)
    parts = [
        (f"only {first.file} has", sorted(one.keys() - two.keys())),
        (f"only {second.file} has", sorted(two.keys() - one.keys())),
        ("not the same in both:", sorted(key for key in one.keys() & two if one[key] != two[key])),
    ]
    return "; ".join(f"{what} {_listed(keys)}" for what, keys in parts if keys)


def _listed(keys: list[str]) -> str:
    rest = [f"and {len(keys) - _MAX_KEYS} more keys"] if len(keys) > _MAX_KEYS else []
    return ", ".join([*map(repr, keys[:_MAX_KEYS]), *rest])


def merged_leaders(
    comm: communicators.Comm, n_files: int, frames_of: FramesOf, is_data: Callable[[Frame], bool]
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

    def merged(everywhere: Sequence[list[Leader]]) -> list[list[Leader]]:
        return merge(leader for part in everywhere for leader in part)

    plan = decide_at(comm, 0, found, merged, what="the metadata of all files to be compared")
    for same in plan:
        frame = FileFrame()
        for leader in same:
            content = _from_rank(comm, leader.position % comm.size, contents.get(leader.digests))
            if leader is same[0]:
                frame._cereal_loads(content)
            else:
                add_keys(frame, content)
        yield same[0], frame


def _scan(
    numbers: range, frames_of: FramesOf, is_data: Callable[[Frame], bool]
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


def add_keys(frame: Frame, content: bytes) -> None:
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
