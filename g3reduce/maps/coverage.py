"""What a running sum covers, in a few figures: area, hits and depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from spt3g import core

from ..g3files.lines import Index, Values
from .agreement import weights_key
from .mapsum import MapSum
from .matrices import inverse, is_invertible
from .solidangles import are_equal, solid_angles
from .unweighting import COMPONENTS

# Depths are those of so many pixels at most, evenly spread: more would not change what is shown.
_SAMPLE = 1 << 18
_PIECE = 1 << 15


@dataclass(frozen=True)
class Coverage:
    """What a coadd covers.

    Attributes
    ----------
    pixels : int
        How many pixels were hit: whose weights TT, hits or first map (whichever there is first) are
        not 0.
    area_deg2 : float
        Their solid angle.
    hits : float or None
        The median of the map H where it is not 0, if there is one; of large maps, that of some
        hundred thousand pixels.
    depth_t, depth_p : float or None
        The median noise of T, and of Q and U, in uK arcmin, if weights are inverse covariances; see
        `g3reduce.info`. Of large maps, that of some hundred thousand pixels.
    """

    pixels: int
    area_deg2: float
    hits: float | None = None
    depth_t: float | None = None
    depth_p: float | None = None

    @property
    def sky_fraction(self) -> float:
        """The part of the sky that they are."""
        return self.area_deg2 * math.radians(1) ** 2 / (4 * math.pi)

    @classmethod
    def of(cls, total: MapSum) -> Coverage:
        """What a sum covers, once it is one of numbers; it may be large, and is not copied."""
        sums, stubs = total.sums, total.summary.stubs
        weights = weights_key(stubs)
        hit = next((name for name in (f"{weights}.TT", "H", "T", *stubs) if name in stubs), None)
        if hit is None or not len(total.blocks.rows):
            return cls(0, 0.0)
        values = sums.flat(hit)
        n_pixels = _n_hit(values)
        step = 1 + len(values) // _SAMPLE | 1  # odd, since rows are as long as powers of 2
        sample = np.arange(0, len(values), step)
        sample = sample[(values[sample] != 0) & np.isfinite(values[sample])]
        if not len(sample):
            return cls(n_pixels, 0.0)
        stub = stubs[hit]
        # Numbers of pixels take as much memory as a plane.
        pixels = sample if are_equal(stub) else sums.pixels.reshape(-1)[sample]
        angles = solid_angles(stub, pixels)
        return cls(
            n_pixels,
            n_pixels * float(np.mean(angles)) / core.G3Units.deg**2,
            _median_hits(sums.flat("H")[::step]) if "H" in stubs else None,
            *_depths(total, sample, angles),
        )


def _median_hits(values: Values) -> float:
    """The median of hits where there are any, as `g3reduce.info` has it."""
    values = values[values != 0]
    return float(np.median(values)) if len(values) else 0.0


def _n_hit(values: Values) -> int:
    """How many values are not 0: in pieces that stay in the cache, several times as fast."""
    pieces = (values[begin : begin + _PIECE] for begin in range(0, len(values), _PIECE))
    return sum(int(np.count_nonzero(piece != 0)) for piece in pieces)


def _depths(total: MapSum, sample: Index, angles: Values) -> list[float]:
    """The median noise of T, and of Q and U, that the weights stand for; empty if they are none."""
    stubs = total.summary.stubs
    names = [f"{weights_key(stubs)}.{one}" for one in COMPONENTS]
    names = [name for name in names if name in stubs]
    if not (names and "T" in stubs) or stubs["T"].units != core.G3TimestreamUnits.Tcmb:
        return []
    found = np.stack([total.sums.flat(name)[sample] for name in names]) * core.G3Units.uK**2
    good = is_invertible(found)
    if not good.any():
        return []
    covariance = inverse(found[:, good])
    variances = [covariance[0]]
    if len(covariance) > 1:
        variances.append((covariance[3] + covariance[5]) / 2)
    areas = angles[good]
    return [float(np.median(np.sqrt(areas * one))) / core.G3Units.arcmin for one in variances]
