"""The metadata that stand before scans in their files, merged over all ranks for a new file."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from spt3g import core

from .. import comm as communicators
from .. import transfer
from ..blockhead import digests_of, join
from ..ledger import Unit, unit_of

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
    source : str
        The ``SourceName``.
    number : int or str
        The ``ObservationID``.
    """

    unit: Unit
    source: Any
    number: Any

    @property
    def group(self) -> str:
        """The name of the observation."""
        return f"{self.source}-{self.number}"


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
    """

    def __init__(self, comm: communicators.Comm):
        self._comm = comm
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

    def precede(self, scan: Origin) -> None:
        """Say that this scan comes now."""
        position = scan.unit.position
        self._with_scans.add(position)
        self._by_group.setdefault(scan.group, set()).update(self._by_file.get(position, ()))

    def merge(self) -> None:
        """Come to know what all ranks have. Collective over the communicator."""
        everywhere = self._comm.allgather((self._by_file, self._by_group, self._with_scans))
        with_scans = set().union(*(scans for _, _, scans in everywhere))
        places = [place for files, _, _ in everywhere for some in files.values() for place in some]
        for_all = {
            place
            for place in places
            if place.position not in with_scans and place.kind != _OBSERVATION
        }
        found: dict[Hashable, set[Place]] = {}
        for _, groups, _ in everywhere:
            for group, some in groups.items():
                found.setdefault(group, set(for_all)).update(some)
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
