"""Entries of a ledger: what is known of a frame that was counted."""

from __future__ import annotations

from typing import NamedTuple

from ..g3files.frames import Fingerprint
from .originals import KnownFiles, Original
from .units import UNPLACED, Unit


class Entry(NamedTuple):
    """One frame of input that is in a sum.

    A coadd that has a ledger of its own stands for all entries of that: these are recorded in its
    place, each `inside` of the frame that was read. Any other coadd is one entry, which knows the
    Ids and files of its inputs as far as it lists them.

    Attributes
    ----------
    unit : Unit or None
        The file and frame; None if it was made in a pipeline.
    map_ids : tuple of str
        The Id of the map as coadds list it; of a coadd without a ledger, those of its inputs.
    originals : tuple of Original
        The file of the map; of a coadd without a ledger, those of its inputs.
    is_coadd : bool
        Whether it is a coadd without a ledger.
    names_files : bool
        Whether `originals` are all that it was made of. Else they are only where it lies.
    file : Original or None
        Where it lies itself.
    read : Unit or None
        The frame that was read: itself, or the coadd in which it is.
    inside : bool
        Whether it is in the ledger of a coadd that was read.
    map_id : str
        The Id of the frame itself; empty if it has none.
    observation : str
        ``SourceName/ObservationID``; empty if it is not known.
    sign : int
        1, or -1 if its T, Q and U are subtracted.
    pixels : int
        How many pixels it has hit: those in which its weights TT, hits or T (the first of these
        that it has) are not 0. -1 as long as it was not added.
    weight : float
        The sum of its weights TT; where there are none, of its hits. 0 if it has neither.
    flips : bytes
        Its signs in the sign-flip realisations beside this sum, packed: until they are made.
    """

    unit: Unit | None
    map_ids: tuple[str, ...] = ()
    originals: tuple[Original, ...] = ()
    is_coadd: bool = False
    names_files: bool = False
    file: Original | None = None
    read: Unit | None = None
    inside: bool = False
    map_id: str = ""
    observation: str = ""
    sign: int = 1
    pixels: int = -1
    weight: float = 0.0
    flips: bytes = b""

    @classmethod
    def of(
        cls,
        unit: Unit | None,
        map_ids: tuple[str, ...] = (),
        inputs: tuple[str, ...] | None = None,
        known: KnownFiles | None = None,
        *,
        map_id: str = "",
        observation: str = "",
    ) -> Entry:
        """The entry for a frame that this rank has read.

        Parameters
        ----------
        unit, map_ids, map_id, observation
            As above.
        inputs : tuple of str or None
            The files that a coadd lists, if it does; None for what is none.
        known : KnownFiles, optional
            Files that this rank has looked at before.
        """
        known = known or KnownFiles()
        file = known.given(unit.file) if unit else None
        originals: tuple[Original, ...] = (file,) if file else ()
        if inputs:
            where = unit.file if unit else None
            originals = tuple(known.listed(name, where) for name in inputs)
        names_files = bool(originals) if inputs is None else bool(inputs)
        is_coadd = inputs is not None
        return cls(
            *(unit, map_ids, originals, is_coadd, names_files, file, unit, False),
            *(map_id, observation),
        )

    def within(self, coadd: Unit | None, known: KnownFiles, listed: frozenset[str]) -> Entry:
        """This entry of the ledger of a coadd, as one of those that have read the coadd.

        Parameters
        ----------
        coadd : Unit or None
            Where the coadd was read.
        known : KnownFiles
        listed : set of str
            What the coadd says in ``InputMapIds``.
        """
        where = coadd.file if coadd else None
        unit, file = self.unit, None
        if unit is not None:
            file = known.listed(unit.file, where)
            unit = Unit(file.name, unit.index, fingerprint=unit.fingerprint)
        if self.is_coadd:
            map_ids = self.map_ids
            originals = tuple(known.listed(one.name, where) for one in self.originals)
        else:
            whole = f"{self.observation}/{self.map_id}"
            map_ids = (whole if whole in listed else self.map_id,) if self.map_id else ()
            originals = (file,) if file else ()
        return self._replace(
            unit=unit,
            map_ids=map_ids,
            originals=originals,
            names_files=self.names_files if self.is_coadd else bool(file),
            file=file,
            read=coadd,
            inside=True,
        )

    @property
    def fingerprint(self) -> Fingerprint | None:
        """The checksum and length of the frame in its file, if they are known."""
        return self.unit.fingerprint if self.unit else None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the originals."""
        return tuple(file.name for file in self.originals)

    @property
    def counted(self) -> bool:
        """Whether it is known which frame of its file it is: spt3g's reader does not count them."""
        return self.unit is None or self.unit.index >= 0

    @property
    def input_order(self) -> tuple[int, int]:
        """Where it stands in the order of input."""
        # Frames that no reader of ours counted stay as they came.
        read = self.read
        return (read.position, read.index) if read and read.index >= 0 else (UNPLACED, 0)

    @property
    def frames(self) -> list[tuple[str, int]]:
        """The frames, as (file, index), that make two entries the same; empty without a file."""
        if self.unit is None or self.file is None or (self.inside and not self.counted):
            return []
        return [(key, self.unit.index) for key in self.file.keys]

    def __str__(self) -> str:
        """The frame that was read, as messages name it."""
        return str(self.read) if self.read else "a frame made in the pipeline"


class LeftOut(NamedTuple):
    """Input that was not counted.

    Attributes
    ----------
    file : str
    frame : int
        The index of the frame, or -1 for the whole file.
    reason : str
    """

    file: str
    frame: int
    reason: str

    def __str__(self) -> str:
        where = f", frame {self.frame}" if self.frame >= 0 else ""
        return f"{self.file}{where} ({self.reason})"
