"""More observations, quickly: the maps of some that were simulated, with new noise."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from spt3g import core, maps

from ..errors import UsageError
from ..pipeline.output import write_frames
from ..spt3gtypes import Frame, SkyMap

# Keys of the maps, and of the components of weights that are the variances of their sums.
_NOISY = {"T": "TT", "Q": "QQ", "U": "UU"}


def more_observations(
    directory: str | os.PathLike[str],
    files: Sequence[str],
    n_more: int,
    *,
    seed: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[str, ...]:
    """Write observations that are those of `files` in turn, each with new noise.

    It takes a hundredth of the time of an observation by `write_observation`, for it has neither
    detectors nor scans: white noise of the variance that the weights stand for is added to the
    weighted maps. Pointing, weights, hits, and the noise that was there, stay.

    Parameters
    ----------
    directory : path
        Where to write ``obs_0009.g3`` and so on, numbered behind `files`; it is created where
        missing.
    files : sequence of str
        HEALPix files of `simulate_observations`.
    n_more : int
        How many to write.
    seed : int
        Seed of the noise.
    progress : callable, optional
        Called as ``progress(done, n_more)`` after each file.

    Returns
    -------
    tuple of str
        The files. Same arguments, same bytes.

    Raises
    ------
    UsageError
        If there are no files.

    Examples
    --------
    >>> more_observations("more", sim.healpix_files, 100)            # doctest: +SKIP
    """
    if not files:
        raise UsageError("files is empty; expected the files of observations to make more of.")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    seen = [list(core.G3File(file)) for file in files]
    written = []
    for done in range(n_more):
        number = len(files) + 1 + done
        rounds = number - 1 - done % len(files)  # how many observations later than the first one
        rng = np.random.default_rng([seed, 3, number])
        frames = [_later(frame, rounds, rng) for frame in seen[done % len(files)]]
        path = folder / f"obs_{number:04d}.g3"
        write_frames(str(path), frames)
        written.append(str(path))
        if progress is not None:
            progress(done + 1, n_more)
    return tuple(written)


def _later(frame: Frame, n_later: int, rng: np.random.Generator) -> Frame:
    """A frame of an observation that is so many later, with new noise."""
    made = core.G3Frame(frame.type)
    shift = 7200 * n_later
    for key in frame.keys():  # noqa: SIM118
        value = frame[key]
        if key == "ObservationID":
            made[key] = value + shift
        elif key in ("StartTime", "StopTime"):
            made[key] = core.G3Time(value.time + int(shift * core.G3Units.s))
        elif key in _NOISY and "Wpol" in frame:
            made[key] = _noisy(value, getattr(frame["Wpol"], _NOISY[key]), rng)
        else:
            made[key] = value
    return made


def _noisy(skymap: SkyMap, weights: SkyMap, rng: np.random.Generator) -> SkyMap:
    pixels, values = map(np.asarray, weights.nonzero_pixels())
    noise = maps.HealpixSkyMap(
        pixels.astype(np.int64),
        np.sqrt(values) * rng.standard_normal(len(pixels)),
        skymap.nside,
        coord_ref=skymap.coord_ref,
        units=skymap.units,
        pol_type=skymap.pol_type,
        pol_conv=skymap.pol_conv,
    )
    made = skymap.clone(True)
    made += noise
    return made
