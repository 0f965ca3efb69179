"""Samples sent from scans to shares of observations, and back.

All ranks know the timeline and the shares of all ranks. So each works out what it sends and
receives, and only samples are sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..limits import LIMITS
from ..mpi.swap import swap
from .headers import PlacedScan
from .scans import Scan
from .shares import Samples, Share, fill_in
from .timeline import Timeline

Array = NDArray[Any]


class _Piece(NamedTuple):
    """Some samples of some detectors of a scan: their rows and samples in the scan, and in the
    observation."""

    scan: PlacedScan
    rows: slice
    samples: slice
    in_rows: slice
    in_samples: slice

    def within(self, share: Share) -> tuple[slice, slice]:
        """Their rows and samples in a share."""
        return (
            _shifted(self.in_rows, -share.detectors.start),
            _shifted(self.in_samples, -share.samples.start),
        )


def restitch(
    comm: Any,
    timeline: Timeline,
    shares: Sequence[Share],
    scans: Mapping[int, Scan],
    out: Samples,
) -> None:
    """Send the samples of an observation from its scans to shares. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    timeline : Timeline
    shares : sequence of Share
        Of all ranks.
    scans : dict of int to Scan
        Those that are on this rank, by their index in ``MPIAccumulator.result``.
    out : Samples
        Arrays for the share of this rank. Those that are None, on all ranks, are not sent. Where no
        scan has a sample, the signal is left as it is, and `fill_in` sets the others.
    """
    # In an order that is the same on all ranks.
    wanted = [
        name for name in _ARRAYS if name in timeline.arrays and getattr(out, name) is not None
    ]
    by_detector = _ScansOfRanks(timeline, timeline.scans)
    in_common = _ScansOfRanks(timeline, timeline.in_common)

    def pieces(owner: int, holder: int) -> Iterator[tuple[str, _Piece]]:
        for name in wanted:
            kind = _ARRAYS[name]
            size = kind.size or timeline.dtype.itemsize
            of_ranks = by_detector if kind.by_detector else in_common
            for piece in _pieces(of_ranks, owner, shares[holder], size, kind.by_detector):
                if name in piece.scan.arrays:
                    yield name, piece

    def outgoing(holder: int) -> Iterator[Array]:
        for name, piece in pieces(comm.rank, holder):
            scan = scans[piece.scan.number]
            if name == "signal":
                block = scan.block(piece.rows, piece.samples)
                yield block.astype(timeline.dtype, copy=False)
            elif name == "detector_flags":
                yield _flags_by_detector(piece, scan)
            else:
                yield getattr(scan, name)[piece.samples]

    def incoming(owner: int) -> Iterator[Array]:
        for name, piece in pieces(owner, comm.rank):
            in_rows, in_samples = piece.within(shares[comm.rank])
            by_detector = _ARRAYS[name].by_detector
            yield getattr(out, name)[(in_rows, in_samples) if by_detector else in_samples]

    swap(comm, outgoing, incoming)
    fill_in(timeline, shares[comm.rank], out)


def scatter_back(
    comm: Any,
    timeline: Timeline,
    shares: Sequence[Share],
    share: Array,
    out: Mapping[int, Array],
) -> None:
    """Send samples from shares back to scans. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    timeline : Timeline
    shares : sequence of Share
        Of all ranks.
    share : array
        The samples that this rank holds, of the shape of its share.
    out : dict of int to array
        For each scan of this rank, by its index, where its samples go: shape (detectors of the
        scan, its samples), of the same dtype.
    """
    of_ranks = _ScansOfRanks(timeline, timeline.unstitched)

    def outgoing(owner: int) -> Iterator[Array]:
        mine = shares[comm.rank]
        for piece in _pieces(of_ranks, owner, mine, share.itemsize, True):
            yield share[piece.within(mine)]

    def incoming(holder: int) -> Iterator[Array]:
        for piece in _pieces(of_ranks, comm.rank, shares[holder], share.itemsize, True):
            yield out[piece.scan.number][piece.rows, piece.samples]

    swap(comm, outgoing, incoming)


class _ArrayKind(NamedTuple):
    """Bytes of a sample (0: those of the signal), and whether each detector has its own."""

    size: int
    by_detector: bool


# By names of attributes of `Samples`.
_ARRAYS = {
    "signal": _ArrayKind(0, True),
    "detector_flags": _ArrayKind(1, True),
    "boresight": _ArrayKind(32, False),
    "flags": _ArrayKind(1, False),
}


class _Rows(NamedTuple):
    """Detectors that follow each other in a scan as they do in the observation."""

    first: int
    in_first: int
    length: int


class _ScansOfRanks:
    """The scans of each rank, and the rows of their detectors in the observation."""

    def __init__(self, timeline: Timeline, scans: Sequence[PlacedScan]):
        self.scans: dict[int, list[PlacedScan]] = {}
        for scan in scans:
            self.scans.setdefault(scan.rank, []).append(scan)
        self._row_of = timeline.row_of
        # By id: equal tuples of a timeline are one object, and comparing names would be slow.
        self._known: dict[int, list[_Rows]] = {}

    def rows_of(self, detectors: tuple[str, ...]) -> list[_Rows]:
        """The rows of a scan that has these detectors."""
        if id(detectors) not in self._known:
            rows = np.array([self._row_of[name] for name in detectors])
            ends = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
            self._known[id(detectors)] = [
                _Rows(first, int(rows[first]), stop - first) for first, stop in pairwise(ends)
            ]
        return self._known[id(detectors)]


def _pieces(
    of_ranks: _ScansOfRanks, owner: int, share: Share, itemsize: int, by_detector: bool
) -> Iterator[_Piece]:
    """The parts of a share that the scans of one rank have, in pieces for one message each."""
    for scan in of_ranks.scans.get(owner, ()):
        first = max(scan.first, share.samples.start)
        stop = min(scan.stop, share.samples.stop)
        step = max(1, LIMITS.swap_piece // itemsize)
        for begin in range(first, stop, step):
            end = min(begin + step, stop)
            in_samples = slice(begin, end)
            samples = _shifted(in_samples, scan.begin - scan.first)
            if not by_detector:
                yield _Piece(scan, slice(0, 1), samples, slice(0, 1), in_samples)
                continue
            n_rows = max(1, LIMITS.swap_piece // (itemsize * (end - begin)))
            for some, in_some in _rows_in(of_ranks.rows_of(scan.header.detectors), share, n_rows):
                yield _Piece(scan, some, samples, in_some, in_samples)


def _flags_by_detector(piece: _Piece, scan: Scan) -> Array:
    """Flags by detector, and those of samples where these count for the scan's detectors only."""
    shape = (piece.rows.stop - piece.rows.start, piece.samples.stop - piece.samples.start)
    flags = np.zeros(shape, np.uint8)
    if scan.detector_flags is not None:
        flags |= scan.detector_flags[piece.rows, piece.samples]
    if piece.scan.own_flags and scan.flags is not None:
        flags |= scan.flags[piece.samples]
    return flags


def _rows_in(rows: Sequence[_Rows], share: Share, n_rows: int) -> Iterator[tuple[slice, slice]]:
    """The rows of a scan that are in a share, in the scan and in the observation, in steps."""
    for some in rows:
        first = max(some.in_first, share.detectors.start)
        stop = min(some.in_first + some.length, share.detectors.stop)
        for begin in range(first, stop, n_rows):
            in_rows = slice(begin, min(begin + n_rows, stop))
            yield _shifted(in_rows, some.first - some.in_first), in_rows


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
