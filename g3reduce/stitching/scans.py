"""Scan frames as numpy arrays: samples of detectors, boresight, flags, and places in time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import InputError, UsageError
from ..g3files.dropped import detectors_of, dropped_of_all
from ..pipeline.ledger import where_of
from ..pipeline.observations import ObservationNames
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from .flags import INVALID, Flags, as_flags, flag_missing, missing_samples, unexpected
from .headers import ScanHeader
from .lostsamples import (
    Places,
    PresentSamples,
    offsets_of,
    places_by_mask,
    places_by_times,
    segments_of,
)

Array = NDArray[Any]

_REASONS = (core.G3MapVectorString, core.G3MapString)


@dataclass(repr=False)
class Scan:
    """The arrays of a scan that this rank has read.

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
        Samples that a mask says were dropped of all detectors. They are flagged.
    """

    header: ScanHeader
    signal: Array | list[Array]
    boresight: Array | None = None
    flags: Flags | None = None
    detector_flags: Flags | None = None
    dropped: NDArray[np.bool_] | None = None

    def __repr__(self) -> str:
        detectors, samples = self.header.shape
        return f"<Scan {self.header.where}: {detectors} detectors, {samples} samples>"

    def block(self, detectors: slice, samples: slice) -> Array:
        """Some samples of some detectors; a copy unless all are in one array."""
        if isinstance(self.signal, np.ndarray):
            return self.signal[detectors, samples]
        return np.array([row[samples] for row in self.signal[detectors]])

    def detached(self) -> Scan:
        """A copy of the scan, in memory of its own: spt3g's objects may free theirs."""
        header = self.header
        signal = np.empty(header.shape, header.dtype)
        for mine, row in zip(signal, self.signal, strict=True):
            mine[:] = row
        boresight = None if self.boresight is None else self.boresight.copy()
        return replace(self, signal=signal, boresight=boresight)


@dataclass(frozen=True)
class ScanKeys:
    """Keys of Scan frames: which parts of a frame are restitched.

    Parameters
    ----------
    timestreams : str
        A ``G3TimestreamMap``.
    boresight : str or None
        A ``G3VectorQuat`` or ``G3TimestreamQuat``, one quaternion a sample.
    flags : str or None
        Flags of samples, of all detectors: a vector of booleans or small integers; 0 is good.
    detector_flags : str or None
        Flags by detector: a map of such vectors, or a ``G3TimestreamMap`` of integers. Or flags of
        detectors for the whole scan: a ``G3MapVectorString`` of reasons, as SPT has it, or a
        ``G3VectorString`` of names. Detectors that it does not name are good.
    times : str or None
        The time of each sample, a ``G3VectorTime``, for scans in which some were lost. None:
        samples are at even steps from the start to the stop of the timestreams.
    valid : str or None
        The same from a mask, a vector of booleans that is true for good samples. It has a value for
        each sample, and those where it is false are flagged; or it has a true value for each
        sample, and a false one for each that was lost between them.
    """

    timestreams: str = "CalTimestreams"
    _: KW_ONLY
    boresight: str | None = "OnlineRaDecRotation"
    flags: str | None = None
    detector_flags: str | None = None
    times: str | None = None
    valid: str | None = None

    def __post_init__(self) -> None:
        for name, key in vars(self).items():
            if not isinstance(key, str) and (key is not None or name == "timestreams"):
                raise UsageError(f"{name} is {key!r}; expected the name of a key of Scan frames.")
        if self.times is not None and self.valid is not None:
            raise UsageError(
                f"times is {self.times!r} and valid is {self.valid!r}; expected one of them, since "
                "each says which samples were lost."
            )

    def read(self, frame: Frame, where: str) -> Scan:
        """Read a scan from its frame.

        Where numpy can, the arrays are views of the frame's objects: they are valid as long as
        these do not change.

        Parameters
        ----------
        frame : spt3g.core.G3Frame
        where : str
            The name of the frame in messages.

        Raises
        ------
        InputError
            If a key is missing, or is not what it should be.
        """
        samples = _get(frame, self.timestreams, where, "timestreams")
        if not isinstance(samples, core.G3TimestreamMap):
            raise unexpected(where, self.timestreams, samples, "a G3TimestreamMap")
        detectors = detectors_of(samples)
        if not detectors:  # spt3g's binners skip such frames, too
            return Scan(ScanHeader(where, (), 0, 0, 0, "", np.dtype(float)), [])
        signal = _rows_of(samples, detectors, where, self.timestreams)
        n_samples = len(signal[0])
        dropped = dropped_of_all(samples)
        missing = missing_samples(signal, dropped)
        present = PresentSamples(
            n_samples, None if missing is None else np.logical_not(missing.all(axis=0))
        )
        moments, valid = self._moments(frame, present, where), self._valid(frame, where)
        places: Places | None = None
        if moments is not None:
            places = places_by_times(moments, where, str(self.times))
        elif valid is not None and len(valid) != n_samples:
            places = places_by_mask(valid, n_samples, where, str(self.valid))
        elif valid is not None and not valid.all():
            dropped = ~valid if dropped is None else dropped | ~valid
            missing = missing_samples(signal, dropped)
        parts: dict[str, Any] = {
            "signal": signal,
            "boresight": self._boresight(frame, present, where),
            "flags": self._flags(frame, present, where),
            "detector_flags": self._detector_flags(frame, detectors, present, where),
        }
        boresight = parts["boresight"]
        fields = tuple(name for name, part in parts.items() if part is not None)
        flagged = flag_missing(parts, missing)
        lossy_segments = () if places is None else segments_of(places)
        header = ScanHeader(
            where,
            detectors,
            n_samples,
            samples.start.time if moments is None else int(moments[0]),
            samples.stop.time if moments is None else int(moments[-1]),
            samples[detectors[0]].units.name,
            np.result_type(*{row.dtype for row in signal}),
            fields,
            flagged=flagged,
            lossy_segments=lossy_segments,
            digests={
                name: hashlib.blake2b(parts[name], digest_size=16).digest()
                for name in ("boresight", "flags")
                if parts[name] is not None
            },
        )
        if boresight is not None and n_samples:
            # Copies, so that headers do not keep the samples in memory.
            borders = [n for s in header.segments for n in (s.first, s.first + s.n_samples - 1)]
            header = header._replace(ends=tuple(boresight[n].copy() for n in borders))
        if moments is not None and places is not None:
            header = header._replace(offsets=offsets_of(moments, places, header.step))
        return Scan(header, **parts, dropped=dropped)

    def let_go_of_bytes(self, frame: Frame) -> None:
        """Free the serialized bytes of what was read of a frame.

        A frame from a file keeps them beside the objects that were made from them, and they are as
        large. The frame has the same content afterwards, and arrays stay valid.
        """
        for key in vars(self).values():
            if key is not None and key in frame:  # scans without detectors may lack some
                frame[key] = frame.pop(key)

    def _moments(
        self, frame: Frame, present: PresentSamples, where: str
    ) -> NDArray[np.int64] | None:
        """The times of samples, if a key names them."""
        if self.times is None:
            return None
        value = _get(frame, self.times, where, "times")
        if not isinstance(value, core.G3VectorTime):
            raise unexpected(where, self.times, value, "a G3VectorTime")
        return present.all_times(np.array(value, np.int64), where, self.times)

    def _valid(self, frame: Frame, where: str) -> NDArray[np.bool_] | None:
        """The mask of good samples, if a key names it."""
        if self.valid is None:
            return None
        value = _get(frame, self.valid, where, "valid")
        return np.asarray(as_flags(value, where, self.valid) != 0)

    def _boresight(self, frame: Frame, present: PresentSamples, where: str) -> Array | None:
        if self.boresight is None:
            return None
        value = _get(frame, self.boresight, where, "boresight")
        if not isinstance(value, core.G3VectorQuat):
            raise unexpected(where, self.boresight, value, "a G3VectorQuat or a G3TimestreamQuat")
        return present.spread(np.asarray(value).reshape(-1, 4), where, self.boresight)

    def _flags(self, frame: Frame, present: PresentSamples, where: str) -> Flags | None:
        if self.flags is None:
            return None
        value = _get(frame, self.flags, where, "flags")
        return present.spread(as_flags(value, where, self.flags), where, self.flags)

    def _detector_flags(
        self, frame: Frame, detectors: tuple[str, ...], present: PresentSamples, where: str
    ) -> Flags | None:
        key = self.detector_flags
        if key is None:
            return None
        value = _get(frame, key, where, "detector_flags")
        flags = np.zeros((len(detectors), present.n_samples), np.uint8)
        if isinstance(value, core.G3VectorString):
            flags[np.isin(detectors, list(value))] = INVALID
        elif isinstance(value, _REASONS):
            flags[[bool(value.get(name)) for name in detectors]] = INVALID
        elif hasattr(value, "keys"):
            for row, name in zip(flags, detectors, strict=True):
                if name in value:
                    named = f"{key}[{name!r}]"
                    row[:] = present.spread(as_flags(value[name], where, named), where, named)
        else:
            raise unexpected(where, key, value, "a map by detector, or a G3VectorString of names")
        return flags


@useful
class ScanExtractor:
    """An `extractfunc` for `MPIAccumulator` that keeps of Scan frames only what is restitched.

    The frames themselves are not kept. Groups are observations, named
    ``"SourceName-ObservationID"``; the metadata are the time of the first sample, and the data a
    `Scan`.

    Parameters
    ----------
    timestreams, boresight, flags, detector_flags, times, valid : str or None
        Keys of Scan frames; see `ScanKeys`.
    observation_keys : str, sequence of str, or None
        Keys of Scan frames, or of the Observation frame before them, that name the observation.
        None: ``SourceName`` and ``ObservationID``.

    Examples
    --------
    >>> scans = ScanExtractor("CalTimestreams150GHz", flags="TurnaroundFlags")
    >>> accumulator = MPIAccumulator(comm, scans)  # doctest: +SKIP
    """

    def __init__(
        self,
        timestreams: str = "CalTimestreams",
        *,
        boresight: str | None = "OnlineRaDecRotation",
        flags: str | None = None,
        detector_flags: str | None = None,
        times: str | None = None,
        valid: str | None = None,
        observation_keys: str | Sequence[str] | None = None,
    ):
        self.keys = ScanKeys(
            timestreams,
            boresight=boresight,
            flags=flags,
            detector_flags=detector_flags,
            times=times,
            valid=valid,
        )
        self._names = ObservationNames(observation_keys)

    def __call__(self, frame: Frame) -> tuple[str, int, Scan] | None:
        """The group, the start and the samples of a Scan frame; None for others."""
        self._names.observe(frame)
        if frame.type != core.G3FrameType.Scan:
            return None
        where = where_of(frame)
        scan = self.keys.read(frame, where)
        return self._names.name_of(frame, where), scan.header.start, scan.detached()


def _get(frame: Frame, key: str, where: str, argument: str) -> Any:
    if key not in frame:
        raise InputError(
            f"{where} has no {key!r}; it has {', '.join(frame.keys()) or 'no keys at all'}. Give "
            f"another key as {argument}=."
        )
    return frame[key]


def _rows_of(samples: Any, detectors: tuple[str, ...], where: str, key: str) -> list[Array]:
    """The samples of each detector, as views.

    The map as a whole is not used as one array: spt3g would move all samples into one block, and
    free the memory of arrays that are still in use.
    """
    lacking = [name for name in detectors if samples[name] is None]
    if lacking:
        raise InputError(f"{where}: {key!r} has no samples of {', '.join(lacking[:5])}.")
    units = {samples[name].units.name for name in detectors}
    if not samples.CheckAlignment() or len(units) > 1:
        raise InputError(
            f"{where}: the timestreams of {key!r} do not agree in number of samples, start, stop "
            "or units; expected the same for all detectors of a scan."
        )
    return [np.asarray(samples[name]) for name in detectors]
