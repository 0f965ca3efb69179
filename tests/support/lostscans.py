"""Scans of an observation of which samples were lost, or detectors are in frames of their own."""

from __future__ import annotations

import numpy as np
import scans
from spt3g import core

TIMES, VALID = "Times", "Valid"


def kept_of(rng, n_samples, share=0.3):
    """Which samples of a scan were not lost: its first and last are always there."""
    kept = rng.random(n_samples) >= share
    kept[[0, -1]] = True
    return kept


def with_lost_samples(frame, kept, jitter=0):
    """The same scan with its kept samples only, and with their times and a mask of them.

    Times are moved by up to `jitter` ticks, but for the first and the last.
    """
    samples = frame.pop(scans.KEY)
    rows = np.array([np.asarray(row) for row in samples.values()])
    moments = scans.times_of(samples.start.time, samples.stop.time, samples.n_samples)
    if jitter:
        moments[1:-1] += np.random.default_rng(1).integers(-jitter, jitter + 1, len(kept) - 2)
    frame[scans.KEY] = core.G3TimestreamMap(
        list(samples),
        np.ascontiguousarray(rows[:, kept]),
        samples.start,
        samples.stop,
        samples.units,
    )
    frame[TIMES] = core.G3VectorTime(moments[kept])
    frame[VALID] = core.G3VectorBool(kept.tolist())
    for key in (scans.BORESIGHT, scans.FLAGS):
        if key in frame:
            kind, values = type(frame[key]), np.asarray(frame.pop(key))[kept]
            frame[key] = core.G3VectorQuat(values) if key == scans.BORESIGHT else kind(values)
    return frame


def of_detectors(frame, names, **changes):
    """A frame of the same scan with some of its detectors."""
    found = core.G3Frame(core.G3FrameType.Scan)
    for key in frame.keys():  # noqa: SIM118  # frames are iterated otherwise
        if key not in (scans.KEY, scans.DETECTOR_FLAGS):
            found[key] = frame[key]
    samples = frame[scans.KEY]
    rows = np.array([np.asarray(samples[name]) for name in names])
    found[scans.KEY] = core.G3TimestreamMap(
        list(names), rows, samples.start, samples.stop, samples.units
    )
    for key, value in changes.items():
        del found[key]
        found[key] = value
    return found
