"""Map frames read from .g3 files, and written into them, without ever making the maps."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..g3files.checksum import Checksum
from ..g3files.compressed import open_bytes
from ..g3files.decoding import decoded, maps_in, note, walked
from ..g3files.frames import Piece, RawFrame, Sink, Unrecognised, frame_in, write_frame
from ..g3files.maps import MAP_KEYS, STOKES, Content, filled
from ..g3files.outlines import Outlines
from ..g3files.plain import plain_value
from ..g3files.vectors import blob_of
from ..limits import LIMITS
from ..spt3gtypes import Frame
from .mapframe import maps_of
from .pixels import Plane
from .storedframe import StoredFrame

_MAP = int(core.G3FrameType.Map)
_TYPES = dict(core.G3FrameType.values)


def planes_of(frame: Frame, where: str, *, verified: bool = False) -> dict[str, Plane]:
    """The maps of a frame, in memory or in a file, ready to be added, by plane.

    Parameters
    ----------
    frame : G3Frame or StoredFrame
    where : str
        How messages name it.
    verified : bool
        Whether its checksum was compared before, so that this need not be done again.

    Raises
    ------
    InputError
        If one cannot be read, or is no map.
    """
    if isinstance(frame, StoredFrame):
        return frame.planes(where, verified=verified)
    return {name: Plane.of(skymap) for name, skymap in maps_of(frame, where).items()}


def frames_of(file: str, outlines: Outlines | None = None) -> Iterator[Frame]:
    """The frames of a .g3 file, also of a compressed one, with Map frames as `StoredFrame`.

    Frames of other types, and all that are not recognised, are as spt3g has them.

    Parameters
    ----------
    file : str
    outlines : Outlines, optional
        Those of frames before, which those of this file are compared with.

    Raises
    ------
    InputError, RuntimeError
        If the file is broken.
    """
    return walked(open_bytes(file), functools.partial(best_of, outlines or Outlines()))


def best_of(outlines: Outlines, raw: RawFrame) -> Frame:
    """A frame as `frames_of` has it, after others that had these outlines."""
    if raw.type != _MAP:
        return PassedFrame(raw) if raw.native else decoded(raw)
    try:
        if not raw.native:
            raise Unrecognised("a frame in another byte order or version")
        return StoredFrame(raw, outlines)
    except Unrecognised as reason:
        note(str(raw), str(reason))
        return decoded(raw)


def write_map_frame(
    file: Sink,
    outline: Any,
    contents: Mapping[str, Content],
    values: Mapping[str, str | NDArray[Any]] | None = None,
    shared: dict[str, NDArray[np.uint8]] | None = None,
) -> None:
    """Write a frame of maps, without ever making the maps.

    Parameters
    ----------
    file : Sink
    outline : spt3g.core.G3Frame
        The frame with empty maps.
    contents : dict of str to Content
        The pixels of all planes; empty if the maps are to stay so.
    values : dict of str to str or array, optional
        Other entries: texts, and vectors of float64 or int64.
    shared : dict of str to uint8 array, optional
        By key, weights and hits as other frames have them, which `contents` does not have then.
        Those that are missing are added.
    """
    raw = frame_in(outline.__getstate__()[1])
    entries: list[tuple[str, int, Iterable[Piece]]] = []
    done = {} if shared is None else shared
    for blob in raw.blobs:
        name, content = blob.name, raw.content(blob)
        if contents and name in MAP_KEYS and name not in done:
            mine = {
                plane.partition(".")[2]: pixels
                for plane, pixels in contents.items()
                if plane.split(".")[0] == name
            }
            whole = filled(content, mine)
            if shared is None or name in STOKES:
                entries.append((name, whole.size, whole.pieces()))
                continue
            done[name] = np.empty(whole.size, np.uint8)
            whole.put(done[name])
        piece: Piece = done.get(name, content)
        entries.append((name, len(piece), [piece]))
    entries += [(key, *blob_of(value)) for key, value in (values or {}).items()]
    write_frame(file, raw.type, entries)


class PassedFrame:
    """A frame of another type, of which only the keys are looked at, as a rule.

    Parameters
    ----------
    raw : RawFrame

    Raises
    ------
    InputError
        If its checksum is wrong.
    """

    __slots__ = ("__weakref__", "_frame", "_keys", "_raw", "maps_inside", "type", "unit")

    def __init__(self, raw: RawFrame):
        Checksum(raw).finish()
        self.type = _TYPES[raw.type]
        self.unit: Any = None
        self.maps_inside = maps_in(raw)
        self._keys = [blob.name for blob in raw.blobs]
        self._raw = raw
        self._frame: Frame = None

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def __getitem__(self, key: str) -> Any:
        blob = next((blob for blob in self._raw.blobs if blob.name == key), None)
        value = None
        if blob is not None and blob.size <= LIMITS.small_frame:
            value = plain_value(self._raw.content(blob))
        if value is not None:
            return value
        if self._frame is None:
            self._frame = decoded(self._raw)
        return self._frame[key]

    def get(self, key: str, default: Any = None) -> Any:
        """An entry, or `default` if there is none."""
        return self[key] if key in self._keys else default
