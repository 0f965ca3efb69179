"""From timestreams to maps: an observation, binned by spt3g."""

from __future__ import annotations

from typing import Any

import numpy as np
from spt3g import core, maps

from .sky import Sky
from .telescope import POINTING, Survey
from .timestreams import TIMESTREAMS, WEIGHTS, piped, scan_frames

_U = core.G3Units


def observe(sky: Sky, survey: Survey | None = None, obs: int = 1) -> tuple[list[Any], list[Any]]:
    """Make the maps of one observation, through spt3g's own mock observer and binners.

    Parameters
    ----------
    sky : Sky
        What is in the sky, in all bands.
    survey : Survey, optional
        The settings; the default ones if None.
    obs : int
        Number of the observation. Offset and noise depend on it and on the seed.

    Returns
    -------
    flat, healpix : list of spt3g.core.G3Frame
        For each pixelization an Observation frame and one Map frame per band, with ``Id``, weighted
        ``T``, ``Q``, ``U`` (Tcmb, IAU, sparse), ``Wpol`` (inverse variance), ``H`` (hits: samples),
        ``StartTime`` and ``StopTime``.

    Examples
    --------
    >>> flat, healpix = observe(cmb_sky(512, seed=1), obs=3)         # doctest: +SKIP
    >>> [frame["Id"] for frame in flat[1:]]                          # doctest: +SKIP
    ['95GHz', '150GHz']
    """
    survey = survey or Survey()
    frames = scan_frames(sky, survey, obs)
    modules: list[tuple[Any, dict[str, Any]]] = []
    for frequency, _ in survey.bands:
        for stub in _stub_maps(survey):
            binner = {"map_id": f"{frequency}GHz", "stub_map": stub, "pointing": POINTING}
            binner["timestreams"] = f"{TIMESTREAMS}{frequency}GHz"
            weights = {"detector_weights": f"{WEIGHTS}{frequency}GHz"}
            modules += [(maps.MapBinner, {**binner, **weights}), (maps.HitsBinner, binner)]
    made = [frame for frame in piped(frames, modules) if frame.type == core.G3FrameType.Map]
    flat, healpix = _merge_hits(made)
    observation = frames[0]
    return [observation, *flat], [observation, *healpix]


def _merge_hits(frames: list[Any]) -> tuple[list[Any], list[Any]]:
    """Move hits into the frames of the maps that they belong to; part flat-sky from HEALPix."""
    merged: dict[tuple[bool, str], Any] = {}
    for frame in sorted(frames, key=lambda frame: "H" in frame):
        if "H" in frame:
            merged[isinstance(frame["H"], maps.FlatSkyMap), frame["Id"]]["H"] = frame["H"]
        else:
            merged[isinstance(frame["T"], maps.FlatSkyMap), frame["Id"]] = frame
    flat = [frame for (is_flat, _), frame in merged.items() if is_flat]
    return flat, [frame for (is_flat, _), frame in merged.items() if not is_flat]


def _stub_maps(survey: Survey) -> list[Any]:
    """Empty maps that say how to bin: flat-sky and HEALPix, both sparse."""
    margin = survey.fov_radius + survey.dither + 0.5 * _U.deg
    edge = np.linspace(-1, 1, 101)
    ra = (survey.width / 2 + margin) / np.cos(survey.dec_center / _U.rad)
    dec = survey.height / 2 + margin
    # The field's outline on the map decides its size: parallels are curved there.
    ra = survey.ra_center + ra * np.concatenate([edge, edge, np.ones(101), -np.ones(101)])
    dec = survey.dec_center + dec * np.concatenate([np.ones(101), -np.ones(101), edge, edge])
    dec = np.clip(dec, -89 * _U.deg, 89 * _U.deg)
    common = {"weighted": True, "pol_conv": maps.MapPolConv.IAU}
    centred = {
        "proj": maps.MapProjection.ProjZEA,
        "alpha_center": survey.ra_center,
        "delta_center": survey.dec_center,
    }
    one = maps.FlatSkyMap(1, 1, survey.res, **centred)
    x, y = (np.asarray(a) for a in one.angle_to_xy(core.DoubleVector(ra), core.DoubleVector(dec)))
    flat = maps.FlatSkyMap(
        int(np.ceil(np.ptp(x))) + 1,
        int(np.ceil(np.ptp(y))) + 1,
        survey.res,
        x_center=-np.floor(x.min()),
        y_center=-np.floor(y.min()),
        **centred,
        **common,
    )
    # Rings are stored from the antimeridian on, so that a field at RA 0 is one run per ring.
    near_zero = np.cos(survey.ra_center / _U.rad) > 0
    healpix = maps.HealpixSkyMap(survey.nside, shift_ra=bool(near_zero), **common)
    healpix.ringsparse = True
    return [flat, healpix]
