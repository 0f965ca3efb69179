"""Units of input, and which of them went into a result.

A unit is a frame of a file. The reader names it, the name travels with the frame, and whoever
counts the frame writes it down here. From that one list come the provenance of a coadd
(``InputMapIds``, ``InputFiles``), the check that nothing is counted twice, and the audit that
nothing was lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import DuplicateError, UsageError

# Where frames that no reader of ours named come in the order of a result: at the end.
UNPLACED = 2**62

# What to do about a unit that comes twice.
ON_DUPLICATE = ("error", "sum")


@dataclass(frozen=True)
class Unit:
    """The name of one frame of input.

    Attributes
    ----------
    file : str
        The file as it was given to the reader.
    index : int
        Which frame of the file, counted from 0 over frames of all types. Where the reader did not
        count (spt3g's own), -1 is the first map of the file that came, -2 the second.
    position : int
        Which file of the reader's list, counted from 0: results list their inputs in this order,
        whatever rank read them and when.
    shared : bool
        True for a frame of a file that every rank sees (metadata before a parallel block).
    """

    file: str
    index: int
    position: int = UNPLACED
    shared: bool = False

    def __str__(self) -> str:
        if self.index < 0:
            return f"{self.file}, map {-1 - self.index}"
        return f"{self.file}, frame {self.index}"


def _real_path(file: str) -> str:
    return file if "://" in file else os.path.realpath(file)


def attach(frame: Any, unit: Unit) -> None:
    """Write a unit on a frame.

    spt3g frames carry Python attributes only as long as Python holds them, so whoever attaches a
    unit keeps the frame until the pipeline is done with it.
    """
    frame.unit = unit


def unit_of(frame: Any) -> Unit | None:
    """The unit of a frame: where `MPIFileReader` found it.

    Parameters
    ----------
    frame : spt3g.core.G3Frame
        A frame, in a module of the pipeline that it passes through.

    Returns
    -------
    Unit or None
        None for a frame that was made in the pipeline itself, or read by another reader.

    Examples
    --------
    >>> str(unit_of(frame))  # doctest: +SKIP
    'obs/obs_0042.g3, frame 3'
    """
    unit = getattr(frame, "unit", None)
    return unit if isinstance(unit, Unit) else None


def where_of(frame: Any) -> str:
    """How messages name a frame."""
    return str(unit_of(frame) or f"a {frame.type} frame made in the pipeline")


class Entry(NamedTuple):
    """One frame that was counted.

    Attributes
    ----------
    unit : Unit or None
        Where it came from; None if it was made in the pipeline.
    map_ids, files : tuple of str
        What it says of its own inputs.
    real_path : str
        The file of the unit, by its one true name, so that it is known by any other.
    """

    unit: Unit | None
    map_ids: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    real_path: str = ""

    @classmethod
    def of(
        cls, unit: Unit | None, map_ids: tuple[str, ...] = (), files: tuple[str, ...] = ()
    ) -> Entry:
        """The entry for a frame that this rank has read."""
        return cls(unit, map_ids, files, _real_path(unit.file) if unit else "")

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the order of input."""
        # Frames that no reader of ours counted stay as they came.
        unit = self.unit
        return (unit.position, unit.index) if unit and unit.index >= 0 else (UNPLACED, 0)

    @property
    def identity(self) -> tuple[str, int] | None:
        """What makes two entries the same: one frame of one file. None for frames of no file."""
        return (self.real_path, self.unit.index) if self.unit else None


@dataclass
class Ledger:
    """What went into one result, in the order in which it came on this rank."""

    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen = {entry.identity for entry in self.entries if entry.unit}

    def refuse_duplicate(self, entry: Entry) -> None:
        """Check a frame before it is counted.

        Raises
        ------
        DuplicateError
            If the same unit is here already.
        """
        if entry.identity in self._seen:
            raise DuplicateError(
                f"{entry.unit} came twice and would be summed twice. Name each file once, or say "
                'on_duplicate="sum" if this is what you want.'
            )

    def record(self, entry: Entry) -> None:
        """Count a frame."""
        self.entries.append(entry)
        if entry.unit:
            self._seen.add(entry.identity)

    def map_ids(self) -> list[str]:
        """The Ids of all maps that were counted, each once, in order."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.map_ids))

    def files(self) -> list[str]:
        """The files of all maps that were counted, each once, in order."""
        return list(dict.fromkeys(name for entry in self.entries for name in entry.files))

    def first_place(self) -> tuple[int, int]:
        """Where the first entry stands in the order of input."""
        return min((entry.place for entry in self.entries), default=(UNPLACED, 0))


def merge(ledgers: Sequence[Ledger], *, once: bool) -> Ledger:
    """Join the ledgers of all ranks, given in their order, in the order of the input files.

    Raises
    ------
    DuplicateError
        If `once` and two ranks have counted the same unit.
    """
    if once:
        _refuse_shared_units(ledgers)
    entries = [entry for ledger in ledgers for entry in ledger.entries]
    return Ledger(
        sorted(entries, key=lambda entry: entry.place)
    )  # stable: ties stay in the order of ranks


def check_on_duplicate(on_duplicate: str) -> None:
    """Refuse what says nothing of units that come twice.

    Raises
    ------
    UsageError
    """
    if on_duplicate not in ON_DUPLICATE:
        raise UsageError(
            f"on_duplicate is {on_duplicate!r}; expected one of {', '.join(ON_DUPLICATE)}."
        )


def _refuse_shared_units(ledgers: Iterable[Ledger]) -> None:
    owner: dict[tuple[str, int] | None, int] = {}
    for rank, ledger in enumerate(ledgers):
        for entry in ledger.entries:
            if entry.unit is None:
                continue
            first = owner.setdefault(entry.identity, rank)
            if first != rank:
                by_arrival = (
                    " (spt3g's reader does not count frames, so this is the order in which they "
                    "came to the coadder)"
                )
                raise DuplicateError(
                    f"{entry.unit} was counted on rank {first} and on rank {rank}, so it would be "
                    f"summed more than once{by_arrival if entry.unit.index < 0 else ''}. Give "
                    "every rank files of its own: MPIFileReader(mpicomm, [files]) shares out the "
                    "files of a nested list, where those of a plain list reach every rank."
                )
