"""A small, realistic CMB observation for demonstrations and tests.

A sky is drawn from a LCDM-like power spectrum, a telescope with a few dozen polarized detectors
scans it back and forth, its timestreams get noise and lose their slow drifts, and spt3g bins them
into weighted T, Q, U maps. One file per observation and pixelization results, as a mapmaking
pipeline leaves them behind for coaddition; or a few files of timestreams per observation, as
`simulate_scans` writes them for restitching:

>>> from g3reduce.simulate import simulate_observations
>>> sim = simulate_observations("demo", n_obs=8)             # doctest: +SKIP
>>> sim.flat_files[0], sim.healpix_files[0]                  # doctest: +SKIP
('demo/flat/obs_0001.g3', 'demo/healpix/obs_0001.g3')

All quantities are in `core.G3Units` unless said otherwise. Random numbers depend on the seed and on
the number of the observation alone, so that any process may make any observation, in any order.
"""

from __future__ import annotations

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
    "observe",
    "scan_frames",
    "simulate_observations",
    "simulate_scans",
    "write_observation",
    "write_scans",
]
