"""What there is in one file of maps, and what is wrong with it.

Everything that looks at files before they are added comes through `examine`: so it finds what the
adding would find, by the same rules.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spt3g import core

from ..coadd.provenance import Provenance
from ..coadd.settings import Terms
from ..errors import InputError, about_file
from ..formats.firstlook import check_file
from ..g3files.names import is_stream
from ..g3files.pieces import Piece
from ..g3files.source import Stamp
from ..maps import mapframe
from ..maps.finite import ERROR, KEEP
from ..maps.framekind import FrameKind, kind_of
from ..maps.mapfile import planes_of
from ..maps.pixels import Plane
from ..maps.soundness import Soundness, read_through, soundness_of_weights
from ..maps.storedframe import verified_on_error, verify
from ..pipeline.ledger import Ledger
from ..pipeline.reader import numbered_frames
from ..pipeline.units import Unit, fingerprint_of, set_unit
from ..spt3gtypes import Frame
from .manifest import Expected
from .mapopener import MapOpener


class Problem(NamedTuple):
    """What is wrong with a file, or to be known about it.

    Attributes
    ----------
    fault : str
        In a few words, such as ``"cut off at byte 9197"``.
    message : str
        As the error of a coadd would say it; empty if it would not.
    ends_it : bool
        Whether a coadd with this file would end with an error.
    """

    fault: str
    message: str = ""
    ends_it: bool = True

    @classmethod
    def of(cls, error: InputError) -> Problem:
        """The problem that an error tells."""
        return cls(fault_of(error), str(error))


class FoundFrame(NamedTuple):
    """A Map frame that goes into some coadd.

    Attributes
    ----------
    counted : Ledger
        What it would add to the ledger of the coadd.
    coadds : tuple of str
        The names of its coadds.
    kind : FrameKind or int
        What must agree between frames; in a `Survey`, the number of the kind.
    n_bytes : int
        How long it is in its file, decompressed; 0 if that is not known.
    """

    counted: Ledger
    coadds: tuple[str, ...]
    kind: Any
    n_bytes: int


@dataclass
class Examined:
    """What there is in a file.

    Attributes
    ----------
    name : str
    n_bytes : int
        Its size; 0 if that is not known.
    n_frames, n_maps : int
        How many frames of all types, and Map frames, could be read.
    frames : list of FoundFrame
        Those that go into some coadd, up to the first that cannot be read.
    problems : list of Problem
    seconds : float
        How long it took to look.
    known : bool
        Whether anything could be known: not of a stream.
    """

    name: str
    n_bytes: int = 0
    n_frames: int = 0
    n_maps: int = 0
    frames: list[FoundFrame] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0
    known: bool = True

    @property
    def faults(self) -> str:
        """All that is wrong with it, in a few words; what would end a coadd first."""
        ranked = sorted(self.problems, key=lambda problem: not problem.ends_it)
        return "; ".join(problem.fault for problem in ranked)

    @property
    def is_bad(self) -> bool:
        """Whether a coadd with this file would end with an error."""
        return any(problem.ends_it for problem in self.problems)

    def tell(self, fault: str, *, ends_it: bool = False, message: str = "") -> None:
        """Add a problem."""
        self.problems.append(Problem(fault, message, ends_it))


def examine(
    name: str,
    terms: Terms,
    *,
    position: int = 0,
    deep: bool = False,
    expected: Expected | None = None,
) -> Examined:
    """Look at a file.

    Parameters
    ----------
    name : str
    terms : Terms
    position : int
        Which of the files it is.
    deep : bool
        Whether to read all pixels. Else only headers and attributes are read, and all of small
        frames.
    expected : Expected, optional
        What a manifest says of the file.

    Returns
    -------
    Examined
        What is wrong with the file is in its `problems`: it is no error here.
    """
    found, start = Examined(name), time.perf_counter()
    if is_stream(name):
        found.known = False
        return found
    try:
        check_file(name)
        stamp = Stamp.of(os.stat(name))
        found.n_bytes = stamp.size
        _walk(found, terms, position, deep)
        if expected is not None:
            expected.refuse_other(name, found.n_frames)
    except InputError as error:
        found.problems.insert(0, Problem.of(error))
    except OSError as error:  # it has vanished meanwhile
        found.tell(f"cannot be read ({error.strerror or error})", ends_it=True)
    else:
        if not found.n_maps:
            found.tell("no map in it")
        elif not found.frames:
            found.tell("no map in it that was asked for")
    found.seconds = time.perf_counter() - start
    return found


def look_through(opener: MapOpener, name: str, piece: Piece, terms: Terms) -> None:
    """Read all of a piece as adding it would, to know before that nothing is wrong with it.

    Raises
    ------
    InputError
        If something is.
    """
    for index, frame in numbered_frames(opener, name, piece):
        set_unit(frame, Unit(name, index))
        terms.members.observe(frame)
        if frame.type == core.G3FrameType.Map:
            with about_file(name), verified_on_error(frame):
                if _coadds_of(frame, terms):
                    planes = planes_of(frame, str(frame.unit))
                    read_through(_as_added(planes, str(frame.unit), terms, terms.nonfinite))
            with about_file(name):
                verify(frame)


def fault_of(error: InputError) -> str:
    """What is wrong, in a few words."""
    if error.fault:
        return error.fault
    text = str(error).split("\n")[0].split(". ")[0].rstrip(".")
    name = error.file
    return text[len(name) :].lstrip(",: ") if name and text.startswith(name) else text


def _walk(found: Examined, terms: Terms, position: int, deep: bool) -> None:
    provenance = Provenance(record_obs_id=False)
    sound = Soundness()
    for index, frame in numbered_frames(MapOpener(terms.assumed), found.name, Piece(0)):
        found.n_frames = index + 1
        set_unit(frame, Unit(found.name, index, position, fingerprint=fingerprint_of(frame)))
        provenance.observe(frame)
        terms.members.observe(frame)
        if frame.type != core.G3FrameType.Map:
            continue
        found.n_maps += 1
        with about_file(found.name), verified_on_error(frame):
            one, planes = _found(frame, terms, provenance)
            if one is not None:
                found.frames.append(one)
                if deep:
                    sound |= read_through(_as_added(planes, str(frame.unit), terms, KEEP))
            if deep:
                verify(frame)
                where = str(frame.unit)
                planes = planes_of(frame, where, verified=True) if one is not None else {}
                sound |= soundness_of_weights(planes)
    if any(frame.kind.lacks_weights for frame in found.frames) and not terms.ignore_missing_weights:
        found.tell("weighted maps without weights")
    for fault, not_finite in sound.faults():
        found.tell(fault, ends_it=not_finite and terms.nonfinite == "error")


def _found(
    frame: Frame, terms: Terms, provenance: Provenance
) -> tuple[FoundFrame | None, dict[str, Plane]]:
    """A frame and its maps, if it goes into any coadd."""
    coadds = _coadds_of(frame, terms)
    if not coadds:
        return None, {}
    where = str(frame.unit)
    counted = provenance.ledger_of(frame)
    planes = planes_of(frame, where)
    kind = _kind_of(planes, where, terms)
    fingerprint = fingerprint_of(frame)
    n_bytes = fingerprint.length if fingerprint else 0
    return FoundFrame(counted, coadds, kind, n_bytes), planes


def _coadds_of(frame: Frame, terms: Terms) -> tuple[str, ...]:
    signs = terms.members.signs_of(frame, terms.get_map_id, lambda frame: str(frame.unit))
    return tuple(signs or ())


def _as_added(
    planes: dict[str, Plane], where: str, terms: Terms, nonfinite: str
) -> dict[str, Plane]:
    """The maps of a frame as they would be added; those that are not finite may be refused."""
    refuses = ERROR if nonfinite == ERROR else KEEP
    how = {"weighted": terms.weighted, "pol_conv": terms.pol_conv, "nonfinite": refuses}
    return mapframe.read(planes, where, **how).planes


def _kind_of(planes: dict[str, Plane], where: str, terms: Terms) -> FrameKind:
    stubs = {name: plane.stub for name, plane in planes.items()}
    return kind_of(stubs, where, weighted=terms.weighted, pol_conv=terms.pol_conv)
