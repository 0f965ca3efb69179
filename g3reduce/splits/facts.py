"""What is known of a map of the input, from which rules decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..g3files.frames import Fingerprint


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
        The row of its observation in the table of observations, by the names of columns.
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
