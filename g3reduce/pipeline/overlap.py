"""Overlaps: counted frames that hold the same observation. The rule, and an index to find them.

A frame is a single map, read by itself or listed in the ledger of a coadd, or it is a coadd that
lists only the Ids (``InputMapIds``) and the files (``InputFiles``) that are in it. Two frames
overlap

* if they are the same frame of the same file;
* if they have the same content, though they lie in different files;
* if one of them is such a coadd, the files of both are known, and they have a file and an Id in
  common;
* if one of them is or was in a coadd, the files of one are not known, because it lists none or its
  names can no longer be found, and they have an Id in common that names an observation
  (``SourceName/ObservationID/Id``).

Two coadds that list no files, and Ids that name no observations, cannot be compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..g3files.frames import Fingerprint
from .alike import with_keys_in_common
from .entries import Entry
from .samecontent import have_same_content


class Overlap(NamedTuple):
    """An entry that was counted before, and what it has in common with another one.

    Attributes
    ----------
    entry : Entry
    rank : int
        The rank that counted it.
    common : str
        What they have in common; empty if the same frame was read twice, or `same_content`.
    same_content : bool
        Whether they are frames of different files that have the same content.
    whole : bool
        Whether they are one and the same, so that nothing is lost without one of them.
    """

    entry: Entry
    rank: int
    common: str = ""
    same_content: bool = False
    whole: bool = False


class _Counted(NamedTuple):
    entry: Entry
    rank: int


class Index:
    """An index of counted entries, which finds the one that overlaps with another entry."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, int], _Counted] = {}
        self._contents: dict[Fingerprint, list[_Counted]] = {}
        # By the key of a file: the single maps from it, by Id, and the coadds that list it.
        self._maps: dict[str, dict[str, list[_Counted]]] = {}
        self._coadds: dict[str, list[_Counted]] = {}
        # By Ids that name observations: all coadds, and one single map from each file.
        self._observed: dict[str, dict[object, _Counted]] = {}

    def add(self, entry: Entry, rank: int = 0) -> None:
        """Add an entry."""
        counted = _Counted(entry, rank)
        for frame in entry.frames:
            self._frames.setdefault(frame, counted)
        if (fingerprint := entry.fingerprint) is not None:
            self._contents.setdefault(fingerprint, []).append(counted)
        for file in entry.originals:
            for key in file.keys:
                if entry.is_coadd:
                    self._coadds.setdefault(key, []).append(counted)
                else:
                    maps = self._maps.setdefault(key, {})
                    for name in entry.map_ids or ("",):
                        _add_kind(maps.setdefault(name, []), counted)
        for name in filter(_names_observation, entry.map_ids):
            kind = id(counted) if entry.is_coadd else (entry.originals, entry.inside)
            self._observed.setdefault(name, {}).setdefault(kind, counted)

    def find(self, entry: Entry) -> Overlap | None:
        """The first counted entry that overlaps with this one."""
        for frame in entry.frames:
            if (other := self._frames.get(frame)) and not _was_replaced(entry, other.entry):
                return Overlap(*other, _shared(entry, other.entry), whole=True)
        return self._by_content(entry) or self._by_file(entry) or self._by_observation(entry)

    def _by_content(self, entry: Entry) -> Overlap | None:
        if (fingerprint := entry.fingerprint) is None:
            return None
        for other in self._contents.get(fingerprint, ()):
            if have_same_content(entry, other.entry):
                if entry.inside or other.entry.inside:
                    return Overlap(*other, _shared(entry, other.entry), whole=True)
                return Overlap(*other, same_content=True, whole=True)
        return None

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
                if found := self._among_maps(entry, self._maps.get(key, {})):
                    name, counted = found
                    return Overlap(*counted, _with_id(file.name, name))
        return None

    def _among_maps(
        self, entry: Entry, maps: dict[str, list[_Counted]]
    ) -> tuple[str, _Counted] | None:
        """A single map of the same file that is to be compared by its Id, and has one in common."""
        if not maps or (name := common_id(maps, entry.map_ids)) is None:
            return None
        others = maps[name] if name in maps else [one for some in maps.values() for one in some]
        for other in others:
            if entry.is_coadd or _compared_by_id(entry, other.entry):
                return name, other
        return None

    def _by_observation(self, entry: Entry) -> Overlap | None:
        for name in entry.map_ids:
            for other in self._observed.get(name, {}).values():
                if _from_coadd(entry, other.entry) and _may_share(entry, other.entry):
                    return Overlap(*other, f"the observation {name!r}")
        return None


def to_be_compared(groups: Sequence[Sequence[Entry]]) -> list[Sequence[Entry]]:
    """The entries of each group that may overlap with one of any: most can be ruled out at once.

    Single maps that were read themselves overlap only if they have a frame or its checksum in
    common. An `Index` of all takes a kilobyte for each.
    """
    if any(entry.is_coadd or entry.inside for group in groups for entry in group):
        return list(groups)
    found = with_keys_in_common(groups, _keys_of)
    return [[group[at] for at in there] for group, there in zip(groups, found, strict=True)]


def _keys_of(entry: Entry) -> Iterator[object]:
    yield from entry.frames
    if (fingerprint := entry.fingerprint) is not None:
        yield fingerprint


def _add_kind(counted: list[_Counted], one: _Counted) -> None:
    """Keep one entry of each kind that `_compared_by_id` tells apart."""
    kinds = {(other.entry.inside, other.entry.counted) for other in counted}
    if (one.entry.inside, one.entry.counted) not in kinds:
        counted.append(one)


def _compared_by_id(one: Entry, other: Entry) -> bool:
    """Whether single maps of a file are to be told apart by Id, because their numbers are not."""
    return (one.inside or other.inside) and not (one.counted and other.counted)


def _from_coadd(one: Entry, other: Entry) -> bool:
    return one.is_coadd or one.inside or other.is_coadd or other.inside


def _was_replaced(one: Entry, other: Entry) -> bool:
    """Whether one name of a file stands for two observations: it was written anew in between."""
    if not (one.inside or other.inside) or one.fingerprint == other.fingerprint:
        return False
    if None in (one.fingerprint, other.fingerprint):
        return False
    return bool(one.observation and other.observation) and one.observation != other.observation


def _shared(one: Entry, other: Entry) -> str:
    """What two entries that are the same frame have in common; empty if it was read twice."""
    if not (one.inside or other.inside) or (one.inside and one.read and one.read == other.read):
        return ""
    return _with_id(one.unit.file, one.map_id) if one.unit else ""


def _may_share(one: Entry, other: Entry) -> bool:
    """Whether two entries, of which no common file is known, may have one all the same."""
    if not (one.names_files and other.names_files):
        return True
    if all(file.keys for entry in (one, other) for file in entry.originals):
        return False
    if _known_to_differ(one, other):
        return False
    return not {file.short for file in one.originals}.isdisjoint(
        file.short for file in other.originals
    )


def _known_to_differ(one: Entry, other: Entry) -> bool:
    """Whether these are maps whose contents are known: if they were the same, it would be known."""
    maps = not (one.is_coadd or other.is_coadd)
    return maps and one.fingerprint is not None and other.fingerprint is not None


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
            for place in unknown.get(file.short, ()):
                other = entries[place]
                if place == number or _known_to_differ(entry, other):
                    continue
                if common_id(other.map_ids, entry.map_ids) is not None:
                    first, second = sorted((number, place))
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
