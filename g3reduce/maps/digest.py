"""Hashes of the maps of a frame: equal for equal pixels, however these are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ..g3files.archive import DENSE
from ..g3files.lines import Index, Values
from ..spt3gmarks import useful
from ..spt3gtypes import Frame, SkyMap
from .agreement import geometry_of
from .chunks import DenseChunk
from .mapfile import planes_of
from .pixels import Plane, as_points, lines_of
from .storedframe import verified_on_error, verify

_SIZE = 16


@useful
def digest(frame: Frame, where: str = "The frame") -> dict[str, str]:
    """A hash of each map of a frame.

    It covers numbers and values of all pixels, the geometry, the coordinate system and the units.
    Equal maps have the same hash however they are stored. The sign of a 0 and the bits of a NaN do
    not count.

    Parameters
    ----------
    frame : spt3g.core.G3Frame
        A Map frame.
    where : str
        How messages name it.

    Returns
    -------
    dict of str to str
        32 hexadecimal digits for each plane: ``T``, ``Q``, ``U``, ``H``, and each component of the
        weights, as ``Wpol.TT``.

    Raises
    ------
    InputError
        If a map cannot be read.

    Examples
    --------
    >>> from spt3g import core, maps
    >>> frame = core.G3Frame(core.G3FrameType.Map)
    >>> frame["T"] = maps.FlatSkyMap(4, 3, core.G3Units.arcmin)
    >>> list(digest(frame))
    ['T']
    """
    with verified_on_error(frame):
        found = {name: _of(plane) for name, plane in planes_of(frame, where).items()}
    verify(frame)
    return dict(sorted(found.items()))


def total(digests: Iterable[Mapping[str, str]]) -> str:
    """One hash for several frames, in whatever order these come.

    Parameters
    ----------
    digests : iterable of dict of str to str
        Of each frame those of its maps, by name.
    """
    return _hash_of(
        sorted(
            _hash_of(f"{name}\0{one}" for name, one in sorted(frame.items())) for frame in digests
        )
    )


def _hash_of(words: Iterable[str]) -> str:
    whole = hashlib.blake2b(digest_size=_SIZE)
    for word in words:
        whole.update(f"{word}\0".encode())
    return whole.hexdigest()


def _of(plane: Plane) -> str:
    whole = hashlib.blake2b(_geometry(plane.stub).encode(), digest_size=_SIZE)
    for pixels, values in _in_order(plane):
        pairs = np.empty((len(pixels), 2), "<i8")
        pairs[:, 0], pairs[:, 1] = pixels, values.view(np.int64)
        nan = np.isnan(values)
        if nan.any():
            pairs[nan, 1] = np.float64(np.nan).view(np.int64)
        whole.update(pairs.data)
    return whole.hexdigest()


def _geometry(stub: SkyMap) -> str:
    names = geometry_of(stub)
    values = [f"{name}={getattr(stub, name)}" for name in (*names, "coord_ref", "units")]
    return f"{type(stub).__name__}({', '.join(values)})"


def _in_order(plane: Plane) -> Iterator[tuple[Index, Values]]:
    """Numbers, as the map itself has them, and values of the pixels that are not 0, rising."""
    stub = plane.stub
    if plane.storage == DENSE:
        for chunk in plane.chunks():
            if not isinstance(chunk, DenseChunk):
                raise TypeError("a dense map whose pixels come one by one")
            yield _nonzero(np.arange(chunk.start, chunk.start + len(chunk.values)), chunk.values)
        return
    points = as_points(plane.chunks(), stub.shape)
    pixels = lines_of(stub).as_mapped(points.pixels)
    order = np.argsort(pixels, kind="stable")
    yield _nonzero(pixels[order], points.values[order])


def _nonzero(pixels: Index, values: NDArray[np.float64]) -> tuple[Index, Values]:
    held = np.flatnonzero(values)
    return pixels[held], values[held]
