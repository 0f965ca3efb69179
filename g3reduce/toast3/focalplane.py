"""From spt3g's conventions to TOAST's: quaternions, units, times, and the focal plane.

spt3g: a boresight quaternion (a, b, c, d), real part first, turns the x axis to where the telescope
points; a detector is `x_offset` and `y_offset` from there, as longitude and minus latitude.
TOAST: quaternions (x, y, z, w), real part last; the z axis is turned to the line of sight, and the
x axis to the direction of polarization.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import UsageError
from ..spt3glog import unit_logger
from ..stitching.flags import INVALID
from ..stitching.timeline import Timeline
from .bolometers import TEXTS, Bolometers
from .importing import load_toast

Floats = NDArray[np.float64]
logger = unit_logger(__name__, "TOASTFiller")
_U = core.G3Units

# By `core.G3TimestreamUnits`: astropy's name of the SI unit, and its size in G3Units.
_UNITS = {
    "None": ("", 1.0),
    "Counts": ("", 1.0),
    "Tcmb": ("K", _U.K),
    "Trj": ("K", _U.K),
    "Power": ("W", _U.W),
    "Current": ("A", _U.A),
    "Voltage": ("V", _U.V),
    "Resistance": ("Ohm", _U.ohm),
    "FluxDensity": ("Jy", _U.Jy),
    "Angle": ("rad", _U.rad),
    "Distance": ("m", _U.m),
    "Pressure": ("Pa", _U.Pa),
    "Frequency": ("Hz", _U.Hz),
}


def units_of(name: str) -> tuple[Any, float]:
    """The SI unit of timestreams, and how large it is in `core.G3Units`.

    Parameters
    ----------
    name : str
        Name of a `core.G3TimestreamUnits`. "None" and "Counts" are dimensionless; "Tcmb" and
        "Trj" both are kelvin, between which TOAST makes no difference.

    Returns
    -------
    unit : astropy.units.Unit
    size : float
        To be divided by: a kelvin is 1000 in `core.G3Units`.
    """
    from astropy import units

    if name not in _UNITS:
        raise UsageError(
            f"The timestreams are in units of {name!r}, which TOAST does not know; expected one of "
            f"{', '.join(_UNITS)}."
        )
    unit, size = _UNITS[name]
    return units.Unit(unit), float(size)


def posix_seconds(ticks: NDArray[np.int64]) -> Floats:
    """Times as TOAST has them, to the last bit that they have room for (0.2 us)."""
    second = round(_U.s)
    # Not at once: today's ticks have more digits than a float64.
    return np.asarray(ticks // second + (ticks % second) / _U.s)


def boresight_quaternions(quaternions: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """TOAST's boresight from spt3g's: ``(b, c, d, a) * R``, R the quarter turn about y.

    R takes the z axis to the x axis, so that the product takes TOAST's line of sight to where
    spt3g's x axis goes.

    Parameters
    ----------
    quaternions : ndarray of float64, shape (n, 4)
        As numpy has a `core.G3VectorQuat`: real part first.

    Returns
    -------
    boresight : ndarray of float64, shape (n, 4)
        Real part last, normalized.
    known : ndarray of bool, shape (n,)
        False where there was no direction (zeros, as in filled gaps, or NaN). There the boresight
        is that of spt3g's quaternion 1, because TOAST's operators need one.
    """
    norm = np.sqrt(np.einsum("ij,ij->i", quaternions, quaternions))
    known = np.isfinite(norm) & (norm > 0)
    unit = np.zeros((len(quaternions), 4))
    unit[:, 3] = 1.0
    np.divide(quaternions[:, [1, 2, 3, 0]], norm[:, np.newaxis], out=unit, where=known[:, None])
    return _product(unit, _turn(1, np.array([np.pi / 2]))), known


def detector_quaternions(x_offset: Floats, y_offset: Floats, pol_angle: Floats) -> Floats:
    """TOAST's detectors from spt3g's offsets: ``Rx(-x_offset) * Ry(y_offset) * Rz(-pol_angle)``.

    spt3g goes to a detector by ``Rz(x_offset) * Ry(y_offset)`` from its x axis
    (``offsets_to_quat`` of its ``pointing.cxx``). Between R^-1 and R, the quarter turn about y,
    that becomes ``Rx(-x_offset) * Ry(y_offset)`` from the z axis; the last factor turns the x axis,
    which lies along the meridian, to the direction of polarization, which is counted eastwards.

    Parameters
    ----------
    x_offset, y_offset, pol_angle : ndarray of float64, shape (n,)
        In radians, which are 1 in `core.G3Units`.

    Returns
    -------
    ndarray of float64, shape (n, 4)
        Real part last.
    """
    offset = _product(_turn(0, -x_offset), _turn(1, y_offset))
    return _product(offset, _turn(2, -pol_angle))


def _turn(axis: int, angle: Floats) -> Floats:
    """Quaternions of rotations about an axis."""
    turn = np.zeros((len(angle), 4))
    turn[:, axis], turn[:, 3] = np.sin(angle / 2), np.cos(angle / 2)
    return turn


def _product(p: Floats, q: Floats) -> Floats:
    """Products of quaternions, real parts last: first `q`, then `p`."""
    p, q = np.broadcast_arrays(p, q)
    product = np.empty(p.shape)
    product[:, :3] = p[:, 3:] * q[:, :3] + q[:, 3:] * p[:, :3] + np.cross(p[:, :3], q[:, :3])
    product[:, 3] = p[:, 3] * q[:, 3] - np.einsum("ij,ij->i", p[:, :3], q[:, :3])
    return product


def make_telescope(
    name: str, site: Any, bolometers: Bolometers, timeline: Timeline, *, quiet: bool
) -> tuple[Any, dict[str, int]]:
    """A telescope of TOAST with the detectors of an observation.

    Parameters
    ----------
    name : str
    site : toast.instrument.Site or None
        None: a site without a place.
    bolometers : Bolometers
    timeline : Timeline
    quiet : bool
        Whether another rank warns of detectors that cannot be used.

    Returns
    -------
    telescope : toast.instrument.Telescope
    unusable : dict of str to int
        See `make_focalplane`.
    """
    from toast.instrument import SpaceSite, Telescope

    focalplane, unusable = make_focalplane(
        bolometers, timeline.sample_rate, timeline.units, quiet=quiet
    )
    site = SpaceSite("unknown") if site is None else site
    return Telescope(name, focalplane=focalplane, site=site), unusable


def make_focalplane(
    bolometers: Bolometers, sample_rate: float, units: str = "Tcmb", *, quiet: bool = False
) -> tuple[Any, dict[str, int]]:
    """A focal plane of TOAST.

    Its table has the columns that TOAST's operators know: ``name``, ``quat``, ``gamma``,
    ``pol_angle``, ``pol_efficiency``, ``pol_leakage``, ``bandcenter``, ``bandwidth``, ``uid``; the
    ``psd_*`` ones where there are NETs; and those of spt3g under the names that they have there.

    spt3g's polarization efficiency e is one minus the leakage: its maps have Q and U times
    e / (2 - e), and TOAST's times (1 - leakage) / (1 + leakage), which TOAST calls efficiency.

    Parameters
    ----------
    bolometers : Bolometers
        The detectors, in the order that they shall have.
    sample_rate : float
        In `core.G3Units`.
    units : str
        Name of the `core.G3TimestreamUnits` in which NETs are, times the square root of time.
    quiet : bool
        Whether another rank warns of detectors that cannot be used.

    Returns
    -------
    focalplane : toast.instrument.Focalplane
    unusable : dict of str to int
        Detector flags (`INVALID`) of those whose place, polarization or noise is not known.
    """
    load_toast()
    from astropy import units as u
    from astropy.table import QTable
    from toast.instrument import Focalplane
    from toast.instrument_coords import quat_to_xieta
    from toast.utils import name_UID

    column = bolometers.columns
    unusable: dict[str, int] = {}

    def cut(bad: NDArray[np.bool_], what: str) -> None:
        names = [name for name, is_bad in zip(bolometers.names, bad, strict=True) if is_bad]
        unusable.update(dict.fromkeys(names, INVALID))
        if names and not quiet:
            logger.warning(
                "%d of %d detectors have no %s in the calibration frame, and are flagged: %s%s",
                *(len(names), len(bad), what, ", ".join(names[:5]), ", ..." if names[5:] else ""),
            )

    x, y = column["x_offset"], column["y_offset"]
    placed = np.isfinite(x) & np.isfinite(y)
    cut(~placed, "pointing offset")
    x, y = np.where(placed, x, 0.0) / _U.rad, np.where(placed, y, 0.0) / _U.rad
    angle, efficiency = column["pol_angle"] / _U.rad, column["pol_efficiency"]
    polarized = np.isfinite(angle) & np.isfinite(efficiency)
    if polarized.any():  # else this is not about polarization
        cut(~polarized, "polarization angle or efficiency")
    quaternions = detector_quaternions(x, y, np.where(polarized, angle, 0.0))
    frequency = _first_known(column["center_frequency"], column["band"])
    table = QTable(
        {
            "name": list(bolometers.names),
            # TOAST would make these two itself, but row by row.
            "uid": [name_UID(name) for name in bolometers.names],
            "pol_angle": _angle_in_focalplane(quaternions) * u.rad,
            "quat": quaternions,
            "gamma": quat_to_xieta(quaternions)[2] * u.rad,
            "pol_leakage": np.where(polarized, 1.0 - efficiency, 1.0),
            "bandcenter": frequency / _U.GHz * u.GHz,
            # TOAST wants a width; 0 makes its conversions of units fail instead of being wrong.
            "bandwidth": _first_known(column["bandwidth"], np.zeros(len(x))) / _U.GHz * u.GHz,
            **{name: list(column[name]) for name in (*TEXTS, "coupling")},
        }
    )
    if "net" in column:
        unit, size = units_of(units)
        net = column["net"] / (size * _U.s**0.5)
        known = np.isfinite(net) & (net > 0)
        cut(~known, "NET")
        table["psd_net"] = np.where(known, net, np.inf) * unit * u.s**0.5
        # White noise: more is not known. A knee of 0 makes TOAST ignore the other two.
        table["psd_fknee"] = np.zeros(len(net)) * u.Hz
        table["psd_fmin"] = np.full(len(net), 1e-5) * u.Hz
        table["psd_alpha"] = np.ones(len(net))
    focalplane = Focalplane(
        detector_data=table,
        sample_rate=sample_rate / _U.Hz * u.Hz,
        field_of_view=_field_of_view(x[placed], y[placed]) * u.rad,
    )
    return focalplane, unusable


def _first_known(*columns: Floats) -> Floats:
    """Of each row the first value that is finite, else NaN."""
    known: Floats = columns[-1]
    for column in reversed(columns[:-1]):
        known = np.where(np.isfinite(column), column, known)
    return known


def _angle_in_focalplane(quaternions: Floats) -> Floats:
    """The rotation about the line of sight, as TOAST computes its ``pol_angle``."""
    z, w = quaternions[:, 2], quaternions[:, 3]
    return np.asarray(np.arctan2(2 * w * z, w**2 - z**2) % np.pi)


def _field_of_view(x: Floats, y: Floats) -> float:
    """Diameter of the circle around the boresight that holds all, with TOAST's margin of 1 %."""
    # Not by the arc cosine alone, as TOAST does it: that of a little more than 1 is NaN.
    sideways = np.hypot(np.sin(y), np.sin(x) * np.cos(y))
    farthest = np.max(np.arctan2(sideways, np.cos(x) * np.cos(y)), initial=0.0)
    return float(2 * 1.01 * farthest) or float(_U.deg / _U.rad)
