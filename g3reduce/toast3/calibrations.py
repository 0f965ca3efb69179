"""Which calibration counts for which detectors of an observation."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import MismatchError
from ..stitching.headers import PlacedScan
from ..stitching.timeline import Timeline


def owners_of(timeline: Timeline, digests: Sequence[str]) -> dict[str, tuple[int, list[str]]]:
    """Who has each calibration of an observation, and for which of its detectors it counts.

    It is one calibration, unless detectors came in files of their own, with one of their own.

    Parameters
    ----------
    timeline : Timeline
    digests : sequence of str
        Of the calibration with which each of the timeline's scans came.

    Returns
    -------
    dict of str to (int, list of str)
        By digest: a rank that has it, and detectors.

    Raises
    ------
    MismatchError
        If a detector came with two.
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
