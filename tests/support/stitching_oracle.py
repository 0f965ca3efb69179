"""What stitched observations should hold, by serial numpy, and accumulators that ranks fill."""

from __future__ import annotations

import dataclasses

import numpy as np
import scans

from g3reduce import MPIAccumulator, ScanExtractor

INVALID = 1


@dataclasses.dataclass
class Whole:
    """A whole observation; see `StitchedObservation`."""

    detectors: tuple[str, ...]
    times: np.ndarray
    signal: np.ndarray
    boresight: np.ndarray | None
    flags: np.ndarray
    detector_flags: np.ndarray


def whole(frames, gaps="keep"):
    """The observation of these scans; gaps are filled with flagged samples if so wished."""
    frames = [frame for frame in frames if frame[scans.KEY].n_samples]
    serial = scans.concatenated(frames)
    grid = serial.grid - serial.grid[0] if gaps == "fill" else np.arange(len(serial.times))
    n_samples, n_detectors = grid[-1] + 1, len(serial.detectors)
    signal = np.zeros((n_detectors, n_samples), serial.signal.dtype)
    signal[:, grid] = np.where(serial.present, serial.signal, 0)
    flags = np.full(n_samples, INVALID, np.uint8)
    flags[grid] = 0 if serial.flags is None else serial.flags
    detector_flags = np.zeros((n_detectors, n_samples), np.uint8)
    detector_flags[:, grid] = ~serial.present * INVALID
    if serial.detector_flags is not None:
        detector_flags[:, grid] |= serial.detector_flags
    times = np.zeros(n_samples, np.int64)
    times[grid] = serial.times
    boresight = None
    if serial.boresight is not None:
        boresight = np.zeros((n_samples, 4))
        boresight[grid] = serial.boresight
    stops = {s.stop.time for s in (frame[scans.KEY] for frame in frames)}
    for before in np.flatnonzero(np.diff(grid) > 1):
        first, last = grid[before], grid[before + 1]
        part = np.arange(1, last - first) / (last - first)
        inside = slice(first + 1, last)
        # The last sample of a scan may be a tick before its stop.
        begin = next(t for t in (times[first], times[first] + 1) if t in stops)
        times[inside] = begin + (part * (times[last] - begin)).astype(np.int64)
        if boresight is not None:
            one, other = boresight[[first, last]]
            other = other * (np.sign(one @ other) or 1)
            between = one + part[:, None] * (other - one)
            boresight[inside] = between / np.linalg.norm(between, axis=1, keepdims=True)
    return Whole(serial.detectors, times, signal, boresight, flags, detector_flags)


def assert_share(found, expected, gaps="keep"):
    """That a rank holds its part of the whole: to the bit, but for what was filled."""
    rows, samples = found.share
    assert found.timeline.detectors == expected.detectors
    assert found.detectors == expected.detectors[rows]
    assert found.signal.flags.c_contiguous
    for name, part in (
        ("signal", (rows, samples)),
        ("flags", samples),
        ("detector_flags", (rows, samples)),
    ):
        mine, theirs = getattr(found, name), getattr(expected, name)[part]
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(scans.bits(mine), scans.bits(theirs), name)
    filled = np.zeros(len(expected.times), bool)
    for part in found.timeline.filled:
        filled[part] = True
    assert gaps == "fill" or not filled.any()
    filled, times = filled[samples], expected.times[samples]
    assert found.times.dtype == np.int64
    np.testing.assert_array_equal(found.times[~filled], times[~filled])
    np.testing.assert_array_equal(np.abs(found.times - times)[filled] > 1, False)
    if expected.boresight is None:
        assert found.boresight is None
    else:
        quats = expected.boresight[samples]
        np.testing.assert_array_equal(found.boresight[~filled], quats[~filled])
        np.testing.assert_allclose(found.boresight[filled], quats[filled], rtol=0, atol=1e-12)


def keys_of(frames):
    """The arguments that name the keys that these frames have."""
    keys = {"boresight": scans.BORESIGHT, "flags": scans.FLAGS}
    keys["detector_flags"] = scans.DETECTOR_FLAGS
    return {name: key if key in frames[0] else None for name, key in keys.items()}


def accumulate(comm, frames, owners, *, keys=None):
    """Scans on the ranks that own them; whole frames, or with `keys` what the extractor makes."""
    extract = None if keys is None else ScanExtractor(**keys)
    accumulator = MPIAccumulator(comm, extract)
    for frame, owner in zip(frames, owners, strict=True):
        if owner == comm.rank:
            accumulator.add(frame)
    accumulator.finish()
    return accumulator
