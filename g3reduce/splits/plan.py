"""Plans: which map goes to which coadds, once all maps of the input are known."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError
from ..g3files.frames import Fingerprint
from ..pipeline.units import Unit, unit_of, where_of
from ..spt3gtypes import Frame
from .facts import MapFacts
from .flipping import Signs
from .words import listed


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
    own : ndarray of int8, of shape (number of maps,), or None
        The sign of each map in the coadd itself; None if all are 1.
    signs : ndarray of int8, of shape (number of flips, number of maps)
    records : dict of str to dict
        What is recorded of it and of its realisations, by their names.
    takes_any_id : bool
        Whether it was not said of which Ids its maps are to be.
    """

    name: str
    maps: list[int]
    flips: tuple[str, ...] = ()
    own: Signs | None = None
    signs: Signs = field(default_factory=lambda: np.ones((0, 0), np.int8))
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    takes_any_id: bool = False

    def __post_init__(self) -> None:
        if not self.flips:
            self.signs = np.ones((0, len(self.maps)), np.int8)


class Plan:
    """Which map goes to which coadds, and with which sign. It is a function for `assign`.

    Attributes
    ----------
    names : list of str
        The coadds, in order; each is followed by its sign-flip realisations.
    base_of : dict of str to str
        Of each sign-flip realisation, the coadd that it is of.

    Parameters
    ----------
    inputs : sequence of MapFacts
    groups : iterable of Group
    text : str
        How messages name the plan.
    repeats : bool
        Whether coadds are made again: then a map that is in none of them goes to none, and all that
        are in them have to be there. Else a map that was not planned for is an error.
    """

    def __init__(
        self,
        inputs: Sequence[MapFacts],
        groups: Iterable[Group],
        text: str = "",
        *,
        repeats: bool = False,
    ):
        self._text = text
        self._repeats = repeats
        self._groups = {group.name: group for group in groups}
        self.names = [
            name for group in self._groups.values() for name in (group.name, *group.flips)
        ]
        self.base_of = {name: group.name for group in self._groups.values() for name in group.flips}
        self._places: dict[tuple[str, int], int] = {}
        self._contents: list[Fingerprint | None] = []
        self._by_content: dict[Fingerprint, int | None] = {}
        for place, one in enumerate(inputs):
            self._places[one.file, one.frame] = place
            self._contents.append(one.fingerprint)
            if one.fingerprint is not None:  # None where several have the same content
                known = one.fingerprint in self._by_content
                self._by_content[one.fingerprint] = None if known else place
        self._of: list[list[tuple[Group, int]]] = [[] for _ in inputs]
        for group in self._groups.values():
            for column, place in enumerate(group.maps):
                self._of[place].append((group, column))

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
            found[group.name] = 1 if group.own is None else int(group.own[column])
            found.update(zip(group.flips, group.signs[:, column].tolist(), strict=True))
        return found

    def bases_of(self, unit: Unit) -> dict[str, Signs]:
        """The coadds without flips to which a map goes, and its signs in the realisations of each.

        The same as `signs_of`, for those who add many realisations at once: the signs are in the
        order of ``[name for name, base in base_of.items() if base == ...]``.
        """
        return {group.name: group.signs[:, column] for group, column in self._found(unit)}

    def record_of(self, name: str) -> dict[str, str]:
        """What is to be recorded of a coadd, as texts; empty if it is not one of the plan.

        ``name``; ``rule``, that of its maps; ``bundles`` and ``bundle``, how bundles were made, and
        the number of this one; of a sign flip ``base``, the coadd that it is of, ``realisation``,
        its number, ``seed``, and ``balance``, the weight that is added less that which is
        subtracted, over all of it; ``weights``, if they counted as equal; ``table`` and ``time``,
        where columns and dates come from.
        """
        group = self._groups.get(self.base_of.get(name, name))
        return dict(group.records.get(name, {})) if group else {}

    def takes_any_id(self, name: str) -> bool:
        """Whether maps go to a coadd, which is no realisation, without regard to their Ids."""
        return name in self._groups and self._groups[name].takes_any_id

    def digest(self) -> str:
        """A text that changes if any map, or any sign of it in any coadd, is another one."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(repr(list(zip(self._places, self._contents, strict=True))).encode())
        for group in self._groups.values():
            digest.update(repr((group.name, group.flips, group.maps)).encode())
            digest.update(b"" if group.own is None else group.own.tobytes())
            digest.update(group.signs.tobytes())
        return digest.hexdigest()

    def require_all(self, units: Iterable[Unit]) -> None:
        """Refuse to make coadds again of which a map is none of these.

        Raises
        ------
        InputError
        """
        if not self._repeats:
            return
        there = {self._place_of(unit) for unit in units}
        missing = [
            f"{file}, frame {frame}"
            for (file, frame), place in self._places.items()
            if self._of[place] and place not in there
        ]
        if missing:
            raise InputError(
                f"{len(missing)} of {len(self._places)} maps are not there, so the coadds cannot "
                f"be made again: {listed(missing)}. Name all of their files, or make other coadds "
                "of the maps that there are."
            )

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
        place = self._place_of(unit)
        if place is None and not self._repeats:
            files = sorted({os.path.basename(file) for file, _ in self._places})
            others = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
            raise InputError(
                f"{unit}: this is none of the {len(self._places)} maps that were planned for (in "
                f"{others or 'no file'}). Plan for all maps that are added."
            )
        return [] if place is None else self._of[place]

    def _place_of(self, unit: Unit) -> int | None:
        """The place of a map in the input, by its name or else by its content."""
        mark = unit.fingerprint
        place = self._places.get((unit.file, unit.index))
        if place is None:
            return None if mark is None else self._by_content.get(mark)
        planned = self._contents[place]
        if mark is not None and planned is not None and mark != planned:
            raise InputError(
                f"{unit}: the map has changed since it was planned where it goes: the checksum and "
                f"the length of its frame were {planned.checksum:08x} and {planned.length}, and "
                f"are {mark.checksum:08x} and {mark.length}. Plan again for what is there now."
            )
        return place
