"""Units, that is, file and index of a frame: noted on frames and in entries of ledgers.

A unit is a frame of a file. The reader notes it on the frame, with which it travels. All that is
noted on frames, as Python attributes, is set and read here. spt3g keeps these only as long as
Python holds the frame, so whoever sets one keeps the frame until the pipeline is done with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..spt3gtypes import Frame
from .originals import KnownFiles, Original

# Where frames that no reader of ours named come in the order of a result: at the end.
UNPLACED = 2**62


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


def set_unit(frame: Frame, unit: Unit) -> None:
    """Note on a frame where it was read."""
    frame.unit = unit


def unit_of(frame: Frame) -> Unit | None:
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


def set_source(frame: Frame, source: object) -> None:
    """Note on a frame the first module that gives it to a pipeline."""
    frame.source = source


def source_of(frame: Frame) -> Any:
    """The first module that gave a frame to its pipeline; None if it was none of ours."""
    return getattr(frame, "source", None)


def file_of(frame: Frame) -> str | None:
    """The file of a frame that spt3g's own reader has read with ``track_filename=True``."""
    return getattr(frame, "_filename", None) or None


def bytes_in_file(frame: Frame) -> bytes | None:
    """The bytes of a frame as they are in its file; None where they cannot be had like that.

    They are what serializing would give, for a third of the time: the file was read just now.
    """
    unit, span = unit_of(frame), getattr(frame, "span", None)
    return None if unit is None or span is None else span.content(unit.file)


def where_of(frame: Frame) -> str:
    """How messages name a frame."""
    return str(unit_of(frame) or f"a {frame.type} frame made in the pipeline")


class Entry(NamedTuple):
    """One frame that was counted.

    Attributes
    ----------
    unit : Unit or None
        Where it came from; None if it was made in the pipeline.
    map_ids : tuple of str
        The Id of the map; of a coadd, those of its inputs.
    originals : tuple of Original
        The file of the map; of a coadd, those of its inputs.
    is_coadd : bool
        Whether it lists the inputs of which it was made.
    names_files : bool
        Whether `originals` are all that it was made of. Else they are only where it lies.
    file : Original or None
        Where it lies itself.
    """

    unit: Unit | None
    map_ids: tuple[str, ...] = ()
    originals: tuple[Original, ...] = ()
    is_coadd: bool = False
    names_files: bool = False
    file: Original | None = None

    @classmethod
    def of(
        cls,
        unit: Unit | None,
        map_ids: tuple[str, ...] = (),
        inputs: tuple[str, ...] | None = None,
        known: KnownFiles | None = None,
    ) -> Entry:
        """The entry for a frame that this rank has read.

        Parameters
        ----------
        unit, map_ids
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
        return cls(unit, map_ids, originals, inputs is not None, names_files, file)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the originals."""
        return tuple(file.name for file in self.originals)

    @property
    def input_order(self) -> tuple[int, int]:
        """Where it stands in the order of input."""
        # Frames that no reader of ours counted stay as they came.
        unit = self.unit
        return (unit.position, unit.index) if unit and unit.index >= 0 else (UNPLACED, 0)

    @property
    def frames(self) -> list[tuple[str, int]]:
        """The frames, as (file, index), that make two entries the same; empty without a file."""
        if self.unit is None or self.file is None:
            return []
        return [(key, self.unit.index) for key in self.file.keys]

    def __str__(self) -> str:
        return str(self.unit) if self.unit else "a frame made in the pipeline"
