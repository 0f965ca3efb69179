"""A look into files of maps: `info`."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from spt3g import core

from ..choices import NumberIsTime
from ..errors import UsageError, require_choice
from ..formats.firstlook import check_file
from ..formats.kinds import format_of
from ..formats.reading import map_frames_in
from ..g3files.lines import Index, Values
from ..g3files.maps import MAP_KEYS
from ..maps.agreement import weights_key
from ..maps.mapfile import frames_of
from ..maps.matrices import inverse, is_invertible
from ..maps.pixels import Plane, as_points, is_flat, lines_of
from ..maps.solidangles import solid_angles
from ..maps.storedframe import verify
from ..maps.unweighting import COMPONENTS
from ..maps.weighting import at
from ..pipeline.ledgerframe import ledger_in
from ..pipeline.units import unit_of
from ..splits.clocks import FRAME, Clock
from ..splits.instants import date_of
from ..spt3gmarks import useful
from ..spt3gtypes import Frame, SkyMap
from .allmaps import all_planes_of
from .description import Depth, FileInfo, Hits, LedgerInfo, MapInfo
from .sources import Given, Realisation

_RECORDS = ("Split", "Difference", "Noise")
_OBSERVED = ("SourceName", "ObservationID")
_OUTER = (10, 90)  # percent


@useful
def info(
    file: str | os.PathLike[str],
    *,
    time: NumberIsTime | None = None,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> FileInfo:
    """What is in a file: its frames, and of each map what can be told in a few lines.

    Parameters
    ----------
    file : name or path
        A file of maps of any format, or a .g3 file of other frames, such as timestreams, which are
        counted.
    time : {"spt", "ctime"}, optional
        What ObservationIDs are: seconds since 2017-01-01, or since 1970-01-01. Then it is told when
        the observations of a ledger began.
    pol_conv, coord, units : str, optional
        Those of FITS files that do not say it; see `g3reduce.formats.map_frames_in`.

    Returns
    -------
    FileInfo

    Raises
    ------
    InputError
        If the file cannot be read, or an ObservationID is no such time.

    Notes
    -----
    The depth is the root of A v, where A is the solid angle of a pixel, and v the variance of its
    noise: if weights are inverse covariances W, in 1/K^2, that of T is (W^-1)_TT, and that of Q and
    U the mean of theirs. Pixels whose weights cannot be inverted do not count.

    Examples
    --------
    >>> print(*info("coadd.g3").lines(), sep="\\n")  # doctest: +SKIP
    >>> info("coadd.g3").maps[0].sky_area_deg2  # doctest: +SKIP
    """
    if time is not None:
        require_choice("time", time, NumberIsTime)
    name = os.fspath(file)
    kind = _format_of(name)
    counts: Counter[str] = Counter()
    observations: dict[str, None] = {}
    found = []
    headers = {"pol_conv": pol_conv, "coord": coord, "units": units}
    for number, frame in _frames(name, kind, headers):
        counts[str(frame.type)] += 1
        if frame.type == core.G3FrameType.Observation:
            values = [frame.get(key, None) for key in _OBSERVED]
            if any(isinstance(value, str | int) for value in values):
                observations["/".join(str(value) for value in values if value is not None)] = None
        if frame.type == core.G3FrameType.Map:
            found.append(_describe(frame, number, f"{name}, frame {number}", time))
    return FileInfo(name, kind, os.path.getsize(name), dict(counts), list(observations), found)


def _format_of(name: str) -> str:
    try:
        return format_of(name)
    except UsageError:
        return "g3"  # by another name: what reads it says if it is something else


def _frames(name: str, kind: str, headers: dict[str, str | None]) -> Iterator[tuple[int, Frame]]:
    if kind == "g3":
        check_file(name)
        yield from enumerate(frames_of(name))
        return
    for number, frame in enumerate(map_frames_in(name, **headers)):
        unit = unit_of(frame)
        yield (unit.index if unit else number), frame


def _describe(frame: Frame, number: int, where: str, time: str | None) -> MapInfo:
    verify(frame)  # after this its maps can be read in any order
    planes = all_planes_of(frame, where, verified=True)
    stub = next(iter(planes.values())).stub if planes else None
    if stub is None:
        return MapInfo(
            *(number, _text(frame, "Id"), (), {"kind": "none"}, "", "", "", False, "", 0, 0.0, 0.0),
            record=_record(frame),
        )
    hit = next(name for name in (f"{weights_key(planes)}.TT", "H", *planes) if name in planes)
    points = as_points(planes[hit].chunks(), stub.shape)
    pixels = points.pixels[(points.values != 0) & ~np.isnan(points.values)]
    angles = solid_angles(stub, lines_of(stub).as_mapped(pixels))
    total = float(np.sum(angles))
    temperature = planes.get("T", planes[hit])
    flip = Realisation.of(Given(_text(frame, "Id"), frame, where))
    return MapInfo(
        frame=number,
        frame_id=_text(frame, "Id"),
        planes=tuple(sorted({name.split(".")[0] for name in planes}, key=_place_of)),
        geometry=_geometry(stub),
        units=str(temperature.stub.units),
        coord=str(stub.coord_ref),
        pol_conv=str(planes["U"].stub.pol_conv) if "U" in planes else "none",
        weighted=bool("T" in planes and planes["T"].stub.weighted),
        storage=temperature.storage,
        pixels=len(pixels),
        sky_area_deg2=total / core.G3Units.deg**2,
        sky_fraction=total / (4 * math.pi),
        **_depths(planes, pixels, angles),
        hits=_hits(planes),
        ledger=_ledger(frame, where, time),
        record=_record(frame),
        signflip_of=flip.base if flip else None,
    )


def _place_of(key: str) -> tuple[int, str]:
    """Where a map is listed: others after those that are coadded."""
    return MAP_KEYS.index(key) if key in MAP_KEYS else len(MAP_KEYS), key


def _depths(planes: Mapping[str, Plane], pixels: Index, angles: Values) -> dict[str, Depth]:
    """The noise of T, and of Q and U, that the weights stand for; empty if they are none."""
    names = [f"{weights_key(planes)}.{one}" for one in COMPONENTS]
    names = [name for name in names if name in planes]
    if not (names and "T" in planes) or planes["T"].stub.units != core.G3TimestreamUnits.Tcmb:
        return {}
    found = [as_points(planes[name].chunks(), planes[name].stub.shape) for name in names]
    weights = np.stack([at(pixels, points) for points in found]) * core.G3Units.uK**2
    good = is_invertible(weights)
    if not good.any():
        return {}
    covariance = inverse(weights[:, good])
    variances = {"depth_t": covariance[0]}
    if len(covariance) > 1:
        variances["depth_p"] = (covariance[3] + covariance[5]) / 2
    found_depths = {name: _depth(one, angles[good]) for name, one in variances.items()}
    return {name: depth for name, depth in found_depths.items() if depth is not None}


def _depth(variance: Values, angles: Values) -> Depth | None:
    """The median noise, or None if weights are so small that it is no number."""
    noise = np.sqrt(angles * variance) / core.G3Units.arcmin
    noise = noise[np.isfinite(noise)]
    if not len(noise):
        return None
    median, low, high = np.percentile(noise, (50, *_OUTER)).tolist()
    return Depth(median, low, high)


def _hits(planes: Mapping[str, Plane]) -> Hits | None:
    if "H" not in planes:
        return None
    values = as_points(planes["H"].chunks(), planes["H"].stub.shape).values
    values = values[values != 0]
    if not len(values):
        return None
    median = float(np.median(values))
    return Hits(float(values.min()), median, float(values.max()), float(values.sum()))


def _ledger(frame: Frame, where: str, time: str | None) -> LedgerInfo | None:
    ledger = ledger_in(frame, where)
    if ledger is None:
        return None
    observations = ledger.observations()
    clock = Clock.of(time or FRAME)
    instants = [clock.time_of(None, one, None) for one in observations]
    known = [instant for instant in instants if instant is not None]
    return LedgerInfo(
        frames=len(ledger.entries),
        files=len(ledger.files()),
        observations=len(observations),
        first=observations[0] if observations else "",
        last=observations[-1] if observations else "",
        subtracted=sum(entry.sign < 0 for entry in ledger.entries),
        left_out=len(ledger.left_out),
        begin=date_of(min(known)) if known else "",
        end=date_of(max(known)) if known else "",
    )


def _record(frame: Frame) -> dict[str, str]:
    """What a coadd of a split says of itself, or a difference."""
    for key in _RECORDS:
        value = frame.get(key, None)
        if isinstance(value, core.G3MapString):
            return {str(name): str(value[name]) for name in value.keys()}  # noqa: SIM118
    return {}


def _text(frame: Frame, key: str) -> str:
    value = frame.get(key, None)
    return value if isinstance(value, str) else ""


def _geometry(stub: SkyMap) -> dict[str, Any]:
    arcmin, degree = core.G3Units.arcmin, core.G3Units.deg
    if not is_flat(stub):
        return {
            "kind": "HEALPix",
            "shape": [stub.size],
            "resolution_arcmin": math.sqrt(4 * math.pi / stub.size) / arcmin,
            "nside": stub.nside,
            "ordering": "NESTED" if stub.nested else "RING",
        }
    return {
        "kind": "flat",
        "shape": list(stub.shape),
        "resolution_arcmin": math.sqrt(abs(stub.x_res * stub.y_res)) / arcmin,
        "projection": str(stub.proj).removeprefix("Proj"),
        "center_deg": [stub.alpha_center / degree, stub.delta_center / degree],
    }
