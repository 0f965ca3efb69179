"""Small files that stand in for those of ``g3reduce demo --data-only``, which takes seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from spt3g import core, maps

BANDS = ("95GHz", "150GHz")
N_FILES = 8
N_HIT = 400  # pixels of each map


def write_season(folder: Path) -> None:
    """Write ``obs_0001.g3`` and so on: names, Ids, keys, times, geometry are those of the demo."""
    folder.mkdir(parents=True)
    for number in range(1, N_FILES + 1):
        with core.G3Writer(str(folder / f"obs_{number:04d}.g3")) as writer:
            observation = core.G3Frame(core.G3FrameType.Observation)
            observation["SourceName"] = "ra0hdec-50"
            observation["ObservationID"] = 70000000 + 7200 * number
            writer(observation)
            for place, band in enumerate(BANDS):
                writer(_map_frame(band, number, np.random.default_rng([number, place])))


def _map_frame(band: str, number: int, rng: np.random.Generator) -> core.G3Frame:
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = band
    for key, minute in (("StartTime", 26), ("StopTime", 41)):
        frame[key] = core.G3Time(f"2019-03-22T{2 * number + 4:02d}:{minute}:40")
    hit = rng.choice(1000, N_HIT, replace=False) + 20000
    for key in ("T", "Q", "U"):
        frame[key] = _filled(hit, rng, -50, 50, units="Tcmb", pol_type=key)
    weights = maps.G3SkyMapWeights()
    for key in ("TT", "TQ", "TU", "QQ", "QU", "UU"):
        low, high = (10, 20) if key in ("TT", "QQ", "UU") else (-2, 2)
        setattr(weights, key, _filled(hit, rng, low, high, weighted=False, pol_type=key))
    frame["Wpol"] = weights
    frame["H"] = _filled(hit, rng, 1, 20, weighted=False, pol_conv=maps.MapPolConv.none)
    return frame


def _filled(
    hit: np.ndarray,
    rng: np.random.Generator,
    low: int,
    high: int,
    *,
    units: str = "None",
    weighted: bool = True,
    pol_type: str = "none",
    pol_conv: maps.MapPolConv = maps.MapPolConv.IAU,
) -> maps.FlatSkyMap:
    """A map of small integers, so that sums are exact in any order."""
    values = np.zeros((161, 280))
    values.flat[hit] = rng.integers(low, high, hit.size)
    blank = maps.FlatSkyMap(
        280,
        161,
        6 * core.G3Units.arcmin,
        weighted=weighted,
        proj=maps.MapProjection.ProjZEA,
        alpha_center=0.0,
        delta_center=-50 * core.G3Units.deg,
        coord_ref=maps.MapCoordReference.Equatorial,
        units=getattr(core.G3TimestreamUnits, units),
        pol_type=getattr(maps.MapPolType, pol_type),
        pol_conv=pol_conv,
    )
    np.asarray(blank)[:] = values
    blank.compact(zero_nans=False)
    return blank
