"""Where the maps of a coadd come from: their files, Ids and observations."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from spt3g import core

from ..errors import InputError
from ..pipeline.ledger import Entry, Ledger, Unit, unit_of, where_of
from ..pipeline.ledgerframe import TEXTS, ledger_in
from ..pipeline.originals import KnownFiles
from ..pipeline.units import file_of
from ..spt3gtypes import Frame

# Frames that have this key say to which observation those after them belong.
OBSERVED = "SourceName"


class Provenance:
    """Keeps track of the frames that come, to say of each where it comes from.

    Parameters
    ----------
    record_obs_id : bool
        Whether Ids are to be preceded by ``SourceName/ObservationID/``.
    metadata_lasts : bool
        Whether the observation of a file counts for those after it that name none.
    """

    def __init__(self, record_obs_id: bool, metadata_lasts: bool = False):
        self._records = record_obs_id
        self._lasts = record_obs_id and metadata_lasts
        self._observation = ObservationId(strict=record_obs_id)
        self._arrived: dict[str, int] = {}
        self._latest: Unit | None = None
        self._known = KnownFiles()

    @property
    def observation(self) -> str | Literal[False] | None:
        """``SourceName/ObservationID`` of the frame that came last; None if it is not known.

        False if observations are not recorded.
        """
        if not self._records:
            return False
        return self._observation.of(self._latest) or None

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._observation.observe(frame)
        self._latest = unit_of(frame)

    def notes(self) -> list[tuple[int, int, str]]:
        """Which observation lasts over the end of each file, where metadata last.

        That is the position of the file, the number of the frame that names it, and its name.
        """
        return [(position, *end) for position, end in self.ends().items()]

    def take_up(self, notes: Iterable[Sequence[Any]]) -> None:
        """Go on from what `notes` has told of files that are not read again."""
        for position, index, name in notes:
            self._observation.at_end[int(position)] = int(index), str(name)

    def ledger_of(self, frame: Frame) -> Ledger:
        """The ledger of a map frame alone. Call this once for each frame.

        It has one entry, but for a coadd that has a ledger of its own, which lists more.
        """
        unit = self._unit_of(frame)
        ledger = ledger_in(frame, where_of(frame)) if TEXTS in frame else None
        if ledger and ledger.entries:
            listed = frozenset(_strings(frame, "InputMapIds") if "InputMapIds" in frame else ())
            entries = [entry.within(unit, self._known, listed) for entry in ledger.entries]
            return Ledger(entries, ledger.left_out)
        map_id = frame.get("Id", None)
        if not isinstance(map_id, str | None):
            raise _unexpected(frame, "Id", map_id, "a string")
        observation = ""
        if "InputMapIds" in frame:  # a coadd itself
            map_ids = _strings(frame, "InputMapIds")
        else:
            observation = self._observation.of(unit)
            prefix = f"{observation}/" if observation and self._records else ""
            map_ids = (prefix + map_id,) if map_id else ()
        inputs = None
        if "InputFiles" in frame:
            inputs = _strings(frame, "InputFiles")
        elif "InputMapIds" in frame:
            inputs = ()
        entry = Entry.of(
            *(unit, map_ids, inputs, self._known), map_id=map_id or "", observation=observation
        )
        return Ledger([entry])

    def ends(self) -> dict[int, tuple[int, str]]:
        """What `completed` is to know of the files that were read here, if metadata last."""
        return self._observation.at_end if self._lasts else {}

    def _unit_of(self, frame: Frame) -> Unit | None:
        """The unit of a frame, also of one that comes from spt3g's own reader."""
        unit = unit_of(frame)
        file = file_of(frame)
        if unit is not None or not file:
            return unit
        # That reader does not count frames; the order of arrival tells them apart.
        arrived = self._arrived.get(file, 0)
        self._arrived[file] = arrived + 1
        return Unit(file, -1 - arrived)


def completed(
    ledgers: Sequence[Ledger], everywhere: Iterable[Mapping[int, tuple[int, str]]]
) -> None:
    """Note in ledgers which observation lasts over each file, once all were read.

    Parameters
    ----------
    ledgers : list of Ledger
        Of any ranks.
    everywhere : iterable of dict
        The `Provenance.ends` of all ranks.
    """
    # If a file is read in pieces, each rank knows the observation at the end of its last one.
    at_end: dict[int, tuple[int, str]] = {}
    for ends in everywhere:
        for position, end in ends.items():
            at_end[position] = max(end, at_end.get(position, end))
    positions = sorted(at_end)
    found: dict[int, tuple[Entry, Entry]] = {}  # ledgers go on sharing their entries
    for ledger in ledgers if positions else ():
        for number, entry in enumerate(ledger.entries):
            if entry.observation or entry.inside or entry.is_coadd or entry.unit is None:
                continue
            if id(entry) not in found:
                earlier = bisect_left(positions, entry.unit.position) - 1
                last = at_end[positions[earlier]][1] if earlier >= 0 else ""
                found[id(entry)] = entry, _observed(entry, last) if last else entry
            ledger.entries[number] = found[id(entry)][1]


def _observed(entry: Entry, observation: str) -> Entry:
    names = tuple(f"{observation}/{name}" for name in entry.map_ids)
    return entry._replace(map_ids=names, observation=observation)


def _strings(frame: Frame, key: str) -> tuple[str, ...]:
    value = frame[key]
    if not isinstance(value, core.G3VectorString):
        raise _unexpected(frame, key, value, "a G3VectorString")
    return tuple(value)


def _unexpected(frame: Frame, key: str, value: Any, expected: str) -> InputError:
    where = where_of(frame)
    return InputError(f"{where}: the {key} is a {type(value).__name__}; expected {expected}.")


class ObservationId:
    """The observations to which frames belong.

    Parameters
    ----------
    strict : bool
        Refuse frames that name an observation half, or by what cannot be a name. Otherwise they
        say nothing.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self._strict = strict
        self._of_file: dict[str, str] = {}
        # By the position of the file, with the number of the frame that says it.
        self.at_end: dict[int, tuple[int, str]] = {}
        self._of_all = self._latest = ""

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type, if it names an observation.

        Raises
        ------
        InputError
            If it names the source only, and that is to be refused.
        """
        if OBSERVED not in frame:
            return
        unit = unit_of(frame)
        try:
            self._latest = self._name_in(frame, unit)
        except InputError:
            if self._strict:
                raise
            return
        if unit is None or unit.shared:
            self._of_all = self._latest
        else:
            self._of_file[unit.file] = self._latest
            self.at_end[unit.position] = unit.index, self._latest

    def of(self, unit: Unit | None) -> str:
        """``SourceName/ObservationID`` of a frame; empty if none was named.

        The observation of a file ends with it, whatever this rank happens to read next. A frame
        that was made in the pipeline belongs to the observation that came last.
        """
        return self._latest if unit is None else self._of_file.get(unit.file, self._of_all)

    @staticmethod
    def _name_in(frame: Frame, unit: Unit | None) -> str:
        if "ObservationID" not in frame:
            raise InputError(
                f"{unit or 'A frame'}: a SourceName, but no ObservationID; record_obs_id needs "
                "both."
            )
        values = {key: frame[key] for key in (OBSERVED, "ObservationID")}
        for key, value in values.items():
            if not isinstance(value, str | int):
                raise _unexpected(frame, key, value, "a string or an integer")
        return "/".join(map(str, values.values()))
