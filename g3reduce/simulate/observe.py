"""One observation: timestreams with noise and drifts, filtered, and the maps that spt3g bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..mpi.interrupts import Interrupts
from ..spt3gtypes import Frame, SkyMap
from .sky import Sky
from .telescope import POINTING, Survey, focalplane, raster

FloatArray = NDArray[np.float64]
_U = core.G3Units

TIMESTREAMS = "CalTimestreams"
WEIGHTS = "TodWeights"


def scan_frames(sky: Sky, survey: Survey | None = None, obs: int = 1) -> list[Frame]:
    """Make the timestreams of one observation, through spt3g's own mock observer.

    Parameters
    ----------
    sky : Sky
        What is in the sky, in all bands.
    survey : Survey, optional
        The settings; the default ones if None. Timestreams keep their slow drifts if its
        `poly_order` is None.
    obs : int
        Number of the observation. Offset and noise depend on it and on the seed.

    Returns
    -------
    list of spt3g.core.G3Frame
        An Observation frame; the Calibration frame of `focalplane`; and Scan frames in order of
        time, with ``SourceName`` and ``ObservationID`` of the observation, the boresight
        ``OnlineRaDecRotation`` (a `G3TimestreamQuat`), and for each band ``CalTimestreams150GHz``
        (a `G3TimestreamMap` in Tcmb) and ``TodWeights150GHz`` (a `G3MapDouble`: the inverse
        variance of a sample). Between scans the telescope turns, for two seconds that are not
        recorded.

    Examples
    --------
    >>> frames = scan_frames(cmb_sky(512, seed=1), obs=3)            # doctest: +SKIP
    >>> frames[2]["CalTimestreams150GHz"].sample_rate / core.G3Units.Hz  # doctest: +SKIP
    20.0
    """
    survey = survey or Survey()
    observation, *scans = raster(survey, obs)
    wafer = focalplane(
        survey.n_pixels, bands=survey.bands, radius=survey.fov_radius, seed=survey.seed
    )
    frames = [observation, wafer, *scans]
    modules: list[tuple[Any, dict[str, Any]]] = []
    for frequency, _ in survey.bands:
        seen = {"timestreams": f"{TIMESTREAMS}{frequency}GHz", "band": frequency * _U.GHz}
        modules += [
            (maps.MapMockObserver, {"pointing": POINTING, **seen, **sky._asdict(), "interp": True}),
            (_DetectorNoise(survey, obs, frequency), {}),
        ]
    kinds = {frame.type for frame in frames}
    return [frame for frame in piped(frames, modules) if frame.type in kinds]


def piped(frames: list[Frame], modules: list[tuple[Any, dict[str, Any]]]) -> list[Frame]:
    """Send frames through modules, given with their arguments, and return what comes out."""
    source = iter([*frames, []])  # an empty list ends the pipeline
    made: list[Any] = []
    interrupts = Interrupts()  # G3Pipeline only halts at Ctrl-C: frames would be missing

    def give(_: Any) -> Any:
        interrupts.stay_open()
        return next(source)

    pipe = core.G3Pipeline()
    pipe.Add(give)
    for module, arguments in modules:
        pipe.Add(module, **arguments)
    pipe.Add(made.append)
    interrupts.open()
    try:
        pipe.Run()
    finally:
        interrupts.close()
    if interrupts.number is not None:
        interrupts.pass_on()
    if list(source):  # interrupted before the first frame
        raise KeyboardInterrupt
    return made


def _drifting_noise(rng: np.random.Generator, shape: tuple[int, int], knee: float) -> FloatArray:
    """Noise of unit variance per sample plus 1/f drifts; `knee` in cycles per sample."""
    modes = np.fft.rfft(rng.standard_normal(shape), axis=1)
    frequency = np.fft.rfftfreq(shape[1])
    frequency[0] = frequency[1]  # a constant offset as large as the slowest drift
    return np.asarray(np.fft.irfft(modes * np.sqrt(1 + knee / frequency), shape[1], axis=1))


class _DetectorNoise:
    """Module that adds noise to the timestreams of a band, filters them, and sets their weights.

    White noise and 1/f drifts have the level of the NETs in the Calibration frame; weights are the
    inverse variance of a sample.
    """

    def __init__(self, survey: Survey, obs: int, frequency: int) -> None:
        self.survey, self.obs, self.frequency = survey, obs, frequency
        self.scans = 0
        self.nets: Any = None

    def __call__(self, frame: Frame) -> None:
        if "NET" in frame:
            self.nets = frame["NET"]
        if frame.type != core.G3FrameType.Scan:
            return
        survey, key = self.survey, f"{TIMESTREAMS}{self.frequency}GHz"
        seen = frame.pop(key)
        names = list(seen.keys())
        data = np.array([np.asarray(seen[name]) for name in names])
        rng = np.random.default_rng([survey.seed, 1, self.obs, self.frequency, self.scans])
        sigma = np.array([self.nets[name] for name in names]) * survey.sample_rate**0.5
        noise = _drifting_noise(rng, data.shape, survey.knee / survey.sample_rate)
        data += sigma[:, np.newaxis] * noise
        if survey.poly_order is not None:
            _remove_polynomial(data, survey.poly_order)
        frame[key] = core.G3TimestreamMap(
            names, data, start=seen.start, stop=seen.stop, units=seen.units
        )
        frame[f"{WEIGHTS}{self.frequency}GHz"] = core.G3MapDouble(
            dict(zip(names, (sigma**-2).tolist(), strict=True))
        )
        self.scans += 1


def _remove_polynomial(data: FloatArray, order: int) -> None:
    """Subtract each row's best-fitting polynomial, in place."""
    x = np.linspace(-1, 1, data.shape[1])
    modes = np.linalg.qr(np.polynomial.legendre.legvander(x, order))[0]
    data -= (data @ modes) @ modes.T


def observe(
    sky: Sky, survey: Survey | None = None, obs: int = 1
) -> tuple[list[Frame], list[Frame]]:
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


def _merge_hits(frames: list[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Move hits into the frames of their maps; return flat-sky frames, and HEALPix frames."""
    merged: dict[tuple[bool, str], Any] = {}
    for frame in sorted(frames, key=lambda frame: "H" in frame):
        if "H" in frame:
            merged[isinstance(frame["H"], maps.FlatSkyMap), frame["Id"]]["H"] = frame["H"]
        else:
            merged[isinstance(frame["T"], maps.FlatSkyMap), frame["Id"]] = frame
    flat = [frame for (is_flat, _), frame in merged.items() if is_flat]
    return flat, [frame for (is_flat, _), frame in merged.items() if not is_flat]


def _stub_maps(survey: Survey) -> list[SkyMap]:
    """Empty maps with the geometry to bin into: flat-sky and HEALPix, both sparse."""
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
