"""Thousands of tiny files of maps, each with other content, and what their sum must be."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import tinyfiles

from g3reduce.g3files.frames import frame_in, write_frame

N_PIXELS = 3  # that tiny maps have


def write(folder: str | os.PathLike[str], number: int) -> list[str]:
    """Write files of one frame, whose first pixel is the number of the file, from 1 on.

    Only their bytes differ from the first one's, so that some 20,000 are written in a second.
    """
    raw = frame_in(tinyfiles.tiny_frame("flat dense", 1.0).__getstate__()[1])
    entries = [(blob.name, blob.size, raw.content(blob)) for blob in raw.blobs]
    (at,) = (place for name, _, content in entries if name == "T" for place in [_first(content)])
    files = []
    for one in range(1, number + 1):
        files.append(os.path.join(folder, f"tiny_{one:05d}.g3"))
        value = struct.pack("<d", float(one))
        with Path(files[-1]).open("wb", buffering=2**14) as stream:
            write_frame(
                stream,
                raw.type,
                [
                    (name, size, [content[:at], value, content[at + 8 :]])
                    if name == "T"
                    else (name, size, [content])
                    for name, size, content in entries
                ],
            )
    return files


def _first(content: bytes) -> int:
    """Where the first pixel that is not zero is: it is the second one, of the value 2."""
    return content.index(struct.pack("<d", 2.0))


def sum_of(number: int) -> list[float]:
    """The pixels 1, 2 and 7 of the sum of so many."""
    return [number * (number + 1) / 2, 3.0 * number, 8.0 * number]
