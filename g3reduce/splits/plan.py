"""Plans: which map goes to which coadds, once all maps of the input are known."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError
from ..pipeline.units import Unit, unit_of, where_of
from ..spt3gtypes import Frame
from .facts import MapFacts
from .flipping import Signs


@dataclass
class Group:
    """A coadd without flips, and its realisations.

    Attributes
    ----------
    name : str
    maps : list of int
        The places of its maps in the input.
    flips : tuple of str
        The names of its sign-flip realisations.
    signs : ndarray of int8, of shape (number of flips, number of maps)
    record : dict of str to str
        What is recorded of it.
    """

    name: str
    maps: list[int]
    flips: tuple[str, ...] = ()
    signs: Signs = field(default_factory=lambda: np.ones((0, 0), np.int8))
    record: dict[str, str] = field(default_factory=dict)


class Plan:
    """Which map goes to which coadds, and with which sign. It is a function for `assign`.

    Attributes
    ----------
    names : list of str
        The coadds, in order; each is followed by its sign-flip realisations.
    base_of : dict of str to str
        Of each sign-flip realisation, the coadd that it is of.
    """

    def __init__(self, inputs: Sequence[MapFacts], groups: Iterable[Group]):
        self._groups = {group.name: group for group in groups}
        self.names = [
            name for group in self._groups.values() for name in (group.name, *group.flips)
        ]
        self.base_of = {name: group.name for group in self._groups.values() for name in group.flips}
        self._of: dict[tuple[str, int], list[tuple[Group, int]]] = {
            (one.file, one.frame): [] for one in inputs
        }
        for group in self._groups.values():
            for column, place in enumerate(group.maps):
                one = inputs[place]
                self._of[one.file, one.frame].append((group, column))

    def signs_of(self, unit: Unit) -> dict[str, int]:
        """The coadds to which a map of the input goes, and its sign in each.

        Parameters
        ----------
        unit : Unit
            Its file and frame.

        Raises
        ------
        InputError
            If it is not among the maps that were planned for.
        """
        found: dict[str, int] = {}
        for group, column in self._found(unit.file, unit.index):
            found[group.name] = 1
            found.update(zip(group.flips, group.signs[:, column].tolist(), strict=True))
        return found

    def bases_of(self, unit: Unit) -> dict[str, Signs]:
        """The coadds without flips to which a map goes, and its signs in the realisations of each.

        The same as `signs_of`, for those who add many realisations at once: the signs are in the
        order of ``[name for name, base in base_of.items() if base == ...]``.
        """
        return {
            group.name: group.signs[:, column]
            for group, column in self._found(unit.file, unit.index)
        }

    def record_of(self, name: str) -> dict[str, str]:
        """What is to be recorded of a coadd, as texts."""
        base = self.base_of.get(name)
        record = {"name": name, **self._groups[base or name].record}
        if base is not None:
            record["base"] = base
            record["realisation"] = str(self._groups[base].flips.index(name))
        return record

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes, and its sign in each; None if it goes to none."""
        unit = unit_of(frame)
        if unit is None:
            raise InputError(
                f"{where_of(frame)}: it is not known which map of the plan this is, because no "
                "reader of g3reduce has read it: use MPIFileReader or MPIIODistributor."
            )
        return self.signs_of(unit) or None

    def _found(self, file: str, frame: int) -> list[tuple[Any, int]]:
        found = self._of.get((file, frame))
        if found is None:
            raise InputError(
                f"{file}, frame {frame}: not among the {len(self._of)} maps that were planned for "
                f"(such as {os.path.basename(next(iter(self._of), ('none', 0))[0])}). Plan again "
                "for all files that are added."
            )
        return found
