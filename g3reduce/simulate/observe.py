"""From the sky to map files: timestreams with noise, filtered, binned by spt3g, and written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import UsageError
from .sky import Sky, cmb_sky
from .telescope import POINTING, Survey, focalplane, raster

FloatArray = NDArray[np.float64]
_U = core.G3Units

TIMESTREAMS = "CalTimestreams"
WEIGHTS = "TodWeights"


@dataclass(frozen=True)
class Simulation:
    """What `simulate_observations` made.

    Attributes
    ----------
    flat_files, healpix_files : tuple of str
        The files of all observations, in order: flat-sky maps, and HEALPix maps.
    sky : Sky
        The true sky, smoothed by the beam.
    survey : Survey
        The settings.
    """

    flat_files: tuple[str, ...]
    healpix_files: tuple[str, ...]
    sky: Sky
    survey: Survey


def _drifting_noise(rng: np.random.Generator, shape: tuple[int, int], knee: float) -> FloatArray:
    """Noise of unit variance per sample plus 1/f drifts; `knee` in cycles per sample."""
    modes = np.fft.rfft(rng.standard_normal(shape), axis=1)
    frequency = np.fft.rfftfreq(shape[1])
    frequency[0] = frequency[1]  # a constant offset as large as the slowest drift
    return np.asarray(np.fft.irfft(modes * np.sqrt(1 + knee / frequency), shape[1], axis=1))


class _DetectorNoise:
    """Pipeline module: adds noise to a band's timestreams, filters them, sets their weights.

    Works scan by scan. White noise and 1/f drifts have the level that the NETs of the Calibration
    frame say; weights are the inverse variance of a sample.
    """

    def __init__(self, survey: Survey, obs: int, frequency: int) -> None:
        self.survey, self.obs, self.frequency = survey, obs, frequency
        self.scans = 0
        self.nets: Any = None

    def __call__(self, frame: Any) -> None:
        if "NET" in frame:
            self.nets = frame["NET"]
        if frame.type != core.G3FrameType.Scan:
            return
        survey, key = self.survey, f"{TIMESTREAMS}{self.frequency}GHz"
        signal = frame.pop(key)
        names = list(signal.keys())
        data = np.array([np.asarray(signal[name]) for name in names])
        rng = np.random.default_rng([survey.seed, 1, self.obs, self.frequency, self.scans])
        sigma = np.array([self.nets[name] for name in names]) * survey.sample_rate**0.5
        noise = _drifting_noise(rng, data.shape, survey.knee / survey.sample_rate)
        data += sigma[:, np.newaxis] * noise
        if survey.poly_order is not None:
            _remove_polynomial(data, survey.poly_order)
        frame[key] = core.G3TimestreamMap(
            names, data, start=signal.start, stop=signal.stop, units=signal.units
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
    observation, *scans = raster(survey, obs)
    wafer = focalplane(
        survey.n_pixels, bands=survey.bands, radius=survey.fov_radius, seed=survey.seed
    )
    frames = iter([observation, wafer, *scans])
    pipe = core.G3Pipeline()
    # A pipeline's first module returns frames until it returns none.
    pipe.Add(lambda _: next(frames, []))
    for frequency, _ in survey.bands:
        timestreams = f"{TIMESTREAMS}{frequency}GHz"
        pipe.Add(
            maps.MapMockObserver,
            pointing=POINTING,
            timestreams=timestreams,
            band=frequency * _U.GHz,
            **sky._asdict(),
            interp=True,
        )
        pipe.Add(_DetectorNoise(survey, obs, frequency))
        for stub in _stub_maps(survey):
            binner = {"map_id": f"{frequency}GHz", "stub_map": stub, "pointing": POINTING}
            binner["timestreams"] = timestreams
            pipe.Add(maps.MapBinner, **binner, detector_weights=f"{WEIGHTS}{frequency}GHz")
            pipe.Add(maps.HitsBinner, **binner)
    made: list[Any] = []
    pipe.Add(lambda frame: made.append(frame) if frame.type == core.G3FrameType.Map else None)
    pipe.Run()
    flat, healpix = _merge_hits(made)
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


def write_observation(
    directory: str | os.PathLike[str], obs: int, sky: Sky, survey: Survey | None = None
) -> tuple[str, str]:
    """Observe once and write the maps: ``flat/obs_0001.g3`` and ``healpix/obs_0001.g3``.

    Parameters
    ----------
    directory : path
        Where to write; it and its two folders are created where missing. Files are overwritten.
    obs, sky, survey
        As in `observe`.

    Returns
    -------
    flat_file, healpix_file : str
        The files: an Observation frame and a Map frame per band. Same arguments, same bytes.

    Examples
    --------
    >>> write_observation("demo", 12, cmb_sky(512, seed=1))          # doctest: +SKIP
    ('demo/flat/obs_0012.g3', 'demo/healpix/obs_0012.g3')
    """
    paths = []
    for kind, frames in zip(("flat", "healpix"), observe(sky, survey, obs), strict=True):
        path = Path(directory, kind, f"obs_{obs:04d}.g3")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not through a pipeline: it would add a PipelineInfo frame, stamped with the time.
        writer = core.G3Writer(str(path))
        for frame in [*frames, core.G3Frame(core.G3FrameType.EndProcessing)]:
            writer(frame)
        paths.append(str(path))
    return paths[0], paths[1]


def simulate_observations(
    directory: str | os.PathLike[str],
    n_obs: int = 8,
    *,
    survey: Survey | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Simulation:
    """Simulate a season: draw the sky, observe it `n_obs` times, write the maps.

    Parameters
    ----------
    directory : path
        Where to write; see `write_observation`.
    n_obs : int
        Number of observations, numbered from 1.
    survey : Survey, optional
        The settings; the default ones if None.
    progress : callable, optional
        Called as ``progress(done, n_obs)`` after each observation, and first with 0.

    Returns
    -------
    Simulation
        Names of the files, and the true sky.

    Raises
    ------
    UsageError
        If `n_obs` is less than 1.

    Examples
    --------
    >>> sim = simulate_observations("demo", 2, progress=print)       # doctest: +SKIP
    0 2
    1 2
    2 2
    """
    if n_obs < 1:
        raise UsageError(f"n_obs is {n_obs}, but a simulation needs at least one observation")
    survey = survey or Survey()
    report = progress or (lambda done, total: None)
    report(0, n_obs)
    sky = cmb_sky(survey.sky_nside, survey.seed, beam=survey.beam)
    files = []
    for obs in range(1, n_obs + 1):
        files.append(write_observation(directory, obs, sky, survey))
        report(obs, n_obs)
    flat, healpix = zip(*files, strict=True)
    return Simulation(tuple(flat), tuple(healpix), sky, survey)
