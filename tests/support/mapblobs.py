"""Serialized maps, and what is found in their bytes."""

from __future__ import annotations

import io

from hypothesis import settings
from spt3g import core

from g3reduce.g3files.frames import walk, write_frame
from g3reduce.g3files.maps import find_maps
from g3reduce.g3files.source import MemoryBytes

fewer = settings(max_examples=60)
MAP = int(core.G3FrameType.Map)


def blob_of(value):
    """The bytes by which a frame holds an object."""
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["it"] = value
    (raw,) = walk(MemoryBytes(frame.__getstate__()[1]))
    return raw.content(raw.blobs[0])


def object_of(blob):
    file = io.BytesIO()
    write_frame(file, MAP, [("it", len(blob), [blob])])
    frame = core.G3Frame()
    frame._cereal_loads(file.getvalue())
    return frame["it"]


def found_in(blob, before=b"", behind=b""):
    source = MemoryBytes(before + blob + behind)
    return source, find_maps(source, len(before), len(before) + len(blob))
