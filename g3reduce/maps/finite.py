"""Pixels that are not finite: found, and then refused or left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

import numpy as np

from ..choices import Nonfinite, choices_of
from ..errors import InputError, require_choice
from ..g3files.lines import Index, Values
from .chunks import Chunk, DenseChunk, PointsChunk, RunsChunk
from .pixels import Plane, lines_of

# Choices for pixels that are not finite.
KEEP, ERROR, SKIP = choices_of(Nonfinite)

# How many pixels a message lists.
_SHOWN = 5


class Finite(NamedTuple):
    """The planes of a frame without pixels that are not finite.

    Attributes
    ----------
    planes : dict of str to Plane
    skipped : int
        How many pixels were left out, each of all planes; what lies outside of the maps, their
        overflow, counts as one.
    """

    planes: dict[str, Plane]
    skipped: int


def check_nonfinite(nonfinite: object) -> None:
    """Refuse an unknown value of `nonfinite`.

    Raises
    ------
    UsageError
    """
    require_choice("nonfinite", nonfinite, Nonfinite)


def finite(planes: Mapping[str, Plane], where: str, nonfinite: str) -> Finite:
    """Look for pixels that are not finite, and leave them out.

    A pixel that is not finite in one plane is left out of all of them, weights and hits too, or
    the sums of these would not be of the same frames. To know that, all planes are read before
    any is added; they are read again then.

    Parameters
    ----------
    planes : dict of str to Plane
        The maps of a frame.
    where : str
        How messages name it.
    nonfinite : {"keep", "error", "skip"}
        Whether to do nothing at all, to refuse such a frame, or to leave such pixels out.

    Raises
    ------
    InputError
        With ``"error"``, with the plane and the first such pixels.
    """
    if nonfinite == KEEP:
        return Finite(dict(planes), 0)
    bad = [np.empty(0, np.int64)]
    # Weights first: maps that were multiplied by them are not finite where they are not.
    for name in sorted(planes, key=lambda name: not name.startswith("W")):
        pixels, values = _nonfinite(planes[name])
        outside = not math.isfinite(planes[name].overflow)
        if nonfinite == ERROR and (outside or len(pixels)):
            _refuse(where, name, pixels, values, planes[name].overflow)
        bad.append(pixels)
    left_out = np.unique(np.concatenate(bad))
    kept = {name: _without(plane, left_out) for name, plane in planes.items()}
    beyond = any(not math.isfinite(plane.overflow) for plane in planes.values())
    return Finite(kept, len(left_out) + beyond)


def _nonfinite(plane: Plane) -> PointsChunk:
    """The pixels of a map that are not finite, by the map's own numbers, and their values."""
    found = [PointsChunk(np.empty(0, np.int64), np.empty(0))]
    for chunk in plane.chunks():
        finite = np.isfinite(chunk.values)
        if not finite.all():
            found.append(PointsChunk(_numbers(plane, chunk)[~finite], chunk.values[~finite]))
    pixels, values = (np.concatenate(part) for part in zip(*found, strict=True))
    return PointsChunk(pixels, values)


def _numbers(plane: Plane, chunk: Chunk) -> Index:
    """The numbers that the map itself has for the pixels of a chunk."""
    if isinstance(chunk, DenseChunk):
        return np.arange(chunk.start, chunk.start + len(chunk.values))
    pixels = chunk.layout.pixels(chunk.group) if isinstance(chunk, RunsChunk) else chunk.pixels
    return lines_of(plane.stub).as_mapped(pixels)


def _refuse(where: str, name: str, pixels: Index, values: Values, overflow: float) -> NoReturn:
    shown = [f"{value} at pixel {pixel}" for pixel, value in zip(pixels, values, strict=True)]
    if not math.isfinite(overflow):
        shown.append(f"{overflow} in its overflow")
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    raise InputError(
        f'{where}: {name} is not finite: {", ".join(shown[:_SHOWN])}{more}. nonfinite="skip" '
        "leaves such pixels out of all maps of their frame."
    )


def _without(plane: Plane, left_out: Index) -> Plane:
    """The same plane without these pixels."""
    if not math.isfinite(plane.overflow):
        plane = plane._replace(overflow=0.0)
    if not len(left_out):
        return plane

    def chunks() -> Iterator[Chunk]:
        for chunk in plane.chunks():
            bad = np.isin(_numbers(plane, chunk), left_out)
            if not bad.any():
                yield chunk
            elif isinstance(chunk, PointsChunk):
                yield PointsChunk(chunk.pixels[~bad], chunk.values[~bad])
            elif isinstance(chunk, RunsChunk):
                yield chunk.with_values(np.where(bad, 0.0, chunk.values))
            else:
                yield chunk._replace(values=np.where(bad, 0.0, chunk.values))

    return plane._replace(chunks=chunks)
