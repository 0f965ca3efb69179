"""Names of the observations to which frames belong, from keys of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spt3g import core

from ..errors import InputError, UsageError
from ..spt3gtypes import Frame
from .ledger import Unit, unit_of

# The keys that name an observation in pipelines of spt3g.
KEYS = ("SourceName", "ObservationID")

# The key that TOAST's exports have in Observation frames, in place of these.
_OF_TOAST = "observation_name"


def keys_of_observations(keys: str | Sequence[str] | None) -> tuple[str, ...]:
    """The keys whose values name an observation.

    Parameters
    ----------
    keys : str, sequence of str, or None
        None: ``SourceName`` and ``ObservationID``.

    Raises
    ------
    UsageError
    """
    if keys is None:
        return KEYS
    found = (keys,) if isinstance(keys, str) or not isinstance(keys, Sequence) else tuple(keys)
    if not found or not all(isinstance(key, str) and key for key in found):
        raise UsageError(
            f"observation_keys is {keys!r}; expected a key of Observation or Scan frames, or "
            "several."
        )
    return found


def name_of_observation(values: Sequence[Any]) -> str:
    """The name of an observation, from the values of its keys."""
    return "-".join(map(str, values))


class ObservationNames:
    """Finds the names of the observations of frames as they come: ``"SourceName-ObservationID"``.

    Both are keys of the frame itself, or else of the last Observation frame before it. If only
    this rank has read the file of that frame, it counts for that file alone, because which other
    files the rank reads, and when, is chance.

    Parameters
    ----------
    keys : str, sequence of str, or None
        Other keys, if observations are named otherwise.
    """

    def __init__(self, keys: str | Sequence[str] | None = None) -> None:
        self.keys = keys_of_observations(keys)
        self._latest: dict[str, Any] = {}
        self._unit: Unit | None = None
        self._hint = ""

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation those after it belong."""
        if frame.type == core.G3FrameType.Observation:
            self._latest = {key: frame[key] for key in self.keys if key in frame}
            self._unit = unit_of(frame)
            if _OF_TOAST in frame and _OF_TOAST not in self.keys:
                self._hint = f" TOAST's own export has {_OF_TOAST!r}."

    def name_of(self, frame: Frame, where: str) -> str:
        """The name of a frame's observation.

        Raises
        ------
        InputError
            If neither the frame nor an Observation frame before it has the keys.
        """
        return name_of_observation(self.values_of(frame, where))

    def values_of(self, frame: Frame, where: str) -> tuple[Any, ...]:
        """The values of the keys, of the frame or else of the Observation frame before it.

        Raises
        ------
        InputError
            If neither has all of them.
        """
        values = self.known_of(frame, where)
        if any(value is None for value in values):
            raise self.unknown(values, where)
        return values

    def known_of(self, frame: Frame, where: str) -> tuple[Any, ...]:
        """As `values_of`, with None for a key that neither has.

        Raises
        ------
        InputError
            If a value is neither a string nor a number.
        """
        before = self._latest if self._counts_for(unit_of(frame)) else {}
        values = tuple(frame[key] if key in frame else before.get(key) for key in self.keys)
        self.check_values(values, where)
        return values

    def check_values(self, values: Sequence[Any], where: str) -> None:
        """Refuse values that cannot name an observation. None stands for one that is not known.

        Raises
        ------
        InputError
        """
        for key, value in zip(self.keys, values, strict=True):
            if not (value is None or isinstance(value, str | int | float)):
                raise InputError(
                    f"{where}: the {key} is a {type(value).__name__}; expected a string or a "
                    "number that names the observation."
                )

    def latest_of(self, file: str) -> dict[str, Any]:
        """The values of the keys in the last Observation frame of a file that this rank reads."""
        return self._latest if self._unit is not None and self._unit.file == file else {}

    def unknown(self, values: Sequence[Any], where: str) -> InputError:
        """The error for a frame of which not all keys are known."""
        missing = self.keys[list(values).index(None)]
        return InputError(
            f"{where} has no {missing}, and no Observation frame before it in its file has one, so "
            "its observation is not known. Add the key to the frames, or "
            f"name others (observation_keys).{self._hint} If the Observation frame of an earlier "
            "file counts, files may be stitched with metadata_lasts=True; an extractfunc of "
            "MPIAccumulator may name groups in any way."
        )

    def _counts_for(self, unit: Unit | None) -> bool:
        mine = self._unit
        return mine is None or mine.shared or unit is None or mine.file == unit.file
