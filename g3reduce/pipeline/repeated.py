"""Observations that came from several files: the same Id of them, with other content.

An observation may be in several files by design, or because it was made twice. Which, nobody can
know here, so that by default it is said, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import DuplicateError
from .alike import with_keys_in_common
from .entries import Entry

_SHOWN = 2


class Repeated(NamedTuple):
    """A map of an observation that came from several files.

    Attributes
    ----------
    observation, map_id : str
    files : tuple of str
        The first two of them.
    """

    observation: str
    map_id: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        of = f" (Id {self.map_id!r})" if self.map_id else ""
        return f"{self.observation}{of} from {' and '.join(self.files)}"


def repeated_in(entries: Iterable[Entry]) -> list[Repeated]:
    """The maps of observations that came from several files, in the order in which they came.

    Frames of the same content do not count: what they are is told otherwise.
    """
    first: dict[tuple[str, str], Entry] = {}
    found: dict[tuple[str, str], Repeated] = {}
    maps = [one for one in entries if one.observation and not one.is_coadd and one.file]
    (alike,) = with_keys_in_common([maps], lambda one: [(one.observation, one.map_id)])
    for entry in map(maps.__getitem__, alike):
        key = entry.observation, entry.map_id
        if key in found:
            continue
        other = first.setdefault(key, entry)
        if not _have_same_file(entry, other) and not _have_same_content(entry, other):
            files = tuple(one.file.name for one in (other, entry) if one.file)
            found[key] = Repeated(*key, files)
    return list(found.values())


def message_of(repeated: Sequence[Repeated]) -> str:
    """The line about maps of observations that came from several files."""
    shown = "; ".join(map(str, repeated[:_SHOWN]))
    more = f"; and {len(repeated) - _SHOWN} more" if len(repeated) > _SHOWN else ""
    one = len(repeated) == 1
    maps = "1 map of an observation was" if one else f"{len(repeated)} maps of observations were"
    return f"{maps} counted from several files, with other content in each: {shown}{more}."


def refuse_repeated_observations(repeated: Sequence[Repeated]) -> None:
    """Refuse them.

    Raises
    ------
    DuplicateError
    """
    if repeated:
        raise DuplicateError(
            f"{message_of(repeated)} Leave out what is not to count, or say "
            'same_observation="sum" if all of it is.'
        )


def _have_same_file(one: Entry, other: Entry) -> bool:
    if one.file is None or other.file is None:
        return False
    if one.file.keys and other.file.keys:
        return not {*one.file.keys}.isdisjoint(other.file.keys)
    return one.file.name == other.file.name


def _have_same_content(one: Entry, other: Entry) -> bool:
    return one.fingerprint is not None and one.fingerprint == other.fingerprint
