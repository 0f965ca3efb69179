"""What is known of a map of the input, from which rules decide; and what ledgers say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import InputError
from ..g3files.frames import Fingerprint
from ..pipeline.entries import Entry
from ..pipeline.ledger import Ledger
from .words import why_text


class MapFacts(NamedTuple):
    """What is known of one map of the input.

    Attributes
    ----------
    file : str
        Its file, as it was named.
    frame : int
        Which frame of the file, counted from 0.
    map_id : str
        Its ``Id``; empty if it has none.
    source : str
        The ``SourceName`` of its observation; empty if it is not known.
    observation : str
        The name of its observation, as ledgers have it: ``SourceName/ObservationID``; empty if it
        is not known.
    time : float or None
        When its observation began, in seconds since 1970-01-01 UTC; None if it is not known.
    weight : float or None
        The sum of its weights TT, as ledgers have it; None if it was not asked for.
    fingerprint : Fingerprint or None
        The checksum and the length of the frame in its file, if they are known.
    columns : mapping of str to Any, or None
        The row of its observation in the table of observations, by the names of columns; None if
        there is no table.
    """

    file: str
    frame: int
    map_id: str = ""
    source: str = ""
    observation: str = ""
    time: float | None = None
    weight: float | None = None
    fingerprint: Fingerprint | None = None
    columns: Mapping[str, Any] | None = None

    @property
    def where(self) -> str:
        """How messages name the map."""
        return f"{self.file}, frame {self.frame} (Id {self.map_id!r})"

    def known_time(self, who: str) -> float:
        """The time of its observation, which `who` asks for.

        Raises
        ------
        InputError
            If it is not known.
        """
        if self.time is None or not math.isfinite(self.time):
            raise InputError(
                f"{self.where}: it is not known when it was observed, and {who} asks for it. "
                "Neither the frame nor the Observation frame before it has ObservationStart or "
                'StartTime, unless something else was named. Say what tells it: time="spt" or '
                'time="ctime" if the ObservationID does, or time="iso:COLUMN", "ctime:COLUMN" or '
                '"mjd:COLUMN" of a table of observations.'
            )
        return self.time

    def value_of(self, column: str) -> float | str:
        """The value of its observation in a column of the table.

        Raises
        ------
        InputError
            If there is none.
        """
        if self.columns is None:
            raise InputError(
                f"{self.where}: the column {column!r} is asked for, and there is no table of "
                "observations. Name one: splitting.using(table=FILE), or --table FILE."
            )
        try:
            value = self.columns[column]
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise InputError(
                f"{self.where}: the table of observations has no value of {column!r} for "
                f"{self.observation}. Fill it in, or leave the observation out."
            )
        if not isinstance(value, str | int | float):
            raise InputError(
                f"{self.where}: {column!r} of {self.observation} is a {type(value).__name__} in "
                "the table of observations; expected a number or a text."
            )
        return value if isinstance(value, str) else float(value)

    def number_of(self, column: str) -> float:
        """The number of its observation in a column of the table.

        Raises
        ------
        InputError
            If there is none.
        """
        value = self.value_of(column)
        if isinstance(value, str):
            raise InputError(
                f"{self.where}: {column} of {self.observation} is {value!r}; expected a number. "
                f"{why_text(value)}".rstrip()
            )
        return value


def facts_in(ledger: Ledger) -> list[MapFacts]:
    """What is known of each map that was read, once each, in the order of the ledger.

    A coadd that was read stands for all that it lists: its observation is known if that is one.
    When observations began, ledgers do not say.

    Raises
    ------
    InputError
        If a map was made in a pipeline, so that it has no name.
    """
    read: dict[tuple[str, int], list[Entry]] = {}
    for entry in ledger.entries:
        unit = entry.read or entry.unit
        if unit is None or unit.index < 0:
            raise InputError(
                f"{entry}: the ledger does not say which frame of which file this is, so it cannot "
                "be planned for. Let MPIFileReader or MPIIODistributor read the files."
            )
        read.setdefault((unit.file, unit.index), []).append(entry)
    return [_facts_of(file, frame, entries) for (file, frame), entries in read.items()]


def _facts_of(file: str, frame: int, entries: list[Entry]) -> MapFacts:
    ids, observations = {one.map_id for one in entries}, {one.observation for one in entries}
    unit = entries[0].read or entries[0].unit
    observation = observations.pop() if len(observations) == 1 else ""
    return MapFacts(
        file,
        frame,
        map_id=ids.pop() if len(ids) == 1 else "",
        source=observation.rpartition("/")[0],
        observation=observation,
        weight=sum(one.weight for one in entries),
        fingerprint=unit.fingerprint if unit else None,
    )
