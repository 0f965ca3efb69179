"""Plans: which map goes to which coadds, once all maps of the input are known."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..g3files.frames import Fingerprint
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
    balance : ndarray of float
        Of each flip, the weight that is added less that which is subtracted, over all of it.
    record : dict of str to str
        What is recorded of it.
    """

    name: str
    maps: list[int]
    flips: tuple[str, ...] = ()
    signs: Signs = field(default_factory=lambda: np.ones((0, 0), np.int8))
    balance: NDArray[np.float64] = field(default_factory=lambda: np.ones(0))
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

    def __init__(self, inputs: Sequence[MapFacts], groups: Iterable[Group], text: str = ""):
        self._text = text
        self._groups = {group.name: group for group in groups}
        self.names = [
            name for group in self._groups.values() for name in (group.name, *group.flips)
        ]
        self.base_of = {name: group.name for group in self._groups.values() for name in group.flips}
        self._of: dict[tuple[str, int], list[tuple[Group, int]]] = {}
        self._known: dict[Fingerprint, tuple[str, int] | None] = {}
        for one in inputs:
            place = one.file, one.frame
            if place in self._of:
                raise InputError(f"{one.where} is twice among the maps to be planned for.")
            self._of[place] = []
            if one.fingerprint is not None:  # None where several have the same content
                known = one.fingerprint in self._known
                self._known[one.fingerprint] = None if known else place
        for group in self._groups.values():
            for column, number in enumerate(group.maps):
                one = inputs[number]
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
        for group, column in self._found(unit):
            found[group.name] = 1
            found.update(zip(group.flips, group.signs[:, column].tolist(), strict=True))
        return found

    def bases_of(self, unit: Unit) -> dict[str, Signs]:
        """The coadds without flips to which a map goes, and its signs in the realisations of each.

        The same as `signs_of`, for those who add many realisations at once: the signs are in the
        order of ``[name for name, base in base_of.items() if base == ...]``.
        """
        none = np.empty(0, np.int8)
        return {
            group.name: group.signs[:, column] if group.flips else none
            for group, column in self._found(unit)
        }

    def record_of(self, name: str) -> dict[str, str]:
        """What is to be recorded of a coadd, as texts; empty if it is not one of the plan.

        ``name``; ``rule``, that of its maps; ``bundles`` and ``bundle``, how bundles were made, and
        the number of this one; of a sign flip ``base``, the coadd that it is of, ``realisation``,
        its number, ``seed``, and ``balance``, the weight that is added less that which is
        subtracted, over all of it; ``weights``, if they counted as equal; ``table`` and ``time``,
        where columns and dates come from.
        """
        base = self.base_of.get(name)
        group = self._groups.get(base or name)
        if group is None:
            return {}
        record = {"name": name, **group.record}
        if base is None:
            record.pop("seed", None)
            return record
        number = group.flips.index(name)
        balance = f"{group.balance[number]:.6g}"
        return record | {"base": base, "realisation": str(number), "balance": balance}

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes, and its sign in each; None if it goes to none."""
        unit = unit_of(frame)
        if unit is None:
            raise InputError(
                f"{where_of(frame)}: it is not known which map of the plan this is, because no "
                "reader of g3reduce has read it: use MPIFileReader or MPIIODistributor."
            )
        return self.signs_of(unit) or None

    def __str__(self) -> str:
        return self._text

    def _found(self, unit: Unit) -> list[tuple[Group, int]]:
        found = self._of.get((unit.file, unit.index))
        if found is None and unit.fingerprint is not None:
            # The same map by another name: files may have been moved since.
            place = self._known.get(unit.fingerprint)
            found = self._of[place] if place is not None else None
        if found is None:
            others = ", ".join(sorted({os.path.basename(file) for file, _ in self._of})[:3])
            raise InputError(
                f"{unit}: this is none of the {len(self._of)} maps that were planned for (in "
                f"{others or 'no file'}{', ...' if len(self._of) > 3 else ''}). Plan for all maps "
                "that are added."
            )
        return found
