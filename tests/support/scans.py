"""Small random Scan frames and files for tests of restitching, and what should come out.

What spt3g 1.0.2 does with timestreams, and what these helpers rely on:

* ``G3TimestreamMap.times``: sample i is at ``start + int(i * spacing)`` ticks (of 10 ns), cut off
  towards 0, with ``spacing = 1 / ((n - 1) / (stop - start))`` in float64. So the last sample may be
  one tick before `stop`. If there is one sample alone, the rate is not a number, and its time is
  nonsense.
* `G3TimestreamMap` keeps its detectors in the order in which they were put in; maps of vectors,
  such as `G3MapVectorBool`, sort them by name.
* ``np.asarray`` of a `G3TimestreamMap` whose timestreams differ in length, type, start or stop
  raises nothing, but is an array of the detectors' names.
* ``np.asarray`` of one that came from a file, or to which a detector was added, moves its samples
  into one block (so does its `dtype`). That frees the memory under arrays made before from single
  timestreams or from the map: to use these afterwards is a crash, or nonsense. ``np.asarray`` of
  each timestream moves nothing.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
from hypothesis import strategies as st
from spt3g import calibration, core

KEY, BORESIGHT = "CalTimestreams", "OnlineRaDecRotation"
FLAGS, DETECTOR_FLAGS = "ScanFlags", "DetectorFlags"

DTYPES = (np.float64, np.float32, np.int32, np.int64)
START = core.G3Time("20250301_120000").time
RATE = 152.6 * core.G3Units.Hz  # of SPT-3G; a sample is no whole number of ticks
UNITS = core.G3TimestreamUnits

LENGTHS, GAPS = st.integers(2, 12), st.integers(0, 3)
NO_GAPS = st.just(0)

# Kinds of flags of samples, and how to make them from integers: those for all detectors, and those
# for each detector.
FLAG_KINDS = {
    "bool": lambda flags: core.G3VectorBool((flags != 0).tolist()),
    "unsigned char": lambda flags: core.G3VectorUnsignedChar(flags.tolist()),
    "int": lambda flags: core.G3VectorInt(flags),
    "timestream": lambda flags: core.G3Timestream(flags.astype(np.int32)),
}
DETECTOR_FLAG_KINDS = {
    "bool": lambda names, flags: _by_name(core.G3MapVectorBool, names, flags != 0),
    "int": lambda names, flags: _by_name(core.G3MapVectorInt, names, flags),
    "timestreams": lambda names, flags: core.G3TimestreamMap(names, flags.astype(np.int32)),
}


def make_scan(
    rng,
    detectors=("a", "b"),
    n_samples=10,
    start=START,
    *,
    rate=RATE,
    dtype=np.float64,
    units=UNITS.Tcmb,
    boresight=core.G3TimestreamQuat,
    flags=None,
    detector_flags=None,
    obs=1000,
    source="field",
    compression_level=0,
):
    """A Scan frame with random contents; some floats are NaN, infinite or -0.

    `start` in ticks, `rate` in `core.G3Units`. `boresight` is the type of the quaternions, or None
    for none; `flags` one of `FLAG_KINDS`, or None; `detector_flags` one of `DETECTOR_FLAG_KINDS`.
    With a `compression_level` (of FLAC, for units of Counts) values are whole numbers.
    """
    shape = len(detectors), n_samples
    span = {
        "start": core.G3Time(start),
        "stop": core.G3Time(start + round((n_samples - 1) / rate)),
    }
    frame = core.G3Frame(core.G3FrameType.Scan)
    frame["SourceName"] = source
    frame["ObservationID"] = obs
    signal = rng.integers(-(2**20), 2**20, shape) if compression_level else _any(rng, dtype, shape)
    frame[KEY] = core.G3TimestreamMap(
        list(detectors),
        signal.astype(dtype, copy=False),
        **span,
        units=units,
        compression_level=compression_level,
    )
    if boresight is not None:
        quats = rng.normal(size=(n_samples, 4))
        frame[BORESIGHT] = boresight(quats / np.linalg.norm(quats, axis=1, keepdims=True))
        if boresight is core.G3TimestreamQuat:
            quats = frame.pop(BORESIGHT)
            quats.start, quats.stop = span["start"], span["stop"]
            frame[BORESIGHT] = quats
    if flags is not None:
        frame[FLAGS] = FLAG_KINDS[flags](_random_flags(rng, n_samples))
    if detector_flags is not None:
        made = DETECTOR_FLAG_KINDS[detector_flags](list(detectors), _random_flags(rng, shape))
        if isinstance(made, core.G3TimestreamMap):
            made.start, made.stop = span["start"], span["stop"]
        frame[DETECTOR_FLAGS] = made
    return frame


def an_observation(
    rng, lengths=(7, 5, 9), *, gaps=0, detectors=("a", "b", "c"), start=START, rate=RATE, **options
):
    """Scan frames in order of time, on one grid of samples to half a tick.

    Parameters
    ----------
    rng : numpy.random.Generator
    lengths : sequence of int
        Samples of each scan.
    gaps : int or sequence of int
        Samples that are missing before each scan. Those before the first one shift all.
    detectors : sequence of str, or sequence of sequences of str
        The same for all scans, or those of each.
    **options
        Of `make_scan`.
    """
    gaps = [gaps] * len(lengths) if isinstance(gaps, int) else gaps
    each = [detectors] * len(lengths) if isinstance(detectors[0], str) else detectors
    frames, first = [], 0
    for n_samples, gap, names in zip(lengths, gaps, each, strict=True):
        first += gap
        begin = start + round(first / rate)
        frames.append(make_scan(rng, names, n_samples, begin, rate=rate, **options))
        first += n_samples
    return frames


def with_dropped_samples(rng, detectors, lengths, dtype, compression_level=0, by_detector=False):
    """Scans of an observation as spt3g reads G3SuperTimestreams of which samples were dropped.

    Those of floats are NaN; those of integers are 0, and a timestream `_nanmask` beside the
    detectors is 1 there. The same for all detectors unless `by_detector`.

    Returns
    -------
    tuple
        Frames; samples of shape (detectors, samples of all scans); where these were dropped.
    """
    floats = np.dtype(dtype).kind == "f"
    frames = an_observation(rng, lengths, detectors=detectors, boresight=None, dtype=dtype)
    signals, all_dropped = [], []
    for frame, n_samples in zip(frames, lengths, strict=True):
        shape = len(detectors), n_samples
        signal = rng.integers(-1000, 1000, shape).astype(dtype)
        dropped = rng.random(shape if by_detector else (1, n_samples)) < 0.3
        dropped = np.broadcast_to(dropped, shape)
        signal[dropped] = np.nan if floats else 0
        names, rows = list(detectors), signal
        if dropped.any() and not floats:
            names, rows = [*names, "_nanmask"], np.vstack([rows, dropped[:1].astype(dtype)])
        start, stop = frame[KEY].start, frame[KEY].stop
        del frame[KEY]
        frame[KEY] = core.G3TimestreamMap(
            names, rows, start, stop, UNITS.Counts, compression_level=compression_level
        )
        signals.append(signal)
        all_dropped.append(dropped)
    return frames, np.concatenate(signals, axis=1), np.concatenate(all_dropped, axis=1)


@st.composite
def observations(
    draw,
    *,
    max_scans=5,
    lengths=LENGTHS,
    gaps=GAPS,
    max_detectors=4,
    missing=True,
    dtypes=DTYPES,
    **options,
):
    """Scan frames of one observation in order of time: any lengths, gaps, types and flags.

    Scans hold the detectors in any order, and if `missing` any of them, but at least one. There
    are no gaps with ``gaps=NO_GAPS``. What is in `options` goes to `make_scan`, and is not drawn.
    """
    names = [f"w{number}.det" for number in draw(st.permutations(range(max_detectors)))]
    names = names[: draw(st.integers(1, max_detectors))]
    n_scans = draw(st.integers(1, max_scans))
    some = st.permutations(names)
    if missing:
        some = st.lists(st.sampled_from(names), min_size=1, unique=True)
    same = draw(st.booleans())
    drawn = {
        "dtype": draw(st.sampled_from(dtypes)),
        "boresight": draw(st.sampled_from([None, core.G3VectorQuat, core.G3TimestreamQuat])),
        "flags": draw(st.sampled_from([None, *FLAG_KINDS])),
        "detector_flags": draw(st.sampled_from([None, *DETECTOR_FLAG_KINDS])),
    }
    return an_observation(
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
        [draw(lengths) for _ in range(n_scans)],
        gaps=[draw(gaps) for _ in range(n_scans)],
        detectors=names if same else [draw(some) for _ in range(n_scans)],
        **{**drawn, **options},
    )


@dataclasses.dataclass
class Concatenated:
    """Scans one after another, without what lies between them. Rows are `detectors`.

    `grid` numbers the samples from the first one on, gaps counted, at the rate of the first scan.
    So with gaps, ``full[:, grid] = signal``. `present` tells where a scan has the detector; where
    not, the signal is NaN or 0 and the detector's flags are 0. What no scan has is None; but
    NaN are flagged by 1, for all detectors if all of a scan are NaN, else by detector.
    """

    detectors: tuple[str, ...]
    times: np.ndarray  # (n,) int64, ticks
    grid: np.ndarray  # (n,) int64
    lengths: tuple[int, ...]  # of the scans, in order of time
    signal: np.ndarray  # (n_dets, n)
    present: np.ndarray  # (n_dets, n) bool
    boresight: np.ndarray | None  # (n, 4) float64
    flags: np.ndarray | None  # (n,) uint8
    detector_flags: np.ndarray | None  # (n_dets, n) uint8


def concatenated(frames, key=KEY, *, detectors=None):
    """The oracle: scans of one observation in serial, sorted by the time at which they start.

    Rows are `detectors`; by default those of the first scan in its order, then those that come
    later, in order of their coming.
    """
    frames = sorted(frames, key=lambda frame: frame[key].start.time)
    if detectors is None:
        detectors = dict.fromkeys(name for frame in frames for name in frame[key])
    signals, presents, per_detector, of_all = [], [], [], []
    for frame in frames:
        timestreams = frame[key]
        shape = len(detectors), timestreams.n_samples
        dtype = np.asarray(next(iter(timestreams.values()))).dtype
        signal = np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)
        present, flags = np.zeros(shape, bool), np.zeros(shape, np.uint8)
        for row, name in enumerate(detectors):
            if name in timestreams:
                signal[row] = np.asarray(timestreams[name])
                present[row] = True
                if DETECTOR_FLAGS in frame:
                    flags[row] = np.asarray(frame[DETECTOR_FLAGS][name])
        nan = np.isnan(signal) & present
        of_all.append((nan | ~present).all(axis=0))
        flags[nan & ~of_all[-1]] |= 1
        signals.append(signal)
        presents.append(present)
        per_detector.append(flags)
    spans = [(f[key].start.time, f[key].stop.time, f[key].n_samples) for f in frames]
    rate = next((n - 1) / (stop - start) for start, stop, n in spans if n > 1)
    firsts = [round((start - spans[0][0]) * rate) for start, _, _ in spans]
    lengths = tuple(n for _, _, n in spans)
    flags, detector_flags = _joined(frames, FLAGS, np.uint8), np.concatenate(per_detector, 1)
    of_all = np.concatenate(of_all)
    if of_all.any():
        flags = of_all | (0 if flags is None else flags)
    return Concatenated(
        detectors=tuple(detectors),
        times=np.concatenate([times_of(*span) for span in spans]),
        grid=np.concatenate([f + np.arange(n) for f, n in zip(firsts, lengths, strict=True)]),
        lengths=lengths,
        signal=np.concatenate(signals, axis=1),
        present=np.concatenate(presents, axis=1),
        boresight=_joined(frames, BORESIGHT, np.float64),
        flags=None if flags is None else flags.astype(np.uint8),
        detector_flags=(
            detector_flags if DETECTOR_FLAGS in frames[0] or detector_flags.any() else None
        ),
    )


def times_of(start, stop, n_samples):
    """Ticks of samples, as `G3Timestream.times` has them; of one sample alone its start."""
    if n_samples == 1 or start == stop:
        return np.full(n_samples, start)
    spacing = 1 / ((n_samples - 1) / float(stop - start))  # in this order, to the last bit
    return start + (np.arange(n_samples) * spacing).astype(np.int64)


def misaligned(how):
    """A `G3TimestreamMap` of which numpy makes no array of samples; `how` one of `MISALIGNED`."""
    a, b = core.G3Timestream(np.arange(9.0)), core.G3Timestream(np.arange(9.0))
    if how == "length":
        b = core.G3Timestream(np.arange(8.0))
    elif how == "type":
        b = core.G3Timestream(np.arange(9, dtype=np.float32))
    found = core.G3TimestreamMap()
    for name, timestream in {"a": a, "b": b}.items():
        timestream.units = UNITS.Tcmb
        timestream.start, timestream.stop = core.G3Time(START), core.G3Time(START + 800)
        if name == "b" and how in ("start", "stop"):
            setattr(timestream, how, core.G3Time(START + 100))
        found[name] = timestream
    return found


MISALIGNED = ("length", "type", "start", "stop")


def observation_frame(obs=1000, source="field"):
    """What leads the files of an observation."""
    frame = core.G3Frame(core.G3FrameType.Observation)
    frame["SourceName"] = source
    frame["ObservationID"] = obs
    return frame


def calibration_frame(detectors):
    """A Calibration frame with offsets and angles of detectors, which follow from their number."""
    properties = calibration.BolometerPropertiesMap()
    for number, name in enumerate(detectors):
        bolo = calibration.BolometerProperties()
        bolo.physical_name = name
        bolo.x_offset = (number % 5 - 2) * 0.2 * core.G3Units.deg
        bolo.y_offset = (number % 3 - 1) * 0.3 * core.G3Units.deg
        bolo.pol_angle = 22.5 * number % 180 * core.G3Units.deg
        bolo.pol_efficiency = 0.97
        bolo.band = 150 * core.G3Units.GHz
        properties[name] = bolo
    frame = core.G3Frame(core.G3FrameType.Calibration)
    frame["BolometerProperties"] = properties
    return frame


def write_files(folder, frames, n_files=2, name="obs_1000"):
    """Write scans of one observation to files ``<name>_00.g3`` and so on, in order, as evenly as
    can be. Each leads with an Observation and a Calibration frame."""
    detectors = dict.fromkeys(name for frame in frames for name in frame[KEY])
    lead = [
        observation_frame(frames[0]["ObservationID"], frames[0]["SourceName"]),
        calibration_frame(detectors),
    ]
    files = []
    for number in range(n_files):
        part = slice(len(frames) * number // n_files, len(frames) * (number + 1) // n_files)
        files.append(os.path.join(folder, f"{name}_{number:02d}.g3"))
        with core.G3Writer(files[-1]) as writer:
            for frame in [*lead, *frames[part]]:
                writer(frame)
    return files


def bits(values):
    """Numbers of any type as integers: by these, -0.0 is not 0.0, and a NaN equals itself."""
    values = np.ascontiguousarray(values)
    return values.view(f"i{values.dtype.itemsize}")


def _any(rng, dtype, shape):
    if np.dtype(dtype).kind == "i":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    values = rng.normal(size=shape).astype(dtype)
    special = np.array([np.nan, np.inf, -np.inf, -0.0], dtype)
    return np.where(rng.random(shape) < 0.1, rng.choice(special, shape), values)


def _random_flags(rng, shape):
    return np.where(rng.random(shape) < 0.3, rng.integers(1, 256, shape), 0)


def _by_name(kind, names, rows):
    found = kind()
    for name, row in zip(names, rows, strict=True):
        found[name] = row
    return found


def _joined(frames, key, dtype):
    if key not in frames[0]:
        return None
    return np.concatenate([np.asarray(frame[key]).astype(dtype) for frame in frames])
