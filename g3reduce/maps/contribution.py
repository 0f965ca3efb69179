"""What a frame contributes to a sum: how many pixels it hits, and the sum of its weights.

The numbers do not depend on how a map is cut into chunks, nor on what loops add it: each run of
pixels, or stretch of a dense map, is summed by itself, in one order, and these sums are joined.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..g3files.lines import Values
from .chunks import Chunk, PointsChunk, RunsChunk, n_hit
from .pixels import Plane

# The first of these planes that a frame has says which pixels it hits. Only T is no weight.
_PLANES = ("Wpol.TT", "Wunpol.TT", "H", "T")


class Contribution:
    """The contribution of a frame, taken up chunk by chunk as it is added.

    Parameters
    ----------
    plane : str
        The plane that is counted; empty if there is none.
    """

    def __init__(self, plane: str):
        self.plane = plane
        self._pixels = 0
        self._sums: list[Any] = []
        self._single: list[Values] = []  # the values of single pixels, which come in no order

    @classmethod
    def of(cls, planes: Mapping[str, Plane]) -> Contribution:
        """That of a frame with these planes."""
        return cls(next((name for name in _PLANES if name in planes), ""))

    def take(self, chunk: Chunk) -> None:
        """Count the values of a chunk of the plane. They come in the order of the map."""
        if isinstance(chunk, RunsChunk):
            pixels, sums = chunk.sums()
            self._pixels += pixels
            self._sums.append(sums)
        else:
            self._pixels += n_hit(chunk.values)
            if isinstance(chunk, PointsChunk):
                self._single.append(chunk.values.copy())
            else:
                self._sums.append([np.add.reduce(chunk.values)])

    def total(self) -> tuple[int, float]:
        """The number of pixels, and the sum of the weights, 0 if there are none."""
        if self.plane in ("", "T"):
            return self._pixels, 0.0
        if self._single:
            self._sums.append([sum_in_any_order(np.concatenate(self._single))])
            self._single.clear()
        with np.errstate(invalid="ignore"):  # inf - inf is NaN, as it should be
            weight = float(np.add.reduce(np.concatenate(self._sums))) if self._sums else 0.0
        return self._pixels, math.nan if math.isnan(weight) else weight


def sum_in_any_order(values: Values) -> float:
    """The sum of values: the same, to the bit, in whatever order they come.

    The highest bits of all values are multiples of one power of two, so few of them that their sum
    is exact; so are the bits below.
    """
    finite = np.isfinite(values)
    if not finite.all():
        return float(np.add.reduce(values[~finite]))
    parts, bits = [], 52 - len(values).bit_length()
    for _ in range(3):  # more than there are in a float
        largest = float(np.max(np.abs(values), initial=0.0))
        if not largest:
            break
        unit = math.ldexp(1.0, max(math.frexp(largest)[1] - bits, -1074))
        high = np.rint(values / unit) * unit
        parts.append(float(np.add.reduce(high)))
        values = values - high
    return math.fsum(parts)


def hits_nothing(planes: Mapping[str, Plane]) -> bool:
    """Whether a frame with these planes hits no pixel at all."""
    name = Contribution.of(planes).plane
    return not name or not any(np.any(chunk.values) for chunk in planes[name].chunks())
