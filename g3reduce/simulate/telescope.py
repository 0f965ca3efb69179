"""A telescope that scans a field: settings of a survey, the focal plane, and the raster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import calibration, core, maps

from ..errors import UsageError
from ..spt3gtypes import Frame

FloatArray = NDArray[np.float64]
_U = core.G3Units

POINTING = "OnlineRaDecRotation"


@dataclass(frozen=True)
class Survey:
    """Settings of a survey: field, telescope, noise and maps, in `core.G3Units`.

    Attributes
    ----------
    seed : int
        Seed of sky, pointing offsets and noise.
    bands : tuple of (int, float)
        Frequency in GHz, and noise-equivalent temperature (NET) of one detector in K sqrt(time).
        One map with Id such as ``"150GHz"`` per band. Each detector is far more sensitive than a
        real one, so that a few of them show polarization within minutes.
    n_pixels : int
        Focal-plane pixels, each with two orthogonal detectors per band.
    fov_radius : float
        Radius of the focal plane on the sky.
    ra_center, dec_center, width, height : float
        Centre of the field, and its extent on the sky.
    dec_step, scan_speed, sample_rate : float
        The raster: distance of scans, speed on the sky, samples per time.
    dither : float
        Largest offset of an observation from the centre of the field, in both coordinates.
    knee : float
        Frequency at which the 1/f drifts equal the white noise.
    poly_order : int or None
        Order of the polynomial that is removed from each detector's scan. None: no filter.
    beam : float
        Full width at half maximum of the Gaussian beam.
    sky_nside, nside : int
        Resolution of the true sky, and of the HEALPix maps that are made.
    res : float
        Pixel size of the flat-sky (ZEA) maps.
    """

    seed: int = 1
    bands: tuple[tuple[int, float], ...] = (
        (95, 3 * _U.uK * _U.s**0.5),
        (150, 2 * _U.uK * _U.s**0.5),
    )
    n_pixels: int = 19
    fov_radius: float = 0.8 * _U.deg
    ra_center: float = 0.0
    dec_center: float = -50 * _U.deg
    width: float = 20 * _U.deg
    height: float = 10 * _U.deg
    dec_step: float = 0.25 * _U.deg
    scan_speed: float = 1 * _U.deg / _U.s
    sample_rate: float = 20 * _U.Hz
    dither: float = 1 * _U.deg
    knee: float = 0.1 * _U.Hz
    poly_order: int | None = 2
    beam: float = 10 * _U.arcmin
    sky_nside: int = 512
    nside: int = 512
    res: float = 6 * _U.arcmin


def focalplane(
    n_pixels: int = 19,
    *,
    bands: Sequence[tuple[int, float]] = Survey.bands,
    radius: float = Survey.fov_radius,
    seed: int = 1,
) -> Any:
    """Lay out a wafer of multichroic pixels, each with a pair of orthogonal detectors per band.

    Parameters
    ----------
    n_pixels : int
        Number of pixels, filled in from the centre of a triangular lattice.
    bands : sequence of (int, float)
        Frequency in GHz and NET of a detector, as in `Survey`.
    radius : float
        Distance of the outermost pixel from the centre, in `core.G3Units`.
    seed : int
        Seed of the scatter of the NETs (10 %).

    Returns
    -------
    spt3g.core.G3Frame
        A Calibration frame with ``BolometerProperties`` (a `BolometerPropertiesMap`; names such as
        ``w1.p07.150.x``) and ``NET`` (a `G3MapDouble`).

    Raises
    ------
    UsageError
        If `n_pixels` is less than 1.

    Examples
    --------
    >>> frame = focalplane(7, bands=[(150, 2 * core.G3Units.uK * core.G3Units.s**0.5)])
    >>> len(frame["BolometerProperties"])
    14
    """
    if n_pixels < 1:
        raise UsageError(f"n_pixels is {n_pixels}, but a focal plane needs at least one pixel")
    properties, nets = calibration.BolometerPropertiesMap(), core.G3MapDouble()
    scatter = np.random.default_rng([seed, 2])
    for pixel, (x, y) in enumerate(_triangular_lattice(n_pixels) * radius):
        for frequency, net in bands:
            for arm, offset in (("x", 0.0), ("y", 90.0)):
                # 22.5 degrees from pixel to pixel: each patch of sky sees all angles soon.
                bolo = _bolometer(pixel, frequency, arm, (22.5 * pixel + offset) % 180 * _U.deg)
                bolo.x_offset, bolo.y_offset = x, y
                properties[bolo.physical_name] = bolo
                nets[bolo.physical_name] = net * (1 + 0.1 * scatter.uniform(-1, 1))
    frame = core.G3Frame(core.G3FrameType.Calibration)
    frame["BolometerProperties"] = properties
    frame["NET"] = nets
    return frame


def _bolometer(pixel: int, frequency: int, arm: str, pol_angle: float) -> Any:
    bolo = calibration.BolometerProperties()
    bolo.physical_name = f"w1.p{pixel:02d}.{frequency}.{arm}"
    bolo.wafer_id = "w1"
    bolo.pixel_id = f"p{pixel:02d}"
    bolo.band = frequency * _U.GHz
    bolo.pol_angle = pol_angle
    bolo.pol_efficiency = 0.97
    bolo.coupling = calibration.BolometerCouplingType.Optical
    return bolo


def _triangular_lattice(n: int) -> FloatArray:
    """The `n` points of a triangular lattice nearest the origin, scaled to radius 1: (n, 2)."""
    half = int(np.sqrt(n)) + 2
    i, j = np.mgrid[-half : half + 1, -half : half + 1]
    xy = np.column_stack([(i + 0.5 * j).ravel(), (np.sqrt(0.75) * j).ravel()])
    distance = np.hypot(*xy.T)
    # Rounded, so that equal distances tie on every machine; then by angle around the centre.
    order = np.lexsort([np.arctan2(xy[:, 1], xy[:, 0]).round(6), distance.round(6)])[:n]
    return np.asarray(xy[order] / max(distance[order].max(), 1.0))


def raster(survey: Survey, obs: int) -> list[Frame]:
    """Observation and Scan frames, the latter with their boresight, of observation `obs`."""
    observation = core.G3Frame(core.G3FrameType.Observation)
    ra_hours = survey.ra_center / (15 * _U.deg)
    observation["SourceName"] = f"ra{ra_hours:g}hdec{survey.dec_center / _U.deg:g}"
    observation["ObservationID"] = 70_000_000 + 7200 * obs  # seconds since 2017, as SPT counts
    start = core.G3Time("20170101_000000").time + observation["ObservationID"] * _U.s
    frames = [observation]

    dither = np.random.default_rng([survey.seed, 0, obs]).uniform(-1, 1, 2) * survey.dither
    cos_dec = np.cos(survey.dec_center / _U.rad)
    n_samples = round(survey.width / survey.scan_speed * survey.sample_rate)
    throw = np.linspace(-0.5, 0.5, n_samples) * survey.width / cos_dec
    ra = survey.ra_center + dither[0] / cos_dec + throw
    steps = np.arange(0, survey.height + survey.dec_step / 2, survey.dec_step)
    for number, dec in enumerate(survey.dec_center + dither[1] - survey.height / 2 + steps):
        # Every other scan goes the other way.
        alpha = core.G3Timestream(np.ascontiguousarray(ra[::-1]) if number % 2 else ra)
        delta = core.G3Timestream(np.full(n_samples, dec))
        pointing = maps.get_origin_rotator_timestream(
            alpha, delta, maps.MapCoordReference.Equatorial
        )
        pointing.start = core.G3Time(int(start))
        pointing.stop = core.G3Time(int(start + (n_samples - 1) / survey.sample_rate))
        scan = core.G3Frame(core.G3FrameType.Scan)
        for key in ("SourceName", "ObservationID"):
            scan[key] = observation[key]
        scan[POINTING] = pointing
        frames.append(scan)
        start += n_samples / survey.sample_rate + 2 * _U.s  # the turnaround is not recorded
    return frames
