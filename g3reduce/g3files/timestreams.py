"""The bytes into which spt3g serializes timestreams, made from rows that come one after another.

So a map of timestreams that no rank could hold is written piece by piece.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from .archive import NEW, head_of
from .frames import Piece, frame_in

Array = NDArray[Any]

# After the head of the map comes the number of timestreams. Each has its name, a mark that its
# class is the one that the map holds, the number of the object, in the first one the versions, and
# units, times, no FLAC, the type and the number of samples.
_HEAD = head_of("G3TimestreamMap", 3)
_LENGTH = struct.Struct("<Q")
_FIRST, _NEXT = struct.Struct("<IIIIIqqBIQ"), struct.Struct("<IIIqqBIQ")
_NOT_DERIVED = 0x40000000
_ROW_VERSION, _TIME_VERSION = 4, 1

_TYPES = {np.dtype(name): code for code, name in enumerate(("f8", "f4", "i4", "i8"))}


@dataclass(frozen=True)
class TimestreamMapBytes:
    """A `G3TimestreamMap` on its way into a file.

    Attributes
    ----------
    detectors : sequence of str
    n_samples : int
    start, stop : int
        As in ``G3Time.time``.
    units : str
        The name of a ``G3TimestreamUnits``.
    dtype : numpy.dtype
        Of the samples: float64, float32, int32 or int64.
    """

    detectors: Sequence[str]
    n_samples: int
    start: int
    stop: int
    units: str
    dtype: np.dtype[Any]

    def entry(self, key: str, rows: Iterable[Array]) -> tuple[str, int, Iterable[Piece]]:
        """The entry of a frame, as `frames.write_frame` takes it.

        Parameters
        ----------
        key : str
        rows : iterable of array
            The samples of each detector.
        """
        if not self._known():
            samples = np.array(list(rows), self.dtype).reshape(-1, self.n_samples)
            content = blob_of(self._as_spt3g(samples))
            return key, len(content), [content]
        return key, self._size(), self._pieces(rows)

    def _known(self) -> bool:
        """Whether this spt3g writes timestreams as it is done here."""
        one = TimestreamMapBytes(
            list(self.detectors)[:2], 1, self.start, self.stop, self.units, self.dtype
        )
        samples = np.ones((len(one.detectors), 1), self.dtype)
        return b"".join(map(bytes, one._pieces(samples))) == blob_of(one._as_spt3g(samples))

    def _size(self) -> int:
        names = sum(len(name.encode()) for name in self.detectors)
        each = _LENGTH.size + _NEXT.size + self.n_samples * self.dtype.itemsize
        more = _FIRST.size - _NEXT.size if self.detectors else 0
        return len(_HEAD) + _LENGTH.size + names + len(self.detectors) * each + more

    def _pieces(self, rows: Iterable[Array]) -> Iterator[Piece]:
        yield _HEAD + _LENGTH.pack(len(self.detectors))
        units = int(getattr(core.G3TimestreamUnits, self.units))
        rest = (self.start, self.stop, 0, _TYPES[self.dtype], self.n_samples)
        for number, (name, row) in enumerate(zip(self.detectors, rows, strict=True)):
            encoded = name.encode()
            ids = (_NOT_DERIVED, NEW | (number + 2))
            if number:
                head = _NEXT.pack(*ids, units, *rest)
            else:
                head = _FIRST.pack(*ids, _ROW_VERSION, units, _TIME_VERSION, *rest)
            yield _LENGTH.pack(len(encoded)) + encoded + head
            if self.n_samples:
                yield np.ascontiguousarray(row, self.dtype)

    def _as_spt3g(self, samples: Array) -> Any:
        if not self.detectors:
            return core.G3TimestreamMap()
        return core.G3TimestreamMap(
            list(self.detectors),
            samples,
            start=core.G3Time(self.start),
            stop=core.G3Time(self.stop),
            units=getattr(core.G3TimestreamUnits, self.units),
        )


def blob_of(value: Any) -> bytes:
    """The bytes of an object in a frame."""
    frame = core.G3Frame()
    frame["value"] = value
    raw = frame_in(frame.__getstate__()[1])
    return raw.content(raw.blobs[0])
