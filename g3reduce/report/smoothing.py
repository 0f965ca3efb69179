"""Planes smoothed by a Gaussian, on the pixels of a view."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .views import FloatArray, View

_FWHM = np.sqrt(8 * np.log(2))


def smoothed(
    planes: Mapping[str, FloatArray], view: View, fwhm: float, *, are_sums: bool
) -> dict[str, FloatArray]:
    """Planes smoothed by a Gaussian; unobserved pixels stay unobserved.

    On views of the whole sky the width is right near the centre only.

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

    sigma = np.radians(fwhm / 60) / _FWHM / view.res
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
