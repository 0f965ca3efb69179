"""What frames say of maps: the observation to which they belong, and when that was."""

from __future__ import annotations

from typing import Any, NamedTuple

from spt3g import core

from ..pipeline.units import file_of, fingerprint_of, unit_of
from ..spt3gtypes import Frame
from .clocks import IN_FRAMES, Clock
from .facts import MapFacts
from .tables import Table

_SOURCE, _NUMBER = "SourceName", "ObservationID"

# The first of these that an observation has says when it began.
_TIMES = ("ObservationStart", "StartTime")


class _Observed(NamedTuple):
    """What a frame says of its observation."""

    source: str = ""
    number: str = ""
    time: float | None = None

    @property
    def name(self) -> str:
        return f"{self.source}/{self.number}" if self.source and self.number else ""

    def after(self, before: _Observed) -> _Observed:
        """This, with what it does not say itself from a frame before it."""
        if self.name and self.name != before.name:
            return self
        return before._replace(time=before.time if self.time is None else self.time)


class FactsOfFrames:
    """Finds what is known of maps, from their frames and from those that come before them.

    What a frame does not say itself, the last frame before it in its file says that names an
    observation; or if none does, the last one that all ranks have read.

    Parameters
    ----------
    table : Table, optional
        The table of observations.
    clock : Clock
        What tells when observations began.
    """

    def __init__(self, table: Table | None = None, clock: Clock = IN_FRAMES) -> None:
        self._table = table
        self._clock = clock
        self._of_file: dict[str, _Observed] = {}
        self._of_all = _Observed()

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        if _SOURCE not in frame:
            return
        unit = unit_of(frame)
        observed = _observed_in(frame).after(self._before(frame))
        if not observed.name:
            return
        if unit is None or unit.shared:
            self._of_all = observed
        else:
            self._of_file[unit.file] = observed

    def facts_of(self, frame: Frame, weight: float | None = None) -> MapFacts:
        """What is known of a map frame."""
        unit = unit_of(frame)
        observed = _observed_in(frame).after(self._before(frame))
        map_id = frame.get("Id", None)
        return self.completed(
            MapFacts(
                unit.file if unit else file_of(frame) or "",
                unit.index if unit else -1,
                map_id=map_id if isinstance(map_id, str) else "",
                source=observed.source,
                observation=observed.name,
                time=observed.time,
                weight=weight,
                fingerprint=fingerprint_of(frame),
            )
        )

    def _before(self, frame: Frame) -> _Observed:
        unit = unit_of(frame)
        return self._of_file.get(unit.file, self._of_all) if unit else self._of_all

    def completed(self, facts: MapFacts) -> MapFacts:
        """The same with the row of its observation, and the time that the clock tells."""
        columns = facts.columns
        if self._table is not None:
            columns = self._table.row_of(facts.observation, facts.map_id)
        time = self._clock.time_of(facts.time, facts.observation, columns)
        return facts._replace(columns=columns, time=time)


def _observed_in(frame: Frame) -> _Observed:
    values: dict[str, Any] = {key: _value(frame, key) for key in (_SOURCE, _NUMBER)}
    texts = {
        key: str(value) if isinstance(value, str | int) else "" for key, value in values.items()
    }
    return _Observed(texts[_SOURCE], texts[_NUMBER], _time_in(frame))


def _value(frame: Frame, key: str) -> Any:
    return frame[key] if key in frame else None  # noqa: SIM401 (of a frame before a piece)


def _time_in(frame: Frame) -> float | None:
    for key in _TIMES:
        value = _value(frame, key)
        if isinstance(value, core.G3Time):
            return float(value.time / core.G3Units.s)
    return None
