"""Calibrations of observations: which one counts for which detectors, and which rank has it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial

from ..errors import MismatchError
from ..mpi import communicators
from ..mpi.agreement import from_rank
from ..pipeline.ledger import Unit
from ..spt3gtypes import Frame
from ..stitching.headers import PlacedScan
from ..stitching.timeline import Timeline
from .bolometers import Bolometers, BolometerWatch, join_bolometers


class Calibrations:
    """The calibrations that scans came with, on all ranks.

    Parameters
    ----------
    comm : communicator
    properties, nets : str, str or None
        Keys of frames; see `BolometerWatch`.
    """

    def __init__(self, comm: communicators.Comm, properties: str, nets: str | None):
        self._comm = comm
        self._watch = BolometerWatch(properties, nets)
        self._known: dict[str, Bolometers] = {}  # by digest
        self._owners: dict[Hashable, dict[str, tuple[int, list[str]]]] = {}
        self._owned: dict[tuple[Hashable, str], Bolometers] = {}

    def look_at(self, frame: Frame) -> None:
        """Keep the calibration of a frame that has one."""
        self._watch.look_at(frame)

    def digest_of(self, where: str, unit: Unit | None) -> str:
        """The digest of the calibration that counts for a scan that is read now.

        Raises
        ------
        InputError
            If there was none before the scan, which messages name `where`.
        """
        known = self._watch.latest(where, unit)
        self._known.setdefault(known.digest, known)
        return known.digest

    def assign(self, timeline: Timeline, digests: Sequence[str]) -> None:
        """Find the calibration of each detector of an observation.

        Parameters
        ----------
        timeline : Timeline
        digests : sequence of str
            Of the calibration of each of the timeline's scans.

        Raises
        ------
        MismatchError
            If a detector came with two calibrations.
        InputError
            If a detector is not in its calibration.
        """
        group = timeline.group
        self._owners[group] = _owners_of(timeline, digests)
        for digest, (owner, names) in self._owners[group].items():
            if owner == self._comm.rank:
                known = self._known[digest].select(names, f"observation {group!r}")
                self._owned[group, digest] = known

    def bolometers_of(self, timeline: Timeline) -> Bolometers:
        """The properties of all detectors of an observation, on all ranks; once. Collective."""
        parts = [
            from_rank(self._comm, owner, partial(self._owned.pop, (timeline.group, digest)))
            for digest, (owner, _) in self._owners.pop(timeline.group).items()
        ]
        return join_bolometers(parts, timeline.detectors, f"observation {timeline.group!r}")

    def clear(self) -> None:
        """Free what scans came with."""
        self._known.clear()
        self._owners.clear()
        self._owned.clear()


def _owners_of(timeline: Timeline, digests: Sequence[str]) -> dict[str, tuple[int, list[str]]]:
    """By digest of each calibration of an observation, a rank that has it, and its detectors.

    There is one, unless scans of different detectors have different ones.
    """
    first: dict[str, PlacedScan] = {}  # of each digest
    digest_of: dict[str, str] = {}  # of each detector
    seen: set[tuple[int, str]] = set()
    for scan, digest in zip(timeline.scans, digests, strict=True):
        names = scan.header.detectors
        first.setdefault(digest, scan)
        if (id(names), digest) in seen:  # equal lists of detectors are one object
            continue
        seen.add((id(names), digest))
        for name in names:
            if digest_of.setdefault(name, digest) != digest:
                known = first[digest_of[name]]
                raise MismatchError(
                    f"Observation {timeline.group!r}: {scan.header.where} (rank {scan.rank}) came "
                    f"with another calibration of {name!r} than {known.header.where} (rank "
                    f"{known.rank}). All scans of a detector in an observation must have the same "
                    "one: read its calibration frame first, and on all ranks."
                )
    owners: dict[str, tuple[int, list[str]]] = {
        digest: (scan.rank, []) for digest, scan in first.items()
    }
    for name, digest in digest_of.items():
        owners[digest][1].append(name)
    return owners
