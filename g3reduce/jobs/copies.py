"""Files that repeat what is in files before them: found by the rules of the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..pipeline.ledger import Entry
from ..pipeline.overlap import Index, Overlap
from ..pipeline.repeated import repeated_in
from .examining import Examined, FoundFrame


class Copy(NamedTuple):
    """A file with frames that would be counted twice.

    Attributes
    ----------
    fault : str
        In a few words, which file has them, too.
    whole : bool
        Whether all its frames are in files before it, so that nothing is lost without it.
    """

    fault: str
    whole: bool


def copies_among(files: Sequence[Examined]) -> dict[int, Copy]:
    """The files that repeat what is in files before them, by their numbers.

    Files that are bad for another reason do not count. The contents of files may be compared.
    """
    indices: dict[str, Index] = {}
    found = {}
    for number, file in enumerate(files):
        if file.is_bad:
            continue
        overlaps = [one for frame in file.frames for one in _overlaps_of(frame, indices)]
        first = next(filter(None, overlaps), None)
        if first is not None:
            whole = all(one is not None and one.whole for one in overlaps)
            found[number] = Copy(_fault(file.name, first), whole)
            continue
        for frame in file.frames:
            for name in frame.coadds:
                for entry in frame.counted.entries:
                    indices.setdefault(name, Index()).add(entry)
    return found


def tell_of_repeated_observations(files: Sequence[Examined], *, ends_it: bool) -> None:
    """Tell of files with an observation that is in files before them, with other content."""
    entries: dict[str, list[Entry]] = {}
    for file in files:
        for frame in file.frames:
            for name in frame.coadds:
                entries.setdefault(name, []).extend(frame.counted.entries)
    told = set()
    for listed in entries.values():
        for one in repeated_in(listed):
            first, second = one.files
            if (one.observation, second) not in told:
                told.add((one.observation, second))
                fault = f"{one.observation} is also in {first}, with other content"
                for file in files:
                    if file.name == second:
                        file.tell(fault, ends_it=ends_it, message=f"{second}: {fault}.")


def _overlaps_of(frame: FoundFrame, indices: dict[str, Index]) -> Iterator[Overlap | None]:
    """Of each entry of a frame, whether it overlaps with what is in any of its coadds."""
    mine = [indices[name] for name in frame.coadds if name in indices]
    for entry in frame.counted.entries:
        yield next(filter(None, (index.find(entry) for index in mine)), None)


def _fault(name: str, overlap: Overlap) -> str:
    unit = overlap.entry.read
    other = unit.file if unit else str(overlap.entry)
    if overlap.common and not overlap.whole:
        return f"{overlap.common} is in {other}, too"
    if overlap.entry.inside:
        return f"is in {other} already"
    return "named twice" if other == name else f"the same as {other}"
