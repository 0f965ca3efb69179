"""Stitched observations as Scan frames in a .g3 file.

The rank that writes receives the samples of other ranks row by row, and writes them at once: it
never holds more of them than a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import MismatchError
from ..g3files.frames import Piece, Sink, write_frame
from ..g3files.timestreams import TimestreamMapBytes, blob_of
from ..limits import LIMITS
from ..mpi import transfer
from ..mpi.agreement import collectively, from_all
from .headers import Gap
from .prefaces import Origin
from .stitch import StitchedObservation
from .timeline import Timeline

Array = NDArray[Any]

# Keys of stitched frames that their input does not have.
FLAGS, FLAGS_OF = "SampleFlags", "{}Flags"
TIMES, RATE = "SampleTimes", "SampleRate"

_SCAN = ord(core.G3FrameType.Scan.key)


class Rows(NamedTuple):
    """Some detectors of a map: rows from `first` to before `stop`."""

    key: str
    first: int
    stop: int


@dataclass
class StitchedScan:
    """A stitched observation as Scan frames; it may have several maps of timestreams.

    Attributes
    ----------
    parts : dict of str to StitchedObservation
        By the key of the map. All have the same scans; the first one has boresight and flags.
    origins : sequence of Origin
        Of the scans, in the order of time.
    boresight : str or None
        The key of the boresight.
    flags : str
        The key of the flags of samples.

    Raises
    ------
    MismatchError
        If the scans of the parts differ in length or times.
    """

    parts: Mapping[str, StitchedObservation]
    origins: Sequence[Origin]
    boresight: str | None
    flags: str

    def __post_init__(self) -> None:
        name, self._first = next(iter(self.parts.items()))
        for key, part in self.parts.items():
            if _extents(part.timeline) != _extents(self._first.timeline):
                raise MismatchError(
                    f"Observation {part.group!r}: the scans of {key!r} and those of "
                    f"{name!r} differ in samples or times; expected the same, so that they fit "
                    "into one frame. Stitch them one by one."
                )
            # Samples that were dropped of all detectors of this map, but not of the first one.
            more = part.flags & ~self._first.flags
            if more.any():
                part.detector_flags |= more

    @property
    def group(self) -> str:
        """The name of the observation."""
        return self.origins[0].group

    def frames(self, detectors_per_frame: int | None) -> list[list[Rows]]:
        """The rows of each frame: all, or so many detectors of one map."""
        each = [Rows(key, 0, len(part.timeline.detectors)) for key, part in self.parts.items()]
        if detectors_per_frame is None:
            return [each]
        return [
            [Rows(key, begin, min(begin + detectors_per_frame, stop))]
            for key, _, stop in each
            for begin in range(0, stop, detectors_per_frame)
        ]

    def write(self, rows: Sequence[Rows], sink: Sink | None) -> None:
        """Write a frame. Collective over the ranks of the observation.

        Parameters
        ----------
        rows : sequence of Rows
        sink : Sink or None
            Where rank 0 writes; None on the others.
        """
        entries = collectively(
            self._first.comm, lambda: [] if sink is None else self._entries_beside()
        )
        for some in rows:
            part = self.parts[some.key]
            wanted = np.arange(some.first, some.stop)
            entries.append(self._map_of(part, some.key, wanted, part.signal))
            flagged = wanted[_flagged(part)[some.first : some.stop]]
            key = FLAGS_OF.format(some.key)
            entries.append(self._map_of(part, key, flagged, part.detector_flags))
        if sink is not None:
            write_frame(sink, _SCAN, entries)
            return
        for _, _, pieces in entries:
            for _ in pieces:
                pass

    def _map_of(
        self, part: StitchedObservation, key: str, wanted: NDArray[np.intp], mine: Array
    ) -> Any:
        """The entry of some rows on rank 0; on other ranks iterating over its pieces sends them."""
        if part.comm.rank != 0:
            return key, 0, _send_rows(part, wanted, mine)
        timeline = part.timeline
        flags = mine is part.detector_flags
        last = timeline.n_samples - 1
        head = TimestreamMapBytes(
            [timeline.detectors[row] for row in wanted],
            timeline.n_samples,
            int(timeline.times(slice(0, 1))[0]),
            int(timeline.times(slice(last, last + 1))[0]),
            "None" if flags else timeline.units,
            np.dtype(np.int32) if flags else timeline.dtype,
        )
        return head.entry(key, _receive_rows(part, wanted, mine))

    def _entries_beside(self) -> list[Any]:
        """All entries of a frame but timestreams and their flags."""
        part, timeline, origins = self._first, self._first.timeline, self.origins
        scans, gaps = timeline.scans, timeline.gaps
        values = {
            **dict(origins[0].names),
            TIMES: core.G3VectorTime(part.times),
            RATE: timeline.sample_rate,
            self.flags: core.G3VectorInt(part.flags.astype(np.int32)),
            "ScanFirstSample": core.G3VectorInt([scan.first for scan in scans]),
            "ScanStopSample": core.G3VectorInt([scan.stop for scan in scans]),
            "ScanInputFiles": core.G3VectorString([origin.unit.file for origin in origins]),
            "ScanInputFrames": core.G3VectorInt([origin.unit.index for origin in origins]),
            "GapAfterScan": core.G3VectorInt([gap.after for gap in gaps]),
            "GapSamples": core.G3VectorInt([gap.n_samples for gap in gaps]),
        }
        if self.boresight is not None and part.boresight is not None:
            values[self.boresight] = core.G3VectorQuat(part.boresight)
        blobs = {key: blob_of(value) for key, value in values.items()}
        return [(key, len(blob), [blob]) for key, blob in blobs.items()]


def keys_beside(
    observation: Sequence[str], boresight: str | None, flags: str, timestreams: Sequence[str]
) -> list[str]:
    """All keys of a frame."""
    return [
        *observation,
        *(TIMES, RATE, flags, "ScanFirstSample", "ScanStopSample"),
        *("ScanInputFiles", "ScanInputFrames", "GapAfterScan", "GapSamples"),
        *([] if boresight is None else [boresight]),
        *timestreams,
        *(FLAGS_OF.format(key) for key in timestreams),
    ]


def _extents(timeline: Timeline) -> tuple[list[tuple[int, int, int, int]], tuple[Gap, ...]]:
    scans = [(s.first, s.stop, s.header.start, s.header.stop) for s in timeline.scans]
    return scans, timeline.gaps


def _flagged(part: StitchedObservation) -> NDArray[np.bool_]:
    """Which detectors have a flag anywhere. Collective."""

    def look() -> Any:
        flags = part.detector_flags
        return flags.any(axis=1).tolist() if flags.size else []

    return np.concatenate([np.asarray(some, bool) for some in from_all(part.comm, look)])


def _batches(
    part: StitchedObservation, wanted: NDArray[np.intp], itemsize: int
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Rows that fit into one message: the rank that has them, and their indices in its share."""
    n_rows = max(1, LIMITS.message_piece // max(1, part.timeline.n_samples * itemsize))
    for rank, share in enumerate(part.shares):
        begin, end = share.detectors.start, share.detectors.stop
        theirs = wanted[(wanted >= begin) & (wanted < end)] - begin
        for first in range(0, len(theirs), n_rows):
            yield rank, theirs[first : first + n_rows]


def _receive_rows(
    part: StitchedObservation, wanted: NDArray[np.intp], mine: Array
) -> Iterator[Array]:
    for rank, rows in _batches(part, wanted, mine.itemsize):
        if rank == 0:
            yield from mine[rows]
        else:
            received = np.empty((len(rows), part.timeline.n_samples), mine.dtype)
            transfer.receive(part.comm, received, rank)  # type: ignore[arg-type]
            yield from received


def _send_rows(part: StitchedObservation, wanted: NDArray[np.intp], mine: Array) -> Iterator[Piece]:
    for rank, rows in _batches(part, wanted, mine.itemsize):
        if rank == part.comm.rank:
            transfer.send(part.comm, mine[rows], 0)  # type: ignore[arg-type]
            yield b""
