"""Scan frames to numpy: samples of detectors, boresight and flags, and what all ranks are told."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..dropped import detectors_of, dropped_of_all
from ..errors import InputError, UsageError
from ..ledger import where_of
from ..observations import ObservationNames

Array = NDArray[Any]
Flags = NDArray[np.uint8]

# What a flag says where a scan has no sample: the bit that TOAST takes for "invalid", too.
INVALID = 1

_REASONS = (core.G3MapVectorString, core.G3MapString)
_BYTES = (core.G3VectorBool, core.G3VectorUnsignedChar)


class ScanHeader(NamedTuple):
    """What all ranks know of a scan.

    Attributes
    ----------
    where : str
        Its source, as messages name it.
    detectors : tuple of str
        The rows of the samples.
    n_samples : int
    start, stop : int
        Times of the first and the last sample, as in ``G3Time.time`` (units of 10 ns).
    units : str
        Of the samples: the name of a ``G3TimestreamUnits``.
    dtype : numpy.dtype
        Of the samples.
    fields : tuple of str
        What the keys name of it: attributes of `Scan`.
    ends : tuple of array of shape (4,), or None
        The boresight at the first and at the last sample.
    flagged : tuple of str
        Flags that it has, whether a key names them or not, because samples were dropped.
    """

    where: str
    detectors: tuple[str, ...]
    n_samples: int
    start: int
    stop: int
    units: str
    dtype: np.dtype[Any]
    fields: tuple[str, ...] = ("signal",)
    ends: tuple[Array, Array] | None = None
    flagged: tuple[str, ...] = ()

    @property
    def planes(self) -> frozenset[str]:
        """What there is of it: names of attributes of `Scan`."""
        return frozenset(self.fields + self.flagged)

    @property
    def shape(self) -> tuple[int, int]:
        """How many detectors and samples there are."""
        return len(self.detectors), self.n_samples

    @property
    def last(self) -> int:
        """The time of the last sample; of one alone its start, whatever the stop is."""
        return self.stop if self.n_samples > 1 else self.start

    @property
    def step(self) -> float:
        """The time from one sample to the next; NaN where there is only one."""
        intervals, duration = self.n_samples - 1, float(self.stop - self.start)
        if intervals < 1:
            return math.nan
        # spt3g goes by the rate; this is its spacing to the last bit.
        return 1.0 / (intervals / duration) if duration > 0 else duration


@dataclass
class Scan:
    """A scan whose samples are on this rank.

    Attributes
    ----------
    header : ScanHeader
    signal : array of shape (n_detectors, n_samples), or list of its rows
    boresight : float64 array, shape (n_samples, 4), or None
        Quaternions, the real part first, as spt3g has them.
    flags : uint8 array, shape (n_samples,), or None
        Of all detectors; 0 is good.
    detector_flags : uint8 array, shape (n_detectors, n_samples), or None
    dropped : bool array, shape (n_samples,), or None
        What the mask of the timestreams says did not come of any detector. It is flagged.
    """

    header: ScanHeader
    signal: Array | list[Array]
    boresight: Array | None = None
    flags: Flags | None = None
    detector_flags: Flags | None = None
    dropped: NDArray[np.bool_] | None = None

    def block(self, detectors: slice, samples: slice) -> Array:
        """Some samples of some detectors; a copy unless all are in one array."""
        if isinstance(self.signal, np.ndarray):
            return self.signal[detectors, samples]
        return np.array([row[samples] for row in self.signal[detectors]])

    def detached(self) -> Scan:
        """The same scan in memory of its own.

        That of spt3g's objects may be given back under the arrays that look into it.
        """
        header = self.header
        signal = np.empty(header.shape, header.dtype)
        for mine, row in zip(signal, self.signal, strict=True):
            mine[:] = row
        boresight = None if self.boresight is None else self.boresight.copy()
        return replace(self, signal=signal, boresight=boresight)


@dataclass(frozen=True)
class ScanKeys:
    """Where in a Scan frame the parts of an observation are.

    Parameters
    ----------
    timestreams : str
        A ``G3TimestreamMap``.
    boresight : str or None
        A ``G3VectorQuat`` or ``G3TimestreamQuat``, one quaternion a sample.
    flags : str or None
        Flags of samples, of all detectors: a vector of booleans or small integers; 0 is good.
    detector_flags : str or None
        Flags by detector: a map of such vectors, or a ``G3TimestreamMap`` of integers; or what
        flags a detector in the whole scan: a ``G3MapVectorString`` of reasons, as SPT has it, or a
        ``G3VectorString`` of names. Detectors that it does not name are good.
    """

    timestreams: str = "CalTimestreams"
    boresight: str | None = "OnlineRaDecRotation"
    flags: str | None = None
    detector_flags: str | None = None

    def __post_init__(self) -> None:
        for name in ("timestreams", "boresight", "flags", "detector_flags"):
            key = getattr(self, name)
            if not isinstance(key, str) and (key is not None or name == "timestreams"):
                raise UsageError(f"{name} is {key!r}; expected the name of a key of Scan frames.")

    def read(self, frame: Any, where: str) -> Scan:
        """Take a scan from its frame.

        The arrays are those of the frame's objects wherever numpy can look into them, so they are
        of use as long as nobody else works with these.

        Parameters
        ----------
        frame : spt3g.core.G3Frame
        where : str
            How messages name it.

        Raises
        ------
        InputError
            If a key is missing, or is not what it should be.
        """
        samples = _get(frame, self.timestreams, where, "timestreams")
        if not isinstance(samples, core.G3TimestreamMap):
            raise _unexpected(where, self.timestreams, samples, "a G3TimestreamMap")
        detectors = detectors_of(samples)
        if not detectors:  # spt3g's binners, too, pass such frames by
            return Scan(ScanHeader(where, (), 0, 0, 0, "", np.dtype(float)), [])
        signal = _rows_of(samples, detectors, where, self.timestreams)
        n_samples = len(signal[0])
        dropped = dropped_of_all(samples)
        parts: dict[str, Any] = {
            "signal": signal,
            "boresight": self._boresight(frame, n_samples, where),
            "flags": self._flags(frame, n_samples, where),
            "detector_flags": self._detector_flags(frame, detectors, n_samples, where),
        }
        boresight = parts["boresight"]
        fields = tuple(name for name, part in parts.items() if part is not None)
        flagged = _flag_dropped(parts, signal, dropped)
        header = ScanHeader(
            where,
            detectors,
            n_samples,
            samples.start.time,
            samples.stop.time,
            samples[detectors[0]].units.name,
            np.result_type(*{row.dtype for row in signal}),
            fields,
            # Copies: what all ranks are told should not keep the samples.
            (boresight[0].copy(), boresight[-1].copy())
            if boresight is not None and n_samples
            else None,
            flagged,
        )
        return Scan(header, **parts, dropped=dropped)

    def let_go_of_bytes(self, frame: Any) -> None:
        """Let a frame that was read keep its parts as objects alone.

        One from a file would also keep the bytes that they were made from, as large as they are.
        What was read stays of use, and the frame is as it was.
        """
        for key in (self.timestreams, self.boresight, self.flags, self.detector_flags):
            if key is not None and key in frame:  # a scan without detectors may lack the others
                frame[key] = frame.pop(key)

    def _boresight(self, frame: Any, n_samples: int, where: str) -> Array | None:
        if self.boresight is None:
            return None
        value = _get(frame, self.boresight, where, "boresight")
        if not isinstance(value, core.G3VectorQuat):
            raise _unexpected(where, self.boresight, value, "a G3VectorQuat or a G3TimestreamQuat")
        _require_length(value, n_samples, where, self.boresight)
        return np.asarray(value).reshape(n_samples, 4)

    def _flags(self, frame: Any, n_samples: int, where: str) -> Flags | None:
        if self.flags is None:
            return None
        value = _get(frame, self.flags, where, "flags")
        return _as_flags(value, n_samples, where, self.flags)

    def _detector_flags(
        self, frame: Any, detectors: tuple[str, ...], n_samples: int, where: str
    ) -> Flags | None:
        key = self.detector_flags
        if key is None:
            return None
        value = _get(frame, key, where, "detector_flags")
        flags = np.zeros((len(detectors), n_samples), np.uint8)
        if isinstance(value, core.G3VectorString):
            flags[np.isin(detectors, list(value))] = INVALID
        elif isinstance(value, _REASONS):
            flags[[bool(value.get(name)) for name in detectors]] = INVALID
        elif hasattr(value, "keys"):
            for row, name in zip(flags, detectors, strict=True):
                if name in value:
                    row[:] = _as_flags(value[name], n_samples, where, f"{key}[{name!r}]")
        else:
            raise _unexpected(where, key, value, "a map by detector, or a G3VectorString of names")
        return flags


class ScanExtractor:
    """An `extractfunc` for `MPIAccumulator` that keeps of Scan frames just what is restitched.

    The frames themselves are let go. Groups are observations, named by their
    ``"SourceName-ObservationID"``; the metadata are the time of the first sample, and the data a
    `Scan`.

    Parameters
    ----------
    timestreams, boresight, flags, detector_flags : str or None
        Keys of Scan frames; see `ScanKeys`.

    Examples
    --------
    >>> scans = ScanExtractor("CalTimestreams150GHz", flags="TurnaroundFlags")
    >>> accumulator = MPIAccumulator(comm, scans)  # doctest: +SKIP
    """

    def __init__(
        self,
        timestreams: str = "CalTimestreams",
        boresight: str | None = "OnlineRaDecRotation",
        flags: str | None = None,
        detector_flags: str | None = None,
    ):
        self.keys = ScanKeys(timestreams, boresight, flags, detector_flags)
        self._names = ObservationNames()

    def __call__(self, frame: Any) -> tuple[str, int, Scan] | None:
        """The group, the start and the samples of a Scan frame; None for others."""
        self._names.look_at(frame)
        if frame.type != core.G3FrameType.Scan:
            return None
        where = where_of(frame)
        scan = self.keys.read(frame, where)
        return self._names.name_of(frame, where), scan.header.start, scan.detached()


def _get(frame: Any, key: str, where: str, argument: str) -> Any:
    if key not in frame:
        raise InputError(
            f"{where} has no {key!r}; it has {', '.join(frame.keys()) or 'no keys at all'}. Name "
            f"the key that is meant by {argument}=."
        )
    return frame[key]


def _unexpected(where: str, key: str, value: Any, expected: str) -> InputError:
    return InputError(f"{where}: {key!r} is a {type(value).__name__}; expected {expected}.")


def _require_length(value: Any, n_samples: int, where: str, key: str) -> None:
    if len(value) != n_samples:
        raise InputError(
            f"{where}: {key!r} has {len(value)} samples, but the timestreams have {n_samples}."
        )


def _rows_of(samples: Any, detectors: tuple[str, ...], where: str, key: str) -> list[Array]:
    """The samples of each detector.

    Not those of the map as a whole: that would have spt3g move all of them into one block, and
    give back the memory of arrays that somebody may hold.
    """
    units = {samples[name].units.name for name in detectors}
    if not samples.CheckAlignment() or len(units) > 1:
        raise InputError(
            f"{where}: the timestreams of {key!r} do not agree in number of samples, start, stop "
            "or units; expected the same for all detectors of a scan."
        )
    return [np.asarray(samples[name]) for name in detectors]


def _flag_dropped(
    parts: dict[str, Any], signal: list[Array], dropped: NDArray[np.bool_] | None
) -> tuple[str, ...]:
    """Flag the samples that did not come: masked ones, and those that are NaN.

    Returns
    -------
    tuple of str
        Which flags there are now because of that: those of all detectors for samples that none of
        them has, those by detector for others.
    """
    if dropped is None and not any(samples.dtype.kind == "f" for samples in signal):
        return ()
    missing = np.zeros((len(signal), len(signal[0])), bool)
    for row, samples in zip(missing, signal, strict=True):
        if samples.dtype.kind == "f":
            np.isnan(samples, out=row)
        if dropped is not None:
            row |= dropped
    of_all = missing.all(axis=0)
    flagged = []
    for name, flags in (("flags", of_all), ("detector_flags", missing & ~of_all)):
        if flags.any():
            flags = flags * np.uint8(INVALID)
            parts[name] = flags if parts[name] is None else parts[name] | flags
            flagged.append(name)
    return tuple(flagged)


def _as_flags(value: Any, n_samples: int, where: str, key: str) -> Flags:
    if isinstance(value, _BYTES) and len(value):
        # Their archives end with a byte for each; numpy would take them one by one.
        flags = np.frombuffer(value._cereal_dumps(), np.uint8)[-len(value) :]
    else:
        flags = np.asarray(value)
    if flags.ndim != 1 or flags.dtype.kind not in "biuf":
        raise _unexpected(where, key, value, "a vector of booleans or small integers")
    _require_length(flags, n_samples, where, key)
    with np.errstate(invalid="ignore"):
        whole = flags.astype(np.uint8)
    if (whole != flags).any():
        raise InputError(
            f"{where}: {key!r} has flags from {flags.min()} to {flags.max()}; expected integers "
            "from 0 to 255."
        )
    return whole
