"""Files of observations: maps to coadd, or timestreams to restitch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from ..errors import UsageError
from ..pipeline.output import write_frames
from ..spt3gtypes import Frame
from .observe import observe, scan_frames
from .sky import Sky, cmb_sky
from .telescope import Survey

R = TypeVar("R")


@dataclass(frozen=True)
class Simulation:
    """Files that `simulate_observations` has written, and what they were made of.

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


@dataclass(frozen=True)
class ScanSimulation:
    """Files that `simulate_scans` has written, and what they were made of.

    Attributes
    ----------
    files : tuple of tuple of str
        The files of each observation, both in order. As ``list(files)`` they are input for
        `MPIIODistributor` or `MPIFileReader`: one parallel block per observation.
    sky : Sky
        The true sky, smoothed by the beam.
    survey : Survey
        The settings.
    """

    files: tuple[tuple[str, ...], ...]
    sky: Sky
    survey: Survey


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
    flat, healpix = observe(sky, survey, obs)
    name = f"obs_{obs:04d}.g3"
    return _write(directory, "flat", name, flat), _write(directory, "healpix", name, healpix)


def write_scans(
    directory: str | os.PathLike[str],
    obs: int,
    sky: Sky,
    survey: Survey | None = None,
    *,
    files_per_obs: int = 3,
) -> tuple[str, ...]:
    """Observe once and write the timestreams: ``scans/obs_0001_00.g3`` and so on.

    Parameters
    ----------
    directory : path
        Where to write; it and its folder are created where missing. Files are overwritten.
    obs, sky, survey
        As in `scan_frames`.
    files_per_obs : int
        Number of files, each with the Observation and the Calibration frame and with some of the
        Scan frames. These are shared out in order of time, as evenly as can be.

    Returns
    -------
    tuple of str
        The files. Same arguments, same bytes.

    Raises
    ------
    UsageError
        If `files_per_obs` is less than 1.

    Examples
    --------
    >>> write_scans("demo", 12, cmb_sky(512, seed=1), files_per_obs=2)   # doctest: +SKIP
    ('demo/scans/obs_0012_00.g3', 'demo/scans/obs_0012_01.g3')
    """
    _check_files_per_obs(files_per_obs)
    observation, calibration, *scans = scan_frames(sky, survey, obs)
    ends = [len(scans) * i // files_per_obs for i in range(files_per_obs + 1)]
    return tuple(
        _write(
            directory,
            "scans",
            f"obs_{obs:04d}_{number:02d}.g3",
            [observation, calibration, *scans[first:stop]],
        )
        for number, (first, stop) in enumerate(pairwise(ends))
    )


def _check_files_per_obs(files_per_obs: int) -> None:
    if files_per_obs < 1:
        raise UsageError(
            f"files_per_obs is {files_per_obs}, but an observation needs at least one file"
        )


def _write(directory: str | os.PathLike[str], kind: str, name: str, frames: list[Frame]) -> str:
    """Write frames to a file in the folder of its kind, and return its path."""
    path = Path(directory, kind, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_frames(str(path), frames)
    return str(path)


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
    survey = survey or Survey()
    sky, files = _observe_all(
        n_obs, survey, progress, lambda obs, sky: write_observation(directory, obs, sky, survey)
    )
    flat, healpix = zip(*files, strict=True)
    return Simulation(tuple(flat), tuple(healpix), sky, survey)


def simulate_scans(
    directory: str | os.PathLike[str],
    n_obs: int = 2,
    *,
    files_per_obs: int = 3,
    survey: Survey | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ScanSimulation:
    """Simulate a season: draw the sky, observe it `n_obs` times, write the timestreams.

    Sky, telescope and noise are those of `simulate_observations`: binning these timestreams makes
    its maps.

    Parameters
    ----------
    directory : path
        Where to write; see `write_scans`.
    n_obs : int
        Number of observations, numbered from 1.
    files_per_obs : int
        Number of files for each of them.
    survey : Survey, optional
        The settings; the default ones if None. ``Survey(poly_order=None)`` leaves the slow drifts
        in the timestreams.
    progress : callable, optional
        Called as ``progress(done, n_obs)`` after each observation, and first with 0.

    Returns
    -------
    ScanSimulation
        Names of the files, and the true sky.

    Raises
    ------
    UsageError
        If `n_obs` or `files_per_obs` is less than 1.

    Examples
    --------
    >>> sim = simulate_scans("demo", 1, files_per_obs=2)             # doctest: +SKIP
    >>> sim.files                                                    # doctest: +SKIP
    (('demo/scans/obs_0001_00.g3', 'demo/scans/obs_0001_01.g3'),)
    """
    _check_files_per_obs(files_per_obs)  # before the sky is drawn, which takes a while
    survey = survey or Survey()

    def write(obs: int, sky: Sky) -> tuple[str, ...]:
        return write_scans(directory, obs, sky, survey, files_per_obs=files_per_obs)

    sky, files = _observe_all(n_obs, survey, progress, write)
    return ScanSimulation(tuple(files), sky, survey)


def _observe_all(
    n_obs: int,
    survey: Survey,
    progress: Callable[[int, int], object] | None,
    write: Callable[[int, Sky], R],
) -> tuple[Sky, list[R]]:
    """Draw the sky, and call `write` for each observation; return the sky and its results."""
    if n_obs < 1:
        raise UsageError(f"n_obs is {n_obs}, but a simulation needs at least one observation")
    report = progress or (lambda done, total: None)
    report(0, n_obs)
    sky = cmb_sky(survey.sky_nside, survey.seed, beam=survey.beam)
    written = []
    for obs in range(1, n_obs + 1):
        written.append(write(obs, sky))
        report(obs, n_obs)
    return sky, written
