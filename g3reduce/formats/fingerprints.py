"""The fingerprint of maps that are in no .g3 file, by which copies are found."""

from __future__ import annotations

import google_crc32c
import numpy as np

from ..g3files.frames import CRC_START, Fingerprint
from ..maps.mapfile import planes_of
from ..spt3gtypes import Frame


def pixels_fingerprint(frame: Frame, where: str) -> Fingerprint:
    """The checksum of all pixels, and how many bytes these are: of copies they are the same."""
    state, length = CRC_START, 0
    for name, plane in planes_of(frame, where).items():
        state = google_crc32c.extend(state, name.encode())
        for chunk in plane.chunks():
            values = np.ascontiguousarray(chunk.values).view(np.uint8).reshape(-1)
            state = google_crc32c.extend(state, values)
            length += len(values)
    return Fingerprint(state ^ 0xFFFFFFFF, length)
