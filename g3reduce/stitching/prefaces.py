"""The metadata that stand before scans in their files, merged over all ranks for a new file."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from spt3g import core

from ..g3files.frames import digests_of
from ..mpi import communicators, transfer
from ..pipeline.blockhead import join
from ..pipeline.ledger import Unit, unit_of
from ..pipeline.observations import name_of_observation

_TYPES = core.G3FrameType
_KINDS = (_TYPES.Observation, _TYPES.Wiring, _TYPES.Calibration, _TYPES.PipelineInfo)
_OBSERVATION, _JOINED = "Observation", "PipelineInfo"

# By its type and its content a frame is known.
_Identity: TypeAlias = "tuple[str, tuple[tuple[str, str], ...]]"


class Origin(NamedTuple):
    """Where a scan came from, and to which observation it belongs.

    Attributes
    ----------
    unit : Unit
    names : tuple of (str, object)
        The keys that name the observation, and their values.
    """

    unit: Unit
    names: tuple[tuple[str, Any], ...]

    @property
    def group(self) -> str:
        """The name of the observation."""
        return name_of_observation([value for _, value in self.names])


class Place(NamedTuple):
    """A metadata frame in the input.

    Attributes
    ----------
    position, frame : int
        Which file, and which frame of it.
    rank : int
        Who has it.
    size : int
        Its bytes.
    identity : tuple
        Equal frames have equal ones.
    """

    position: int
    frame: int
    rank: int
    size: int
    identity: _Identity

    @property
    def kind(self) -> str:
        """The type of the frame."""
        return self.identity[0]


class Prefaces:
    """Takes down which metadata a pipeline would have seen before the scans of each observation.

    These are the Observation, Wiring and Calibration frames that come before them in their file.
    Wiring and Calibration frames of files without any scan count for all observations. PipelineInfo
    frames of all files are joined into one.

    Parameters
    ----------
    comm : communicator
    lasting : bool
        Whether they count for the files after theirs, too: Observation frames until another one
        comes, the others from then on.
    """

    def __init__(self, comm: communicators.Comm, *, lasting: bool = False):
        self._comm = comm
        self._lasting = lasting
        # The files that have scans of an observation, and whether they name it themselves.
        self._files: dict[Hashable, set[tuple[int, bool]]] = {}
        self._contents: dict[_Identity, bytes] = {}
        self._by_file: dict[int, list[Place]] = {}
        self._by_group: dict[Hashable, set[Place]] = {}
        self._with_scans: set[int] = set()
        self._merged: dict[Hashable, list[Place]] = {}
        self._infos: list[Place] = []

    def take(self, frame: Any) -> None:
        """Take a frame of a file; only metadata are kept."""
        unit = unit_of(frame)
        if unit is None or frame.type not in _KINDS:
            return
        content = frame.__getstate__()[1]
        identity = str(frame.type), digests_of(content)
        self._contents.setdefault(identity, content)
        place = Place(unit.position, unit.index, self._comm.rank, len(content), identity)
        self._by_file.setdefault(unit.position, []).append(place)

    def seen(self, unit: Unit) -> int:
        """How many metadata frames of its file came before the frame that comes now."""
        return len(self._by_file.get(unit.position, ()))

    def precede(self, scan: Origin, seen: int) -> None:
        """Say that so many metadata frames of its file came before this scan."""
        position = scan.unit.position
        before = self._by_file.get(position, [])[:seen]
        self._with_scans.add(position)
        self._by_group.setdefault(scan.group, set()).update(before)
        named = any(place.kind == _OBSERVATION for place in before)
        self._files.setdefault(scan.group, set()).add((position, named))

    def merge(self) -> None:
        """Come to know what all ranks have. Collective over the communicator."""
        everywhere = self._comm.allgather(
            (self._by_file, self._by_group, self._with_scans, self._files)
        )
        with_scans = set().union(*(scans for _, _, scans, _ in everywhere))
        places = sorted(p for files, *_ in everywhere for some in files.values() for p in some)
        for_all = {
            place
            for place in places
            if place.position not in with_scans and place.kind != _OBSERVATION
        }
        found: dict[Hashable, set[Place]] = {}
        for _, groups, _, files in everywhere:
            for group, some in groups.items():
                found.setdefault(group, set(for_all)).update(some)
                if self._lasting:
                    for position, named in files[group]:
                        found[group].update(_lasting(places, position, named))
        self._merged = {group: _once(some) for group, some in found.items()}
        self._infos = [place for place in _once(set(places)) if place.kind == _JOINED]

    def observation(self, group: Hashable) -> list[Place]:
        """The Observation frames of an observation, equal ones once, in the order of the input."""
        return [place for place in self._merged[group] if place.kind == _OBSERVATION]

    def others(self, group: Hashable) -> list[Place]:
        """Its Wiring and Calibration frames."""
        kinds = (_OBSERVATION, _JOINED)
        return [place for place in self._merged[group] if place.kind not in kinds]

    def pipeline_info(self) -> bytes | None:
        """One PipelineInfo frame of all, as bytes on rank 0, if there is any. Collective."""
        frame = None
        for place in self._infos:
            content = self.content(place)
            if content is None:
                continue
            if frame is None:
                frame = core.G3Frame()
                frame._cereal_loads(content)
            else:
                join(frame, content)
        return None if frame is None else bytes(frame.__getstate__()[1])

    def content(self, place: Place) -> bytes | None:
        """The bytes of a frame, on rank 0. Collective."""
        mine = self._contents.get(place.identity) if self._comm.rank == place.rank else None
        if place.rank == 0:
            return mine
        if mine is not None:
            transfer.send(self._comm, np.frombuffer(mine, np.uint8), 0)  # type: ignore[arg-type]
            return None
        if self._comm.rank != 0:
            return None
        came = np.empty(place.size, np.uint8)
        transfer.receive(self._comm, came, place.rank)  # type: ignore[arg-type]
        return came.tobytes()


def _lasting(places: Sequence[Place], position: int, named: bool) -> list[Place]:
    """The metadata of earlier files that count for one that names its observation, or does not."""
    earlier = places[: bisect(places, position - 1, key=lambda place: place.position)]
    observations = [place for place in earlier if place.kind == _OBSERVATION]
    others = [place for place in earlier if place.kind not in (_OBSERVATION, _JOINED)]
    return others if named else [*observations[-1:], *others]


def _once(places: set[Place]) -> list[Place]:
    """Places in order, without those of frames that are equal to an earlier one."""
    found: dict[_Identity, Place] = {}
    for place in sorted(places):
        found.setdefault(place.identity, place)
    return list(found.values())


def unwritten(wanted: Sequence[Place], written: Sequence[Place]) -> list[Place]:
    """What is still to be written of the metadata of an observation, after those of others.

    Parameters
    ----------
    wanted : sequence of Place
    written : sequence of Place
        The latest that were written.

    Returns
    -------
    list of Place
        Nothing if these are the latest, the rest if they are the first of it, else all.
    """
    mine = [place.identity for place in wanted]
    latest = [place.identity for place in written]
    if not mine or latest[-len(mine) :] == mine:
        return []
    if latest and mine[: len(latest)] == latest:
        return list(wanted[len(latest) :])
    return list(wanted)
