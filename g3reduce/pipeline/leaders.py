"""The metadata at the head of the files of a parallel block, merged into one sequence.

Planning is pure: it works on names, types and digests of frames, without MPI and without files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import MismatchError

# Every pipeline adds one of these, stamped with its time: they are joined, not compared.
JOINED = "PipelineInfo"

# So many keys that differ are named in a message.
_MAX_KEYS = 5


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
