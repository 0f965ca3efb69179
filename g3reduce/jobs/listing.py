"""What is in files: what ``--list`` of commands shows. No pixels and no samples are read."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from spt3g import core

from ..errors import InputError, about_file
from ..formats.firstlook import check_file
from ..formats.kinds import format_of
from ..formats.reading import frames_of as frames_of_other
from ..g3files.compressed import open_bytes
from ..g3files.decoding import walked
from ..g3files.fileframe import SPT3G_ERRORS, first_line
from ..g3files.frames import RawFrame
from ..g3files.names import is_stream
from ..g3files.plain import plain_value
from ..limits import LIMITS
from ..maps.assumed import Assumed
from ..mpi import communicators
from ..mpi.agreement import collectively, gather_packed
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..progress.wording import in_words
from .examining import fault_of

_TYPES = {number: str(kind.name) for number, kind in core.G3FrameType.values.items()}
_SOURCE, _OBSERVATION, _ID = "SourceName", "ObservationID", "Id"
_SHOWN = 4  # Ids and observations in a line


@dataclass
class Contents:
    """What is in a file.

    Attributes
    ----------
    name : str
    n_bytes : int
        Its size; 0 if that is not known.
    frames : dict of str to int
        How many frames there are of each type, as far as the file can be read.
    map_ids : dict of str to int
        How many Map frames there are of each Id.
    observations : list of str
        ``SourceName/ObservationID`` of all frames that name them, each once.
    fault : str
        Why the file cannot be read, in a few words; empty if it can.
    """

    name: str
    n_bytes: int = 0
    frames: Counter[str] = field(default_factory=Counter)
    map_ids: Counter[str] = field(default_factory=Counter)
    observations: list[str] = field(default_factory=list)
    fault: str = ""

    def __str__(self) -> str:
        parts = [in_words(self.n_bytes)] if self.n_bytes else []
        parts += [_counted(self.frames)] if self.frames else []
        parts += [f"Id {_counted(self.map_ids)}"] if self.map_ids else []
        parts += [f"of {_several(self.observations)}"] if self.observations else []
        parts += [self.fault] if self.fault else []
        return f"{self.name}: {', '.join(parts)}"


def list_files(
    comm: communicators.Comm, names: Sequence[str], assumed: Assumed | None = None
) -> list[Contents]:
    """Look what is in files, each on the next rank that is free. Collective over `comm`.

    Call this directly after an agreement of all ranks.

    Parameters
    ----------
    comm : communicator
    names : list of str
        The same on all ranks.
    assumed : Assumed, optional
        What holds of FITS and HDF5 files whose headers are silent.

    Returns
    -------
    list of Contents
        The same on all ranks. Whatever is wrong with a file is no error here.
    """
    counter = SharedCounter(comm)
    mine: dict[int, Contents] = {}

    def look() -> None:
        while (number := counter.next()) < len(names):
            mine[number] = contents_of(names[number], assumed)

    with progress_in_interrupt(lambda: Progress(len(mine), len(names), "files were looked at")):
        collectively(comm, look)
    found: dict[int, Contents] = {}
    for theirs in gather_packed(comm, mine, partial(pickle.dumps, protocol=5)):
        found |= theirs
    return [found[number] for number in range(len(names))]


def contents_of(name: str, assumed: Assumed | None = None) -> Contents:
    """What is in a file."""
    found = Contents(name)
    if is_stream(name):
        found.fault = "a stream, of which nothing is known before"
        return found
    seen: dict[str, None] = {}
    try:
        with about_file(name):
            check_file(name)
            found.n_bytes = os.path.getsize(name)
            for kind, values in _frames_in(name, assumed or Assumed()):
                found.frames[kind] += 1
                if kind == "Map":
                    found.map_ids[str(values.get(_ID) or "none")] += 1
                if source := values.get(_SOURCE):
                    number = values.get(_OBSERVATION)
                    seen[str(source) if number is None else f"{source}/{number}"] = None
    except InputError as error:
        found.fault = fault_of(error)
    except OSError as error:
        found.fault = f"cannot be read ({error.strerror or error})"
    except SPT3G_ERRORS as error:
        found.fault = f"broken ({first_line(error)})"
    found.observations = list(seen)
    return found


def _frames_in(name: str, assumed: Assumed) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The type of each frame, and the few values that are shown."""
    wanted = (_ID, _SOURCE, _OBSERVATION)
    if format_of(name) == "g3":
        yield from walked(open_bytes(name), _looked_at)
        return
    for frame in frames_of_other(name, assumed):
        yield str(frame.type), {key: frame[key] for key in wanted if key in frame}


def _looked_at(raw: RawFrame) -> tuple[str, Mapping[str, Any]]:
    values = {
        blob.name: plain_value(raw.content(blob))
        for blob in raw.blobs
        if blob.name in (_ID, _SOURCE, _OBSERVATION) and blob.size <= LIMITS.small_frame
    }
    return _TYPES[raw.type], values


def _counted(numbers: Mapping[str, int]) -> str:
    return _several([f"{name} ({number})" for name, number in numbers.items()])


def _several(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
