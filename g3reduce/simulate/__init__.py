"""Simulated CMB observations, small but realistic, for demonstrations and tests.

`sky` is drawn from a LCDM-like power spectrum. A `telescope` with a few dozen polarized detectors
scans it back and forth; in `observe` its timestreams get noise, are filtered, and spt3g bins them
into weighted T, Q, U maps. A `season` writes files: a file for each observation and pixelization,
as mapmaking pipelines do for coaddition, or a few files of timestreams for each observation, for
restitching:

>>> from g3reduce.simulate import simulate_observations
>>> sim = simulate_observations("demo", n_obs=8)             # doctest: +SKIP
>>> sim.flat_files[0], sim.healpix_files[0]                  # doctest: +SKIP
('demo/flat/obs_0001.g3', 'demo/healpix/obs_0001.g3')

All quantities are in `core.G3Units` unless stated otherwise. Random numbers depend only on the seed
and on the number of the observation, so that any process may make any observation, in any order.

Imports from `pipeline` and from what is below it.
"""

from __future__ import annotations

from .more import more_observations
from .observe import observe, scan_frames
from .season import (
    ScanSimulation,
    Simulation,
    simulate_observations,
    simulate_scans,
    write_observation,
    write_scans,
)
from .sky import Sky, cmb_sky, cmb_spectra
from .telescope import Survey, focalplane

__all__ = [
    "ScanSimulation",
    "Simulation",
    "Sky",
    "Survey",
    "cmb_sky",
    "cmb_spectra",
    "focalplane",
    "more_observations",
    "observe",
    "scan_frames",
    "simulate_observations",
    "simulate_scans",
    "write_observation",
    "write_scans",
]
