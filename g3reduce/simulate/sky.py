"""A simulated sky: Gaussian CMB from a spectrum that resembles that of LCDM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core, maps

from ..errors import UsageError

FloatArray = NDArray[np.float64]
_U = core.G3Units

# Turning points of the spectra, (ell, value), placed by hand to follow the measured shape.
# TT and EE: D_ell = ell (ell + 1) C_ell / 2 pi in uK^2.
# TE: the correlation coefficient TE / sqrt(TT EE), in [-1, 1].
_TT_TURNS = (
    (2, 1050), (20, 850), (220, 5730), (413, 1700), (537, 2580), (674, 1790), (812, 2520),
    (1020, 1050), (1125, 1220), (1310, 720), (1445, 800), (1690, 390), (1775, 400), (2400, 100),
    (3500, 14), (5000, 1),
)  # fmt: skip
_EE_TURNS = (
    (2, 0.03), (14, 0.004), (140, 1.1), (195, 0.75), (397, 21), (525, 6.8), (690, 37), (830, 12.5),
    (990, 42), (1150, 13), (1300, 29), (1450, 10), (1600, 18), (1760, 7), (1900, 9), (2400, 2.5),
    (3500, 0.3), (5000, 0.02),
)  # fmt: skip
_TE_TURNS = (
    (2, 0.3), (20, 0.3), (52, 0), (150, -0.75), (225, 0), (310, 0.6), (397, 0), (470, -0.5),
    (537, 0), (600, 0.3), (685, 0), (750, -0.55), (818, 0), (915, 0.35), (988, 0), (1070, -0.4),
    (1150, 0), (1220, 0.25), (1300, 0), (1380, -0.3), (1450, 0), (1800, 0),
)  # fmt: skip


class Sky(NamedTuple):
    """Stokes maps of the sky: full, dense `HealpixSkyMap` objects, unweighted, in Tcmb.

    Attributes
    ----------
    T, Q, U : spt3g.maps.HealpixSkyMap
        The maps, with `pol_type` set and `pol_conv` IAU.
    """

    T: Any
    Q: Any
    U: Any


def _through_turns(ell: FloatArray, turns: Sequence[tuple[float, float]]) -> FloatArray:
    """Interpolate between turning points, with zero slope at each of them."""
    x, y = np.array(turns, dtype=np.float64).T
    # sqrt(ell) as abscissa: the rise to the first peak is steep at low ell, as it should be.
    i = np.clip(np.searchsorted(x, ell, side="right") - 1, 0, x.size - 2)
    t = (np.sqrt(ell) - np.sqrt(x[i])) / (np.sqrt(x[i + 1]) - np.sqrt(x[i]))
    eased = 0.5 - 0.5 * np.cos(np.pi * np.clip(t, 0, 1))
    return np.asarray(y[i] + (y[i + 1] - y[i]) * eased)


def cmb_spectra(lmax: int) -> FloatArray:
    """Power spectra that resemble those of the lensed LCDM cosmology.

    This is phenomenology, not a Boltzmann code: smooth curves through approximate heights and
    places of the acoustic peaks and troughs, which were placed by hand. That makes maps that look
    and behave like the CMB, for demonstrations and tests of software; not for cosmology.

    Parameters
    ----------
    lmax : int
        Largest multipole, at least 2.

    Returns
    -------
    ndarray of float64, shape (4, lmax + 1)
        C_ell of TT, EE, BB (lensing only) and TE (healpy's order), in `core.G3Units` of
        temperature squared; zero for ell below 2. ``TE**2 <= TT * EE`` everywhere.

    Raises
    ------
    UsageError
        If `lmax` is less than 2.

    Examples
    --------
    >>> cl = cmb_spectra(1000)
    >>> ell = np.arange(1001)
    >>> int(np.argmax(ell * (ell + 1) * cl[0]))
    220
    """
    if lmax < 2:
        raise UsageError(f"lmax is {lmax}, but the spectra start at ell = 2")
    ell = np.arange(2, lmax + 1, dtype=np.float64)
    tt = np.exp(_through_turns(ell, [(x, np.log(y)) for x, y in _TT_TURNS]))
    ee = np.exp(_through_turns(ell, [(x, np.log(y)) for x, y in _EE_TURNS]))
    te = _through_turns(ell, _TE_TURNS) * np.sqrt(tt * ee)
    # Lensing B modes are white (2e-6 uK^2) on large scales and turn over near ell = 1000.
    bb = 0.318 * (ell / 1000) ** 2 / (1 + (ell / 650) ** 2.7)
    cl = np.zeros((4, lmax + 1))
    cl[:, 2:] = np.array([tt, ee, bb, te]) * 2 * np.pi / (ell * (ell + 1)) * _U.uK**2
    return cl


def cmb_sky(nside: int, seed: int, *, beam: float = 0.0) -> Sky:
    """Draw a Gaussian CMB sky.

    Parameters
    ----------
    nside : int
        HEALPix resolution.
    seed : int
        Seed of the realisation.
    beam : float
        Full width at half maximum of a Gaussian beam to smooth with, in `core.G3Units`.

    Returns
    -------
    Sky
        Full-sky ring-ordered T, Q, U in equatorial coordinates: Tcmb, unweighted, IAU.

    Examples
    --------
    >>> sky = cmb_sky(64, seed=1)
    >>> 60 < sky.T.std() / core.G3Units.uK < 140
    True
    """
    import healpy

    alms = _draw_alms(cmb_spectra(3 * nside - 1), np.random.default_rng(seed))
    stokes = healpy.alm2map(alms, nside, pol=True, fwhm=beam / _U.rad)
    # healpy's polarization angles follow the COSMO convention. IAU's run the other way round,
    # from North through East, which changes the sign of U and leaves Q as it is.
    stokes[2] *= -1
    return Sky(
        *(
            maps.HealpixSkyMap(
                np.ascontiguousarray(plane),
                weighted=False,
                nested=False,
                coord_ref=maps.MapCoordReference.Equatorial,
                units=core.G3TimestreamUnits.Tcmb,
                pol_type=getattr(maps.MapPolType, name),
                pol_conv=maps.MapPolConv.IAU,
            )
            for name, plane in zip("TQU", stokes, strict=True)
        )
    )


def _draw_alms(cl: FloatArray, rng: np.random.Generator) -> NDArray[np.complex128]:
    """Gaussian T, E, B multipoles, in healpy's order: ``(3, n)``."""
    import healpy

    # Not healpy.synfast, which draws from numpy's global generator.
    lmax = cl.shape[1] - 1
    ell, _ = healpy.Alm.getlm(lmax)
    t, e, b = rng.standard_normal((3, ell.size, 2)).view(np.complex128)[..., 0] / np.sqrt(2)
    for alm in (t, e, b):  # m = 0 comes first and is real
        alm[: lmax + 1] = alm[: lmax + 1].real * np.sqrt(2)
    tt, ee, bb, te = cl
    correlated = np.divide(te, np.sqrt(tt), out=np.zeros_like(te), where=tt > 0)
    rest = np.sqrt(np.maximum(ee - correlated**2, 0))
    return np.array(
        [np.sqrt(tt)[ell] * t, correlated[ell] * t + rest[ell] * e, np.sqrt(bb)[ell] * b]
    )
