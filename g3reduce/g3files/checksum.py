"""The checksum of a frame, compared with what is read of it."""

from __future__ import annotations

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from ..buffers import buffer
from ..errors import InputError
from ..limits import LIMITS
from .frames import CRC, CRC_START, Blob, RawFrame


class Checksum:
    """Compares the bytes of a frame, as they are read, with the checksum that it carries.

    Each part of the frame that is read must be shown here before it is used; or `finish` must be
    called afterwards. Parts that are not shown are read here. They should be shown in the order of
    the file: after a part that comes again, or behind a later one, the whole frame is read and
    compared once more, because the file may have changed meanwhile.

    Parameters
    ----------
    frame : RawFrame
    """

    def __init__(self, frame: RawFrame):
        self._frame = frame
        self._begin()

    def _begin(self) -> None:
        self._state = CRC_START
        self._left = list(reversed(self._frame.blobs))
        self._named = False  # whether the name of the next blob was taken
        self._position = 0
        self._finished = False

    def show(self, offset: int, part: NDArray[np.uint8]) -> None:
        """Take a part that was read."""
        if self._finished or offset < self._position:
            self.finish()
            self._begin()
        self._pass_to(offset)
        if not self._left or offset < self._left[-1].offset:
            return
        covered = part[: max(0, _covered_end(self._left[-1]) - offset)]
        self._state = google_crc32c.extend(self._state, covered)
        self._position = offset + len(covered)

    def finish(self) -> None:
        """Compare, unless nothing was shown since this was done.

        Raises
        ------
        InputError
            If the checksums differ.
        """
        if self._finished:
            return
        frame = self._frame
        if frame.small and not self._position and not self._named:
            self._take_all()
        self._pass_to(frame.end)
        last = frame.source.read(frame.end - CRC.size, CRC.size)
        (stored,) = CRC.unpack(last.ljust(CRC.size))
        found = self._state ^ 0xFFFFFFFF
        frame.source.require_unchanged()
        if found != stored:
            raise InputError(
                f"{frame}, byte {frame.start}: this frame cannot be read, the file is broken here "
                f"(the content has the checksum {found:#010x}, but {stored:#010x} is stored). "
                "`spt3g-verify` shows what can be read.",
                fault=f"wrong checksum in frame {frame.index}",
            )
        self._finished = True

    def _take_all(self) -> None:
        frame, state = self._frame, self._state
        data, begin = frame.read(), frame.start
        for blob in frame.blobs:
            state = google_crc32c.extend(state, blob.name.encode("utf-8", "surrogateescape"))
            state = google_crc32c.extend(state, data[blob.offset - begin : blob.end - begin])
        self._state, self._left = state, []

    def _pass_to(self, offset: int) -> None:
        """Read what was not shown up to this offset."""
        while self._left:
            blob = self._left[-1]
            if not self._named:  # by the name that was read: it is what the frame goes by
                name = blob.name.encode("utf-8", "surrogateescape")
                self._state = google_crc32c.extend(self._state, name)
                self._named = True
            start, end = max(blob.offset, self._position), _covered_end(blob)
            stop = min(end, offset)
            while start < stop:
                part = buffer("checksum", min(LIMITS.step, stop - start))
                self._frame.source.read_into(start, part.data)
                self._state = google_crc32c.extend(self._state, part)
                start += len(part)
            self._position = max(self._position, start)
            if offset < end:
                return
            self._left.pop()
            self._named = False


def _covered_end(blob: Blob) -> int:
    """Where the part of a blob ends that the checksum covers: spt3g counts bytes in 32 bits."""
    return blob.offset + (blob.size & 0xFFFFFFFF)
