"""Pixels that spoil a sum in silence: values that are not finite, weights that are not positive."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..g3files.archive import DENSE
from ..g3files.lines import Values
from .agreement import weights_key
from .pixels import Plane, as_points, merged

# Weights whose determinant is below this part of the product of their diagonal are singular: what
# is left of exactly singular ones after rounding is far smaller.
_SINGULAR = 1e-12


@dataclass
class Soundness:
    """How many pixels of some frames are not what maps should have.

    Attributes
    ----------
    not_finite : dict of str to int
        NaN and infinite pixels, by plane.
    negative, singular : int
        Pixels that were hit, whose matrix of weights has a negative direction, or none at all in
        some direction.
    """

    not_finite: dict[str, int] = field(default_factory=dict)
    negative: int = 0
    singular: int = 0

    def __ior__(self, other: Soundness) -> Soundness:
        for name, number in other.not_finite.items():
            self.not_finite[name] = self.not_finite.get(name, 0) + number
        self.negative += other.negative
        self.singular += other.singular
        return self

    def faults(self) -> Iterator[tuple[str, bool]]:
        """What is wrong, in a few words, and whether it is that pixels are not finite."""
        if self.not_finite:
            listed = ", ".join(f"{number} in {name}" for name, number in self.not_finite.items())
            yield f"pixels that are NaN or infinite: {listed}", True
        if self.negative:
            yield f"negative weights in {_counted(self.negative)}", False
        if self.singular:
            yield f"singular weights in {_counted(self.singular)}", False


def read_through(planes: Mapping[str, Plane]) -> Soundness:
    """Read all pixels of a frame, in the order of the file; only finiteness is looked at."""
    found = Soundness()
    for name, plane in planes.items():
        number = int(not math.isfinite(plane.overflow))
        for chunk in plane.chunks():
            # The sum is finite if all are, but for overflow, and quicker than to look at each.
            if not math.isfinite(chunk.values.sum()):
                number += int(np.count_nonzero(~np.isfinite(chunk.values)))
        if number:
            found.not_finite[name] = number
    return found


def soundness_of_weights(planes: Mapping[str, Plane]) -> Soundness:
    """Look at the weights of a frame, pixel by pixel.

    Parameters
    ----------
    planes : dict of str to Plane
        The maps of a frame. All components are read at the same time, so they should not have to
        be compared with a checksum.
    """
    found, key = Soundness(), weights_key(planes)
    if key is None:
        return found
    names = [f"{key}.{part}" for part in ("TT", "TQ", "TU", "QQ", "QU", "UU")]
    weights = [planes[name] for name in names if name in planes]
    for values in _side_by_side(weights):
        negative, singular = _count(*values)
        found.negative += negative
        found.singular += singular
    return found


def _side_by_side(planes: list[Plane]) -> Iterator[list[Values]]:
    """The values of several maps in the same pixels, stretch by stretch."""
    if all(plane.storage == DENSE for plane in planes):
        parts = [plane.chunks() for plane in planes]
        while True:
            # Copies: a chunk may lie in memory that the next one overwrites.
            values = [chunk.values.copy() for part in parts if (chunk := next(part, None))]
            if len(values) < len(planes):
                return
            yield values
    points = [as_points(plane.chunks(), plane.stub.shape) for plane in planes]
    pixels = merged(*(one.pixels for one in points))
    spread = np.zeros((len(points), len(pixels)))
    for row, one in zip(spread, points, strict=True):
        row[np.searchsorted(pixels, one.pixels)] = one.values
    yield list(spread)


def _count(tt: Values, *others: Values) -> tuple[int, int]:
    """How many of the pixels that were hit have negative, and how many have singular weights."""
    with np.errstate(invalid="ignore", over="ignore"):
        if not others:
            return int(np.count_nonzero(tt < 0)), 0
        tq, tu, qq, qu, uu = others
        hit = np.logical_or.reduce([tt != 0, *(one != 0 for one in others)])
        minors = [(tt * qq - tq * tq, tt * qq), (tt * uu - tu * tu, tt * uu)]
        minors.append((qq * uu - qu * qu, qq * uu))
        whole = (
            tt * (qq * uu - qu * qu) - tq * (tq * uu - qu * tu) + tu * (tq * qu - qq * tu),
            tt * qq * uu,
        )
        negative = (tt < 0) | (qq < 0) | (uu < 0)
        singular = (tt == 0) | (qq == 0) | (uu == 0)
        for minor, scale in (*minors, whole):
            negative |= minor < -_SINGULAR * np.abs(scale)
            singular |= np.abs(minor) <= _SINGULAR * np.abs(scale)
        return int(np.count_nonzero(hit & negative)), int(
            np.count_nonzero(hit & singular & ~negative)
        )


def _counted(number: int) -> str:
    return f"{number} pixel{'' if number == 1 else 's'}"
