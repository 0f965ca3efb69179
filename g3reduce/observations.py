"""To which observation a frame belongs, by the names that spt3g gives to observations."""

from __future__ import annotations

from typing import Any

from spt3g import core

from .errors import InputError
from .ledger import Unit, unit_of

_KEYS = ("SourceName", "ObservationID")


class ObservationNames:
    """Names the observations of frames as they come: ``"SourceName-ObservationID"``.

    Both are keys of the frame itself, or else of the last Observation frame before it. One from a
    file that was read on this rank only counts for that file: which others the rank reads, and
    when, is chance.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Any] = {}
        self._unit: Unit | None = None

    def look_at(self, frame: Any) -> None:
        """Learn from a frame of any type to which observation those after it belong."""
        if frame.type == core.G3FrameType.Observation:
            self._latest = {key: frame[key] for key in _KEYS if key in frame}
            self._unit = unit_of(frame)

    def name_of(self, frame: Any, where: str) -> str:
        """The name of a frame's observation.

        Raises
        ------
        InputError
            If neither the frame nor one before it says.
        """
        return "{}-{}".format(*self.values_of(frame, where))

    def values_of(self, frame: Any, where: str) -> tuple[Any, Any]:
        """What the frame, or one before it, has under both keys.

        Raises
        ------
        InputError
            If neither says.
        """
        before = self._latest if self._counts_for(unit_of(frame)) else {}
        values = [frame[key] if key in frame else before.get(key) for key in _KEYS]
        if None in values:
            missing = _KEYS[values.index(None)]
            raise InputError(
                f"{where} has no {missing}, nor had an Observation frame before it, so that it is "
                "not known to which observation it belongs. Add the key to the frames, or give "
                "MPIAccumulator an extractfunc that names their group."
            )
        return values[0], values[1]

    def _counts_for(self, unit: Unit | None) -> bool:
        mine = self._unit
        return mine is None or mine.shared or unit is None or mine.file == unit.file
