"""Units, that is, file and index of a frame, noted on frames.

A unit is a frame of a file. The reader notes it on the frame, with which it travels. All that is
noted on frames, as Python attributes, is set and read here. spt3g keeps these only as long as
Python holds the frame, so whoever sets one keeps the frame until the pipeline is done with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..g3files.frames import Fingerprint
from ..spt3gmarks import useful
from ..spt3gtypes import Frame

# Where frames that no reader of ours named come in the order of a result: at the end.
UNPLACED = 2**62


@dataclass(frozen=True, slots=True)
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
    fingerprint : Fingerprint or None
        The checksum and the length of the frame in its file, where a reader of ours has seen its
        bytes. It is no part of the name: units are equal without it.
    """

    file: str
    index: int
    position: int = UNPLACED
    shared: bool = False
    fingerprint: Fingerprint | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        if self.index < 0:
            return f"{self.file}, map {-1 - self.index}"
        return f"{self.file}, frame {self.index}"


def set_unit(frame: Frame, unit: Unit) -> None:
    """Note on a frame where it was read."""
    frame.unit = unit


@useful
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


def fingerprint_of(frame: Frame) -> Fingerprint | None:
    """The checksum and length of a frame that comes from a file, if its bytes were seen."""
    return getattr(frame, "fingerprint", None)


def length_in_file(frame: Frame) -> int:
    """How many bytes a frame has in its file; 0 where that was not seen."""
    if (span := getattr(frame, "span", None)) is not None:
        return int(span.end - span.start)
    unit = unit_of(frame)
    mark = fingerprint_of(frame) or (unit and unit.fingerprint)
    return mark.length if mark else 0


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
