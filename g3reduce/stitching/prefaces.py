"""Metadata frames before scans in their files, merged over all ranks for a new file."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from spt3g import core

from ..g3files.frames import digests_of
from ..mpi import communicators, transfer
from ..mpi.agreement import collectively
from ..pipeline.leaders import add_keys
from ..pipeline.ledger import Unit, unit_of
from ..pipeline.observations import name_of_observation
from ..spt3gtypes import Frame

_TYPES = core.G3FrameType
_KINDS = (_TYPES.Observation, _TYPES.Wiring, _TYPES.Calibration, _TYPES.PipelineInfo)
_OBSERVATION, _JOINED = "Observation", "PipelineInfo"

# The type of a frame, and digests of its content.
_Identity: TypeAlias = "tuple[str, tuple[tuple[str, str], ...]]"


class Origin(NamedTuple):
    """The file and frame of a scan, and the observation to which it belongs.

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


class MetadataFrame(NamedTuple):
    """All about a metadata frame of the input but its content.

    Attributes
    ----------
    position : int
        The position of its file among the input files.
    frame : int
        The index of the frame in its file.
    rank : int
        The rank that has it.
    size : int
        Number of bytes.
    identity : tuple
        Its type and digests of its content: the same for equal frames.
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
    """The metadata that a pipeline would have seen before the scans of each observation.

    These are the Observation, Wiring and Calibration frames that come before them in their file.
    Wiring and Calibration frames of files without any scan count for all observations. PipelineInfo
    frames of all files are joined into one.

    Parameters
    ----------
    comm : communicator
    lasting : bool
        Whether they count for later files, too: Observation frames until the next one, the others
        to the end.
    """

    def __init__(self, comm: communicators.Comm, *, lasting: bool = False):
        self._comm = comm
        self._lasting = lasting
        # The files that have scans of an observation, and whether they name it themselves.
        self._files: dict[Hashable, set[tuple[int, bool]]] = {}
        self._contents: dict[_Identity, bytes] = {}
        self._by_file: dict[int, list[MetadataFrame]] = {}
        self._by_group: dict[Hashable, set[MetadataFrame]] = {}
        self._with_scans: set[int] = set()
        self._merged: dict[Hashable, list[MetadataFrame]] = {}
        self._infos: list[MetadataFrame] = []

    def take(self, frame: Frame) -> None:
        """Keep a frame of a file, if it is metadata."""
        unit = unit_of(frame)
        if unit is None or frame.type not in _KINDS:
            return
        content = frame.__getstate__()[1]
        identity = str(frame.type), digests_of(content)
        self._contents.setdefault(identity, content)
        self._by_file.setdefault(unit.position, []).append(
            MetadataFrame(unit.position, unit.index, self._comm.rank, len(content), identity)
        )

    def number_before(self, unit: Unit) -> int:
        """How many metadata frames of its file were taken before a scan that is read now."""
        return len(self._by_file.get(unit.position, ()))

    def add_scan(self, scan: Origin, number_before: int) -> None:
        """Record that so many metadata frames of its file are before a scan."""
        position = scan.unit.position
        before = self._by_file.get(position, [])[:number_before]
        self._with_scans.add(position)
        self._by_group.setdefault(scan.group, set()).update(before)
        named = any(frame.kind == _OBSERVATION for frame in before)
        self._files.setdefault(scan.group, set()).add((position, named))

    def merge(self) -> None:
        """Merge the metadata of all ranks. Collective over the communicator."""
        everywhere = self._comm.allgather(
            (self._by_file, self._by_group, self._with_scans, self._files)
        )
        with_scans = set().union(*(scans for _, _, scans, _ in everywhere))
        frames = sorted(p for files, *_ in everywhere for some in files.values() for p in some)
        for_all = {
            frame
            for frame in frames
            if frame.position not in with_scans and frame.kind != _OBSERVATION
        }
        found: dict[Hashable, set[MetadataFrame]] = {}
        for _, groups, _, files in everywhere:
            for group, some in groups.items():
                found.setdefault(group, set(for_all)).update(some)
                if self._lasting:
                    for position, named in files[group]:
                        found[group].update(_lasting(frames, position, named))
        self._merged = {group: _once(some) for group, some in found.items()}
        self._infos = [frame for frame in _once(set(frames)) if frame.kind == _JOINED]

    def observation(self, group: Hashable) -> list[MetadataFrame]:
        """The Observation frames of an observation, equal ones once, in the order of the input."""
        return [frame for frame in self._merged[group] if frame.kind == _OBSERVATION]

    def others(self, group: Hashable) -> list[MetadataFrame]:
        """Its Wiring and Calibration frames."""
        kinds = (_OBSERVATION, _JOINED)
        return [frame for frame in self._merged[group] if frame.kind not in kinds]

    def pipeline_info(self) -> bytes | None:
        """All PipelineInfo frames joined, as bytes on rank 0, if there is any. Collective."""
        found = [self.content(frame) for frame in self._infos]
        contents = [content for content in found if content is not None]

        def joined() -> bytes | None:
            if not contents:
                return None
            frame = core.G3Frame()
            frame._cereal_loads(contents[0])
            for content in contents[1:]:
                add_keys(frame, content)
            return bytes(frame.__getstate__()[1])

        return collectively(self._comm, joined)

    def content(self, frame: MetadataFrame) -> bytes | None:
        """The bytes of a frame, on rank 0. Collective."""
        mine = self._contents.get(frame.identity) if self._comm.rank == frame.rank else None
        if frame.rank == 0:
            return mine
        if mine is not None:
            transfer.send(self._comm, np.frombuffer(mine, np.uint8), 0)  # type: ignore[arg-type]
            return None
        if self._comm.rank != 0:
            return None
        received = np.empty(frame.size, np.uint8)
        transfer.receive(self._comm, received, frame.rank)  # type: ignore[arg-type]
        return received.tobytes()


def _lasting(frames: Sequence[MetadataFrame], position: int, named: bool) -> list[MetadataFrame]:
    """The metadata of earlier files that count for a file.

    Their last Observation frame is one of them unless the file names its observation itself.
    """
    earlier = frames[: bisect(frames, position - 1, key=lambda frame: frame.position)]
    observations = [frame for frame in earlier if frame.kind == _OBSERVATION]
    others = [frame for frame in earlier if frame.kind not in (_OBSERVATION, _JOINED)]
    return others if named else [*observations[-1:], *others]


def _once(frames: set[MetadataFrame]) -> list[MetadataFrame]:
    """Frames in the order of the input, without those that are equal to an earlier one."""
    found: dict[_Identity, MetadataFrame] = {}
    for frame in sorted(frames):
        found.setdefault(frame.identity, frame)
    return list(found.values())


def unwritten(
    wanted: Sequence[MetadataFrame], written: Sequence[MetadataFrame]
) -> list[MetadataFrame]:
    """The metadata that are to be written before an observation, after those of others.

    Parameters
    ----------
    wanted : sequence of MetadataFrame
        All metadata of the observation.
    written : sequence of MetadataFrame
        Those that were written last, of earlier observations.

    Returns
    -------
    list of MetadataFrame
        Nothing if they were written last; the rest if their beginning was; else all.
    """
    mine = [frame.identity for frame in wanted]
    latest = [frame.identity for frame in written]
    if not mine or latest[-len(mine) :] == mine:
        return []
    if latest and mine[: len(latest)] == latest:
        return list(wanted[len(latest) :])
    return list(wanted)
