"""What a picture shows of each plane: values in units that people read, limits, and colours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import UsageError
from ..spt3gtypes import SkyMap
from .patch import STOKES, Patch
from .views import FloatArray

# Both are told apart by those who do not see all colours. In grey, both ends of SIGNED are dark.
SIGNED, POSITIVE = "RdBu_r", "viridis"

# Of lines, told apart by those who do not see all colours (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")

PLANES = ("T", "Q", "U", "weights", "hits")
_COMPONENTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")
_STORED = {"weights": "TT", "hits": "H"}

# Bright sources and the Galaxy do not set the scale: of Gaussian values the percentile is less.
_PERCENTILE, _SIGMAS = 99.5, 4.0


@dataclass(frozen=True, eq=False)
class Panel:
    """A plane as it is drawn.

    Attributes
    ----------
    name : str
        Its title.
    plane : str
        ``T``, ``Q``, ``U``, ``H``, ``TT``, ...
    values : float64 array, shape (y, x)
        In `unit`; NaN where nothing was observed.
    unit : str
        In the notation of matplotlib; may be empty.
    limits : tuple of float
        The values at both ends of the colours.
    colours : str
        The name of the colour map.
    """

    name: str
    plane: str
    values: FloatArray
    unit: str
    limits: tuple[float, float]
    colours: str


def panels_of(
    patch: Patch,
    planes: Sequence[str] | None = None,
    vmax: float | Mapping[str, float] | None = None,
) -> list[Panel]:
    """The panels of some planes.

    Parameters
    ----------
    patch : Patch
    planes : list of str, optional
        Of `PLANES`, or components of the weights, such as ``"QQ"``. Default: T, Q, U, and the
        weights, or else the hits, as far as there are any.
    vmax : float or dict of str to float, optional
        The end of the colours, in the unit that is shown; one for T, Q and U, or one by plane.

    Raises
    ------
    UsageError
        If a plane is none of these, or is not there.
    """
    factor, unit, weight_unit = unit_of(patch.stub, weighted=patch.weighted)
    seen, well = patch.seen, patch.well_seen
    names = _chosen(patch, planes)
    limits_of = _limits_given(vmax, names)
    with np.errstate(over="ignore"):  # of 1e303, which has no colour then
        stokes = {
            name: _shown(patch.planes[name] / factor, seen)
            for name in STOKES
            if name in patch.planes
        }
    panels = []
    for name in names:
        if name in stokes:
            family = [stokes[one] for one in ("T" if name == "T" else "QU") if one in stokes]
            high = limits_of.get(name) or robust_limit(family, well)
            panels.append(Panel(name, name, stokes[name], unit, (-high, high), SIGNED))
            continue
        hits = name == "H"
        values = _shown(patch.planes[name] * (1 if hits else factor**2), seen)
        title, of_it = ("Hits", "samples") if hits else (f"{name} weight", weight_unit)
        if name in ("TQ", "TU", "QU"):
            high = limits_of.get(name) or robust_limit([values], seen)
            panels.append(Panel(title, name, values, of_it, (-high, high), SIGNED))
        else:
            high = limits_of.get(name) or robust_top(values)
            panels.append(Panel(title, name, values, of_it, (0.0, high), POSITIVE))
    return panels


def unit_of(sky_map: SkyMap, *, weighted: bool) -> tuple[float, str, str]:
    """Divisor and name of the unit in which a map is shown; name of the unit of its weights."""
    if weighted:
        return 1.0, "weighted, arbitrary units", "arbitrary units"
    for kind, index in (("Tcmb", "CMB"), ("Trj", "RJ")):
        if sky_map.units == getattr(core.G3TimestreamUnits, kind):
            name = rf"μK$_\mathrm{{{index}}}$"
            return core.G3Units.uK, name, rf"μK$_\mathrm{{{index}}}^{{-2}}$"
    name = sky_map.units.name
    return (1.0, name, f"1 / {name}$^2$") if name != "None" else (1.0, "", "")


def robust_limit(planes: Sequence[FloatArray], well: NDArray[np.bool_]) -> float:
    """Where symmetric colours end: at a percentile, or nearer if few values are far larger.

    Parameters
    ----------
    planes : list of float64 array, shape (y, x)
    well : bool array, shape (y, x)
        The pixels that count.
    """
    parts = [np.abs(plane[well & np.isfinite(plane)]) for plane in planes]
    values = np.concatenate(parts) if parts else np.zeros(0)
    if not values.size:
        return 1.0
    limit = float(np.percentile(values, _PERCENTILE))
    spread = 1.4826 * float(np.median(values))  # the standard deviation, if they are Gaussian
    if spread > 0:
        limit = min(limit, _SIGMAS * spread)
    return _readable(limit or float(values.max()))


def robust_top(values: FloatArray) -> float:
    """Where colours end that begin at 0."""
    finite = values[np.isfinite(values)]
    top = float(np.percentile(finite, _PERCENTILE)) if finite.size else 0.0
    return top if top > 0 else float(finite.max(initial=0)) or 1.0


def _readable(limit: float) -> float:
    """A number on the colour bar that is easily read."""
    if not limit > 0:
        return 1.0
    digit = 10 ** np.floor(np.log10(limit))
    return float(np.ceil(limit / digit * 5 - 1e-9) / 5 * digit)


def _shown(values: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    # Not finite: a weight matrix that cannot be inverted.
    return np.where(seen & np.isfinite(values), values, np.nan)


def _chosen(patch: Patch, planes: Sequence[str] | None) -> list[str]:
    there = patch.planes
    if planes is None:
        coverage = next((name for name in ("TT", "H") if name in there), None)
        return [name for name in (*STOKES, coverage) if name is not None and name in there]
    names = []
    for plane in [planes] if isinstance(planes, str) else planes:
        if plane not in (*PLANES, *_COMPONENTS, "H"):
            raise UsageError(
                f"planes has {plane!r}; expected some of {', '.join(PLANES)}, or components of the "
                f"weights ({', '.join(_COMPONENTS)})."
            )
        stored = _STORED.get(plane, plane)
        if stored not in there:
            raise UsageError(
                f"There is no {plane} in this map; it has {', '.join(there) or 'nothing'}."
            )
        names.append(stored)
    if not names:
        raise UsageError(f"planes is empty; expected some of {', '.join(PLANES)}.")
    return names


def _limits_given(
    vmax: float | Mapping[str, float] | None, names: Sequence[str]
) -> dict[str, float]:
    if vmax is None:
        return {}
    if not isinstance(vmax, Mapping):
        vmax = dict.fromkeys(STOKES, vmax)
    found = {}
    for plane, value in vmax.items():
        if not (isinstance(value, int | float) and 0 < value < np.inf):
            raise UsageError(f"vmax is {value!r} for {plane}; expected a positive number.")
        if not re.fullmatch("|".join((*PLANES, *_COMPONENTS, "H")), plane):
            raise UsageError(f"vmax names {plane!r}; expected {', '.join(PLANES)}.")
        found[_STORED.get(plane, plane)] = float(value)
    return found
