"""Scans in an `MPIAccumulator`: read on each rank, and put in order on all."""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Mapping
from typing import Any

from spt3g import core

from ..errors import InputError
from ..mpi.agreement import collectively, gather_packed
from ..pipeline.accumulator import MPIAccumulator
from ..pipeline.ledger import where_of
from .headers import PlacedScan, ScanHeader
from .rules import StitchRules
from .scans import Scan, ScanKeys
from .timeline import Timeline, make_timeline

# The scans of this rank, by group and by their index in it.
Scans = dict[Hashable, dict[int, Scan]]


def read_accumulated(
    accumulator: MPIAccumulator, keys: ScanKeys, rules: StitchRules
) -> tuple[Scans, dict[Hashable, Timeline]]:
    """Read the scans of this rank, and make the timelines of all observations that have samples.

    Collective over the accumulator's ranks.

    Parameters
    ----------
    accumulator : MPIAccumulator
        Its data are Scan frames, or what `ScanExtractor` makes of them.
    keys : ScanKeys
        Keys of the frames.
    rules : StitchRules

    Returns
    -------
    scans : dict of group to dict of int to Scan
        Those of this rank, by their index in ``accumulator.result[group]``.
    timelines : dict of group to Timeline

    Raises
    ------
    InputError, MismatchError, DuplicateError
        On all ranks, if data are neither frames nor scans, if a frame lacks a key, or if the scans
        of an observation do not agree; see `make_timeline`.
    """
    comm = accumulator.comm
    scans = collectively(comm, lambda: _read_scans(accumulator, keys))
    numbers = {group: number for number, group in enumerate(accumulator.result)}
    headers = {
        numbers[group]: {index: scan.header for index, scan in some.items()}
        for group, some in scans.items()
    }
    everywhere = gather_packed(comm, headers, lambda mine: pickle.dumps(_sharing_names(mine)))

    def make_all() -> dict[Hashable, Timeline]:
        found = {}
        for group, number in numbers.items():
            placed = [
                PlacedScan(header, rank, index)
                for rank, theirs in enumerate(everywhere)
                for index, header in theirs.get(number, {}).items()
            ]
            timeline = make_timeline(group, placed, rules)
            if timeline is not None:
                found[group] = timeline
        return found

    return scans, collectively(comm, make_all)


def _read_scans(accumulator: MPIAccumulator, keys: ScanKeys) -> Scans:
    scans: Scans = {}
    for group, items in accumulator.result.items():
        for index, (_, rank, data) in enumerate(items):
            if rank == accumulator.comm.rank:
                scans.setdefault(group, {})[index] = _as_scan(data, keys, group)
    return scans


def _as_scan(data: Any, keys: ScanKeys, group: Hashable) -> Scan:
    if isinstance(data, Scan):
        return data
    if isinstance(data, core.G3Frame):
        scan = keys.read(data, where_of(data))
        keys.let_go_of_bytes(data)
        return scan
    if data is None:
        raise InputError(
            f"The accumulator has no data of group {group!r} any more: they were dropped, by "
            "stitch(drop_input=True) or drop(), or its extractfunc never kept them."
        )
    raise InputError(
        f"The accumulator's data of group {group!r} are of the type {type(data).__name__}; to be "
        "stitched they must be Scan frames (leave extractfunc out) or scans (give it a "
        "ScanExtractor)."
    )


def _sharing_names(
    headers: Mapping[int, Mapping[int, ScanHeader]],
) -> dict[int, dict[int, ScanHeader]]:
    """The same headers; equal tuples of detectors are one object, which pickle writes once."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    return {
        number: {
            index: header._replace(detectors=known.setdefault(header.detectors, header.detectors))
            for index, header in some.items()
        }
        for number, some in headers.items()
    }
