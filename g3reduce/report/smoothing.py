"""Planes smoothed by a Gaussian, on the pixels of a view or on the sphere."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .views import FloatArray, View

_FWHM = np.sqrt(8 * np.log(2))
_LEAST = 2.0  # at the last multipole, a Gaussian of this width has fallen to a seventh


def smoothed(
    planes: Mapping[str, FloatArray], view: View, fwhm: float, *, are_sums: bool
) -> dict[str, FloatArray]:
    """Planes smoothed by a Gaussian; unobserved pixels stay unobserved.

    On views of the whole sky the width is right near the centre only: see `on_sphere`.

    Parameters
    ----------
    planes : dict of str to float64 array, shape of the view
    view : View
    fwhm : float
        In arcmin.
    are_sums : bool
        Whether they are weighted maps and weights, which are divided afterwards; else each becomes
        an average of the pixels that are finite and not 0 in any plane.
    """
    from scipy.ndimage import gaussian_filter

    sigma = _sigma(fwhm) / view.res
    sigmas = (sigma, sigma * view.aspect)
    seen: NDArray[np.bool_] = np.zeros(view.shape, bool)
    for plane in planes.values():
        seen |= np.isfinite(plane) & (plane != 0)
    level = gaussian_filter(seen.astype(float), sigmas, mode="constant")
    found = {}
    for name, plane in planes.items():
        values = gaussian_filter(np.where(np.isfinite(plane), plane, 0), sigmas, mode="constant")
        if not are_sums:
            values = values / np.maximum(level, 1e-12)
        found[name] = np.where(seen, values, np.nan if np.isnan(plane).any() else 0)
    return found


def can_on_sphere(fwhm: float, nside: int) -> bool:
    """Whether pixels are so much smaller than the Gaussian that harmonics do not ring."""
    return bool(_sigma(fwhm) * 3 * nside > _LEAST)


def on_sphere(
    planes: Mapping[str, FloatArray], fwhm: float, *, nested: bool, are_sums: bool
) -> dict[str, FloatArray]:
    """HEALPix planes smoothed by their harmonics; as `smoothed`.

    Q and U are smoothed as numbers relative to the meridians, which is right but near the poles.

    Parameters
    ----------
    planes : dict of str to float64 array, shape (12 nside^2,)
    fwhm : float
        In arcmin.
    nested : bool
        How pixels are numbered.
    are_sums : bool
        As in `smoothed`.
    """
    import healpy

    sigma = _sigma(fwhm)
    size = len(next(iter(planes.values())))
    nside = healpy.npix2nside(size)
    lmax = min(3 * nside - 1, int(6 / sigma) + 2)  # beyond, nothing is left of a Gaussian
    seen: NDArray[np.bool_] = np.zeros(size, bool)
    for plane in planes.values():
        seen |= np.isfinite(plane) & (plane != 0)

    def smooth(values: FloatArray) -> FloatArray:
        ring = healpy.reorder(values, n2r=True) if nested else values
        made = healpy.smoothing(ring, sigma=sigma, lmax=lmax, iter=1)
        return np.asarray(healpy.reorder(made, r2n=True) if nested else made)

    level = np.maximum(smooth(seen.astype(float)), 1e-6)
    found = {}
    for name, plane in planes.items():
        values = smooth(np.where(np.isfinite(plane), plane, 0))
        values = values if are_sums else values / level
        found[name] = np.where(seen, values, np.nan if np.isnan(plane).any() else 0)
    return found


def _sigma(fwhm: float) -> float:
    return float(np.radians(fwhm / 60) / _FWHM)
