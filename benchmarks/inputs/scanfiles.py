"""Timestreams to restitch: Scan frames of any size, whose every number can be told from its place.

So each rank makes the scans that it holds without knowing of the others, and checks the share that
it got, exactly, without a serial result to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TIMESTREAMS, BORESIGHT, FLAGS = "CalTimestreams", "OnlineRaDecRotation", "ScanFlags"
SOURCE, OBSERVATION_ID = "field", 1000
START = 140_000_000_000_000_000  # ticks of G3Time: in 2014
TICKS_PER_SAMPLE = 1_000_000  # 100 Hz


@dataclass(frozen=True)
class Size:
    """How large an observation is. Its scans have no gaps between them.

    Attributes
    ----------
    n_detectors, n_scans : int
    scan_samples : int
        Samples of each scan.
    """

    n_detectors: int
    n_scans: int
    scan_samples: int

    @property
    def n_samples(self) -> int:
        """Samples of all scans."""
        return self.n_scans * self.scan_samples

    @property
    def megabytes(self) -> float:
        """Of all detectors' signal."""
        return self.n_detectors * self.n_samples * 8 / 1e6


SIZES = {
    "tiny": Size(6, 4, 50),
    "medium": Size(500, 16, 4000),  # 256 MB
    "large": Size(1000, 32, 4000),  # 1 GB
}


def detectors(size: Size) -> list[str]:
    """Names, in order."""
    return [f"w1.p{number:04d}" for number in range(size.n_detectors)]


def make_frames(size: Size, scans: Iterable[int]) -> list[Any]:
    """Scan frames in memory, by their numbers in the observation.

    Those of rank r of n that hold every n-th one are ``range(r, size.n_scans, n)``.
    """
    return [_scan_frame(size, scan) for scan in scans]


def write_files(folder: Path, size: Size, n_files: int) -> list[str]:
    """Write the observation to files, each with the next scans, and return their names."""
    from spt3g import core

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(n_files):
        files.append(str(folder / f"scans_{number:02d}.g3"))
        observation = core.G3Frame(core.G3FrameType.Observation)
        observation["SourceName"], observation["ObservationID"] = SOURCE, OBSERVATION_ID
        first, stop = (size.n_scans * i // n_files for i in (number, number + 1))
        with core.G3Writer(files[-1]) as writer:
            writer(observation)
            for scan in range(first, stop):
                writer(_scan_frame(size, scan))
    return files


def signal(size: Size, rows: slice, samples: slice) -> NDArray[np.float64]:
    """The signal of some detectors: samples of the whole observation are numbered row by row."""
    row = np.arange(*rows.indices(size.n_detectors), dtype=np.float64) * size.n_samples
    return np.asarray(row[:, None] + np.arange(*samples.indices(size.n_samples)))


def boresight(size: Size, samples: slice) -> NDArray[np.float64]:
    """The boresight: four numbers for each sample, which are no rotations."""
    return np.asarray(np.arange(*samples.indices(size.n_samples))[:, None] + np.arange(4) / 4)


def flags(size: Size, samples: slice) -> NDArray[np.uint8]:
    """Flags of the samples, most of which are set. None is 1, which may stand for a filled gap."""
    return (np.arange(*samples.indices(size.n_samples)) % 127 * 2).astype(np.uint8)


def times(size: Size, samples: slice) -> NDArray[np.int64]:
    """Ticks of the samples."""
    return START + TICKS_PER_SAMPLE * np.arange(*samples.indices(size.n_samples), dtype=np.int64)


def is_right(size: Size, rows: slice, samples: slice, found: NDArray[np.float64]) -> bool:
    """Whether a share of the signal is the right one; takes memory of one row only."""
    first, stop, _ = rows.indices(size.n_detectors)
    expected = signal(size, slice(1), samples)[0] + first * size.n_samples
    if found.shape != (max(stop - first, 0), len(expected)):
        return False
    for row in found:
        if not np.array_equal(row, expected):
            return False
        expected += size.n_samples  # whole numbers: exact
    return True


def _scan_frame(size: Size, scan: int) -> Any:
    from spt3g import core

    first = scan * size.scan_samples
    samples = slice(first, first + size.scan_samples)
    start, stop = (core.G3Time(int(tick)) for tick in times(size, samples)[[0, -1]])
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["SourceName"], frame["ObservationID"] = SOURCE, OBSERVATION_ID
    frame[TIMESTREAMS] = core.G3TimestreamMap(
        detectors(size),
        signal(size, slice(None), samples),
        start=start,
        stop=stop,
        units=core.G3TimestreamUnits.Tcmb,
        copy_data=False,  # fresh memory may be slow
    )
    quats = core.G3TimestreamQuat(boresight(size, samples))
    quats.start, quats.stop = start, stop
    frame[BORESIGHT] = quats
    frame[FLAGS] = core.G3VectorInt(flags(size, samples).astype(np.int64))
    return frame
