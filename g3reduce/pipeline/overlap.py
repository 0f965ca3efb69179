"""Overlaps: counted frames that hold the same observation. The rule, and an index to find them.

A frame is a single map, or a coadd, which lists the Ids (``InputMapIds``) and the files
(``InputFiles``) that are in it. Two frames overlap

* if they are the same frame of the same file;
* if one of them is a coadd, the files of both are known, and they have a file and an Id in common;
* if one of them is a coadd, the files of one are not known, because it lists none or its names
  can no longer be found, and they have an Id in common that names an observation
  (``SourceName/ObservationID/Id``).

Two coadds that list no files, and Ids that name no observations, cannot be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .units import Entry


class Overlap(NamedTuple):
    """An entry that was counted before, and what it has in common with another one.

    Attributes
    ----------
    entry : Entry
    rank : int
        The rank that counted it.
    common : str
        What they have in common; empty if they are the same frame.
    """

    entry: Entry
    rank: int
    common: str = ""


class _Counted(NamedTuple):
    entry: Entry
    rank: int


class Index:
    """An index of counted entries, which finds the one that overlaps with another entry."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, int], _Counted] = {}
        # By the key of a file: the single maps from it, by Id, and the coadds that list it.
        self._maps: dict[str, dict[str, _Counted]] = {}
        self._coadds: dict[str, list[_Counted]] = {}
        # By Ids that name observations: all coadds, and one single map from each file.
        self._observed: dict[str, dict[object, _Counted]] = {}

    def add(self, entry: Entry, rank: int = 0) -> None:
        """Add an entry."""
        counted = _Counted(entry, rank)
        for frame in entry.frames:
            self._frames.setdefault(frame, counted)
        for file in entry.originals:
            for key in file.keys:
                if entry.is_coadd:
                    self._coadds.setdefault(key, []).append(counted)
                else:
                    maps = self._maps.setdefault(key, {})
                    for name in entry.map_ids or ("",):
                        maps.setdefault(name, counted)
        for name in filter(_names_observation, entry.map_ids):
            kind = id(counted) if entry.is_coadd else entry.originals
            self._observed.setdefault(name, {}).setdefault(kind, counted)

    def find(self, entry: Entry) -> Overlap | None:
        """The first counted entry that overlaps with this one."""
        for frame in entry.frames:
            if frame in self._frames:
                return Overlap(*self._frames[frame])
        return self._by_file(entry) or self._by_observation(entry)

    def _by_file(self, entry: Entry) -> Overlap | None:
        compared = set()
        for file in entry.originals:
            for key in file.keys:
                for other in self._coadds.get(key, ()):
                    if id(other) in compared:
                        continue
                    compared.add(id(other))
                    if (name := common_id(entry.map_ids, other.entry.map_ids)) is not None:
                        return Overlap(*other, _with_id(file.name, name))
                if entry.is_coadd and (maps := self._maps.get(key)):
                    name = common_id(maps, entry.map_ids)
                    if name is not None:
                        other = maps[name] if name in maps else next(iter(maps.values()))
                        return Overlap(*other, _with_id(file.name, name))
        return None

    def _by_observation(self, entry: Entry) -> Overlap | None:
        for name in entry.map_ids:
            for other in self._observed.get(name, {}).values():
                if (entry.is_coadd or other.entry.is_coadd) and _may_share(entry, other.entry):
                    return Overlap(*other, f"the observation {name!r}")
        return None


def _may_share(one: Entry, other: Entry) -> bool:
    """Whether two entries, of which no common file is known, may have one all the same."""
    if not (one.names_files and other.names_files):
        return True
    if all(file.keys for entry in (one, other) for file in entry.originals):
        return False
    return not {file.short for file in one.originals}.isdisjoint(
        file.short for file in other.originals
    )


def doubtful(entries: Sequence[Entry]) -> tuple[str, Entry, Entry] | None:
    """The first two entries that may have a file in common, though this cannot be known.

    Returns
    -------
    (str, Entry, Entry) or None
        The name of the file, and the two.
    """
    unknown: dict[str, list[int]] = {}
    for number, entry in enumerate(entries):
        for file in entry.originals:
            if not file.keys:
                unknown.setdefault(file.short, []).append(number)
    if not unknown:
        return None
    for number, entry in enumerate(entries):
        for file in entry.originals:
            for other in unknown.get(file.short, ()):
                shared = common_id(entries[other].map_ids, entry.map_ids)
                if other != number and shared is not None:
                    first, second = sorted((number, other))
                    return file.short, entries[first], entries[second]
    return None


def common_id(some: Iterable[str], others: Iterable[str]) -> str | None:
    """The first of `some` Ids that is also among the `others`; None if there is none.

    An Id with an observation in front is the same as that without one. If one side has no Ids, any
    may be in common, and the empty string is returned.
    """
    some, others = list(some), list(others)
    if not some or not others or "" in some or "" in others:
        return ""
    whole = set(others)
    ends = {end for name in others for end in _ends(name)}
    for name in some:
        if name in ends or any(end in whole for end in _ends(name)):
            return name
    return None


def _ends(name: str) -> Iterator[str]:
    """An Id, and the same without its observation, if it begins with one."""
    yield name
    if _names_observation(name):
        yield name.split("/", 2)[2]


def _names_observation(name: str) -> bool:
    return name.count("/") >= 2


def _with_id(file: str, name: str) -> str:
    return f"{file} (Id {name!r})" if name else file
