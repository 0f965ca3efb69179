"""All maps of the input: their names, their observations, and the order and medians of these."""

from __future__ import annotations

import functools
import os
import statistics
from collections import Counter
from collections.abc import Sequence

from ..errors import InputError
from .facts import MapFacts
from .words import natural


class Overview:
    """All maps of the input.

    Parameters
    ----------
    inputs : sequence of MapFacts

    Attributes
    ----------
    observations : dict of str to list of int
        The places in `inputs` of the maps of each observation. Maps of which it is not known count
        as those of one observation if they are in one file.

    Raises
    ------
    InputError
        If maps without observations are in two files of the same name.
    """

    def __init__(self, inputs: Sequence[MapFacts]):
        self.inputs = list(inputs)
        self.observations: dict[str, list[int]] = {}
        self._medians: dict[str, float] = {}
        files: dict[str, MapFacts] = {}
        for place, one in enumerate(self.inputs):
            self.observations.setdefault(observation_of(one), []).append(place)
            if not one.observation:
                other = files.setdefault(os.path.basename(one.file), one)
                if other.file != one.file:
                    raise InputError(
                        f"{one.where} and {other.where} are in files of the same name, and their "
                        "observations are not known, so they cannot be told apart but by folders, "
                        "on which splits must not depend. Give frames the keys SourceName and "
                        "ObservationID, or files names that differ."
                    )

    @functools.cached_property
    def names(self) -> list[str]:
        """The name of each map, the same wherever its file lies, and in whatever order they come.

        It is its observation and Id, where no other map has both. Else it is the checksum and the
        length of its frame: maps with the same content have the same name, since it is all the same
        which of them is which. Where these are not known, it is the name of its file without
        folders, and the number of the frame.

        Raises
        ------
        InputError
            If maps cannot be told apart otherwise than by the folders of their files.
        """
        counts = Counter((one.observation, one.map_id) for one in self.inputs)
        names: list[str] = []
        by_place: dict[str, MapFacts] = {}
        for one in self.inputs:
            if one.observation and counts[one.observation, one.map_id] == 1:
                names.append(f"observation {one.observation}\nid {one.map_id}")
            elif one.fingerprint is not None:
                checksum, length = one.fingerprint
                names.append(f"content {checksum:08x}\nlength {length}")
            else:
                name = f"file {os.path.basename(one.file)}\nframe {one.frame}"
                other = by_place.setdefault(name, one)
                if other is not one:
                    raise InputError(
                        f"{one.where} and {other.where} differ in their folders only, on which "
                        "signs must not depend. Give frames the keys SourceName and ObservationID, "
                        "or files names that differ."
                    )
                names.append(name)
        return names

    def number_of(self, facts: MapFacts) -> int:
        """The number of the observation of a map, in the order of time, or else of names."""
        return self._numbers[observation_of(facts)]

    @property
    def in_order_of(self) -> str:
        """What the numbers of observations follow: ``"time"`` or ``"name"``."""
        return "time" if any(one.time is not None for one in self.inputs) else "name"

    def time_of(self, observation: str, who: str) -> float:
        """When an observation began, which `who` asks for.

        Raises
        ------
        InputError
            If this is not known of any of its maps.
        """
        return min(self.inputs[at].known_time(who) for at in self.observations[observation])

    def median(self, column: str) -> float:
        """The median of a column of the table over all observations, each counted once.

        If the table has several values for the maps of one, each of them is counted once.

        Raises
        ------
        InputError
            If the table lacks one of them, or its value is no number.
        """
        if column not in self._medians:
            self._medians[column] = statistics.median(
                value
                for places in self.observations.values()
                for value in {self.inputs[at].number_of(column) for at in places}
            )
        return self._medians[column]

    @functools.cached_property
    def _numbers(self) -> dict[str, int]:
        names = sorted(self.observations, key=natural)
        if self.in_order_of == "time":
            asks = "their order, in which others stand by their times,"
            names.sort(key=lambda name: self.time_of(name, asks))
        return {name: number for number, name in enumerate(names)}


def observation_of(facts: MapFacts) -> str:
    """The name of the observation of a map; if it is not known, that of its file."""
    return facts.observation or f"file {os.path.basename(facts.file)}"
