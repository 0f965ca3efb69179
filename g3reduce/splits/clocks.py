"""Where the time of an observation comes from. It is never guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, UsageError
from .instants import SPT_BEGINS, instant_of, of_mjd
from .words import number_in

FRAME = "frame"

_KINDS: dict[str, Callable[[float], float]] = {
    "spt": lambda seconds: SPT_BEGINS + seconds,
    "ctime": lambda seconds: seconds,
    "mjd": of_mjd,
}


@dataclass(frozen=True)
class Clock:
    """What tells when an observation began.

    Attributes
    ----------
    kind : {"frame", "spt", "ctime", "mjd", "iso"}
        ``"frame"``: the keys ObservationStart or StartTime of its frames. A number: ``"spt"``,
        seconds since 2017-01-01 UTC; ``"ctime"``, seconds since 1970-01-01 UTC; ``"mjd"``, a
        Modified Julian Date in UTC. ``"iso"``: a date.
    column : str
        The column of the table of observations that has it; empty: the ObservationID.
    """

    kind: str = FRAME
    column: str = ""

    @classmethod
    def of(cls, text: str) -> Clock:
        """The clock that a text names: ``"frame"``, ``"spt"``, ``"ctime:COLUMN"``, ….

        Raises
        ------
        UsageError
        """
        kind, colon, column = text.partition(":") if isinstance(text, str) else ("", "", "")
        known = kind in _KINDS or kind == "iso"
        if (text == FRAME) or (known and (column or (not colon and kind in ("spt", "ctime")))):
            return cls(kind, column)
        raise UsageError(
            f"time is {text!r}; expected 'frame' (the keys ObservationStart or StartTime), 'spt' "
            "or 'ctime' (the ObservationID: seconds since 2017-01-01, or since 1970-01-01), or a "
            "column of the table: 'iso:COLUMN', 'ctime:COLUMN', 'mjd:COLUMN', 'spt:COLUMN'."
        )

    def time_of(
        self, in_frames: float | None, observation: str, row: Mapping[str, Any] | None
    ) -> float | None:
        """When an observation began; None if it is not known.

        Parameters
        ----------
        in_frames : float or None
            What its frames say.
        observation : str
        row : mapping or None
            Its row in the table.

        Raises
        ------
        InputError
            If the value is not one of this kind.
        """
        if self.kind == FRAME:
            return in_frames
        if self.column:
            value = row.get(self.column) if row is not None else None
        else:
            value = observation.rpartition("/")[2] or None
        if value is None:
            return None
        try:
            if self.kind == "iso":
                return instant_of(str(value))
            number = number_in(value) if isinstance(value, str) else float(value)
            if number is not None:
                return _KINDS[self.kind](number)
        except (UsageError, TypeError, ValueError):
            pass
        what = f"the column {self.column!r}" if self.column else "the ObservationID"
        raise InputError(
            f"the observation {observation!r}: {what} is {value!r}, which is no time of the kind "
            f"{self.kind!r}, as time={str(self)!r} says."
        )

    def __str__(self) -> str:
        return f"{self.kind}:{self.column}" if self.column else self.kind


IN_FRAMES = Clock()
