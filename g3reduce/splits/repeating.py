"""Making coadds again from what their ledgers say."""

from __future__ import annotations

import graphlib
import heapq
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spt3g import core

from ..errors import InputError, UsageError
from ..g3files.frames import Fingerprint
from ..g3files.names import SUFFIXES, check_file, is_stream
from ..maps.mapfile import frames_of
from ..pipeline.entries import Entry
from ..pipeline.ledger import Ledger
from ..pipeline.ledgerframe import DIFFERENCE, ledger_in
from ..pipeline.originals import KnownFiles
from ..pipeline.units import Unit, fingerprint_of, set_unit, unit_of
from ..spt3gtypes import Frame
from .facts import MapFacts
from .plan import Group, Plan
from .words import listed, natural

# The key under which coadds have the record of their split.
RECORD = "Split"


@dataclass(frozen=True)
class Repetition:
    """What makes coadds again.

    Attributes
    ----------
    files : list of str
        The files of all maps in them, in order.
    assign : Plan
        Which map goes to which coadds, with which sign, as the ledgers have it: the argument
        `assign`. Maps that are in none of them go to none. A map that has changed since, or with
        `coadd_files` one that is not there, is an error.
    """

    files: list[str]
    assign: Plan

    def require_all(self, ledger: Ledger) -> None:
        """Refuse a result that lacks a map of the coadds that were to be made again.

        Parameters
        ----------
        ledger : Ledger
            That of all coadds: ``coadds.ledger``.

        Raises
        ------
        InputError
        """
        units = (entry.read or entry.unit for entry in ledger.entries)
        self.assign.require_all(unit for unit in units if unit is not None)


def repeat(
    coadds: str | os.PathLike[str] | Mapping[str, Frame] | Iterable[Frame],
    *,
    files: Sequence[str | os.PathLike[str]] | None = None,
    read: Callable[[str], Iterable[Frame]] | None = None,
) -> Repetition:
    """What makes coadds again, of the same maps with the same signs, from their ledgers alone.

    The other arguments (`weighted`, `pol_conv`, `nonfinite`, `reproducible`) are not in the ledger:
    give them again.

    Parameters
    ----------
    coadds : path, mapping of str to G3Frame, or iterable of G3Frame
        A file of coadds, or their frames.
    files : sequence of path, optional
        Where the maps are now, if their files were moved: they are found by their content.
        Default: the files that the ledgers name, looked for beside the coadds, then here.
    read : callable, optional
        What reads the Map frames of a file: `g3reduce.formats.map_frames_in`, if any is FITS or
        HDF5. Default: .g3 files are read.

    Returns
    -------
    Repetition

    Raises
    ------
    InputError
        If a ledger does not say what is needed, or a file is not there.

    Examples
    --------
    >>> again = repeat("coadds.g3")  # doctest: +SKIP
    >>> coadd_files(again.files, "again.g3", assign=again.assign)  # doctest: +SKIP
    """
    file = os.fspath(coadds) if isinstance(coadds, str | os.PathLike) else None
    read = read or _frames_of_g3
    frames = _verified(coadds) if file is None else read(file)
    found = _Ledgers(file)
    for number, frame in enumerate(frames):
        found.take(frame, f"{file}, coadd {number}" if file else f"coadd {number}")
    if not found.maps:
        raise InputError(f"{file or 'the frames'}: there is no coadd in it that could be repeated.")
    maps, named = list(found.maps.values()), found.files()
    if files is not None:
        named = [os.fspath(name) for name in files]
        maps = _found_in(named, maps, read)
    elif missing := [name for name in named if not os.path.exists(name)]:
        raise InputError(
            f"{file or 'the coadds'}: {len(missing)} of {len(named)} files of its maps are not "
            f"there: {listed(missing)}. If they were moved, name all: files=[...], or IN."
        )
    return Repetition(named, Plan(maps, found.groups(), f"again as {file}", repeats=True))


def _found_in(
    files: Sequence[str], maps: Sequence[MapFacts], read: Callable[[str], Iterable[Frame]]
) -> list[MapFacts]:
    """The same maps as they are in these files now, found by the checksums of their frames.

    Raises
    ------
    InputError
        If one is in none of them.
    """
    places: dict[Fingerprint | None, deque[tuple[str, int]]] = defaultdict(deque)
    for name in files:
        for frame in read(name):
            unit = unit_of(frame)
            if unit is not None and unit.fingerprint is not None:
                places[unit.fingerprint].append((name, unit.index))
    moved, missing = [], []
    for one in maps:
        found = places.get(one.fingerprint)
        if found:  # where there are copies, each is one of them
            file, index = found.popleft()
            moved.append(one._replace(file=file, frame=index))
        else:
            missing.append(one.where)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(maps)} maps are in none of the {len(files)} files that were "
            f"named: {listed(missing)}. They are looked for by the checksums of their frames."
        )
    return moved


class _Ledgers:
    """What the ledgers of coadds say together.

    Parameters
    ----------
    file : str or None
        The file in which the coadds are.

    Attributes
    ----------
    maps : dict
        What is known of each map, by its file and frame.
    """

    def __init__(self, file: str | None):
        self._file = file
        self._files = KnownFiles()
        self.maps: dict[tuple[str, int], MapFacts] = {}
        self._signs: dict[str, dict[tuple[str, int], int]] = {}
        self._records: dict[str, dict[str, str]] = {}

    def take(self, frame: Frame, where: str) -> None:
        """Take up the ledger of a coadd.

        Raises
        ------
        InputError
            If it does not say what is needed.
        """
        name = frame.get("Id", None)
        if not isinstance(name, str) or not name:
            raise InputError(f"{where}: a coadd without an Id, so it cannot be named again.")
        if name in self._signs:
            raise InputError(
                f"{where}: a second coadd is named {name!r}, so one of them cannot be made again "
                "together with the other. Repeat them from files of their own."
            )
        where = f"{where} (Id {name!r})"
        if DIFFERENCE in frame:
            raise InputError(
                f"{where} is a half difference, which is no sum of what its ledger lists. Repeat "
                "the coadds that it was made of, and make their difference."
            )
        ledger = ledger_in(frame, where)
        if ledger is None or not ledger.entries:
            raise InputError(
                f"{where} has no ledger, so it is not known what it was made of: it is no coadd of "
                "g3reduce, or somebody has dropped its key 'Ledger'."
            )
        signs = self._signs[name] = {}
        for entry in ledger.entries:
            place = self._place_of(entry, where)
            if place in signs:
                raise InputError(
                    f"{where}: {entry} was counted twice, which cannot be repeated: a map goes to "
                    "a coadd once."
                )
            signs[place] = entry.sign
        self._records[name] = _record_in(frame, where)

    def files(self) -> list[str]:
        """The files of all maps, in an order that is that of every ledger."""
        before: dict[str, set[str]] = {}
        for signs in self._signs.values():
            latest = ""
            for name in dict.fromkeys(file for file, _ in signs):
                before.setdefault(name, set()).update({latest} - {""})
                latest = name
        order = graphlib.TopologicalSorter(before)
        try:
            order.prepare()
        except graphlib.CycleError:  # ledgers of different runs: any order is as good
            return list(before)
        found: list[str] = []
        ready: list[Any] = []
        while order.is_active():
            for name in order.get_ready():
                heapq.heappush(ready, (natural(name), name))
            found.append(heapq.heappop(ready)[1])
            order.done(found[-1])
        return found

    def groups(self) -> Iterator[Group]:
        """The coadds, with those that are sign flips of others beside them."""
        numbers = {place: number for number, place in enumerate(self.maps)}
        flips: dict[str, list[str]] = {name: [] for name in self._signs}
        for name, signs in self._signs.items():
            base = self._records[name].get("base", "")
            theirs = self._signs.get(base, {})
            if base != name and signs.keys() == theirs.keys() and {*theirs.values()} == {1}:
                flips[base].append(name)
        beside = {name for names in flips.values() for name in names}
        for name, signs in self._signs.items():
            if name in beside:
                continue
            names = (name, *flips[name])
            of_all = [[self._signs[one][place] for place in signs] for one in names]
            yield Group(
                name,
                [numbers[place] for place in signs],
                own=np.array(of_all[0], np.int8),
                flips=tuple(flips[name]),
                signs=np.array(of_all[1:], np.int8).reshape(-1, len(signs)),
                records={one: self._records[one] for one in names},
            )

    def _place_of(self, entry: Entry, where: str) -> tuple[str, int]:
        unit = entry.unit
        if unit is None or unit.index < 0:
            raise InputError(
                f"{where}: {entry} cannot be found again, because the ledger does not say which "
                "frame of which file it was: it was made in a pipeline, or read by another reader "
                "than those of g3reduce."
            )
        if is_stream(unit.file):
            raise InputError(f"{where}: {unit} came from a stream, which cannot be read again.")
        place = self._files.listed(unit.file, self._file).name, unit.index
        known = self.maps.get(place)
        if known is not None and known.fingerprint != unit.fingerprint:
            raise InputError(
                f"{where}: {unit} is another map than it was for a coadd before, so both cannot be "
                "made again."
            )
        self.maps[place] = MapFacts(
            *place,
            map_id=entry.map_id,
            observation=entry.observation,
            weight=entry.weight,
            fingerprint=unit.fingerprint,
        )
        return place


def _frames_of_g3(file: str) -> Iterator[Frame]:
    """The Map frames of a .g3 file."""
    if not is_stream(file) and not file.endswith(SUFFIXES):
        raise UsageError(
            f"{file} is no .g3 file by its name; of FITS and HDF5 say repeat(..., "
            "read=g3reduce.formats.map_frames_in)."
        )
    check_file(file)
    for index, frame in enumerate(frames_of(file)):
        if frame.type == core.G3FrameType.Map:
            set_unit(frame, Unit(file, index, fingerprint=fingerprint_of(frame)))
            yield frame


def _verified(coadds: Any) -> Iterator[Frame]:
    for frame in coadds.values() if isinstance(coadds, Mapping) else coadds:
        if getattr(frame, "type", None) != core.G3FrameType.Map:
            raise UsageError(f"coadds has {frame!r}; expected the name of a file, or Map frames.")
        yield frame


def _record_in(frame: Frame, where: str) -> dict[str, str]:
    value = frame.get(RECORD, None)
    if value is None:
        return {}
    if not isinstance(value, core.G3MapString):
        raise InputError(f"{where}: {RECORD} is a {type(value).__name__}; expected a G3MapString.")
    return {key: value[key] for key in value.keys()}  # noqa: SIM118 (spt3g's own)
