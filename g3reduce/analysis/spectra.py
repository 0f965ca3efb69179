"""Power spectra of noise: of HEALPix maps by healpy, of flat-sky maps by FFT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from spt3g import maps

from ..errors import InputError
from ..g3files.lines import Values
from ..maps.pixels import is_flat
from ..maps.stokes import StokesMaps
from .masks import taper

NAMES = ("TT", "EE", "BB", "TE")

_BINS = 20  # as many, if the width of a bin is not given

# Of `healpy.anafast`. Without any, white noise comes out to some 1e-5 up to twice nside, and to
# 1e-2 at three times nside, far below the scatter of realisations. Each takes two transforms more,
# and beyond twice nside they do not converge.
_ITERATIONS = 0


@dataclass(frozen=True)
class NoiseSpectra:
    """Power spectra of realisations, averaged in bins of ell.

    Attributes
    ----------
    edges : float64 array, shape (bins, 2)
        Where each bin of ell begins, and where it ends.
    ell : float64 array, shape (bins,)
        The mean ell of the modes in each.
    power : dict of str to float64 array, shape (realisations, bins)
        C_ell of ``TT``, ``EE``, ``BB`` and ``TE``, or of ``TT`` alone, in uK^2, or in the square of
        the unit that `Noise.unit` says.
    """

    edges: Values
    ell: Values
    power: dict[str, Values]

    @property
    def mean(self) -> dict[str, Values]:
        """The mean of realisations, shape (bins,)."""
        return {name: power.mean(axis=0) for name, power in self.power.items()}

    @property
    def scatter(self) -> dict[str, Values]:
        """The standard deviation of a realisation, shape (bins,); NaN for less than two."""
        return {
            name: power.std(axis=0, ddof=1) if len(power) > 1 else np.full(power.shape[1], np.nan)
            for name, power in self.power.items()
        }


class SpectrumMaker:
    """Makes power spectra of maps that have the pixels and weights of a first one.

    The mask of T is the inverse of the variance that its weights say, relative to the largest,
    times a cosine of a given width at the edge of the footprint; that of Q and U is the same with
    the mean of both variances. The power of the masked map is divided by the mean of the square of
    the mask (Hivon et al. 2002, ApJ 567, 2, section 3: the factor f_sky w_2): this is exact for
    white noise. There is no correction for the mixing of modes by the mask, nor for pixels or beam.
    HEALPix maps are transformed once, without iterations (``iter=0``).

    Parameters
    ----------
    first : StokesMaps
    variances : float64 array, shape (maps, pixels)
        The diagonals of the inverses of its weights.
    width : float
        Of the cosine, in radian.
    lmax : int or None
        Default: twice nside, or where the shorter side of a pixel has half a wave.
    delta_ell : float or None
        The width of bins. Default: a twentieth of `lmax`, or one mode of a small flat map.

    Raises
    ------
    InputError
        If a polarized map has no polarization convention.
    """

    def __init__(
        self,
        first: StokesMaps,
        variances: Values,
        width: float,
        lmax: int | None = None,
        delta_ell: float | None = None,
    ):
        stub, numbers = first.geometry, first.pixel_numbers
        if len(first.names) > 1 and first.stubs["U"].pol_conv not in _SIGNS:
            raise InputError(
                f"{first.where}: the polarization convention of U is not set, so that E and B are "
                "not known; set pol_conv of the maps, or do without spectra (spectra=False)."
            )
        edge = taper(stub, numbers, width)
        levels = [1 / variances[0]]
        if len(first.names) > 1:
            levels += [2 / variances[1:].sum(axis=0)] * 2
        self._masks = np.stack([edge * level / level.max() for level in levels])
        make: type[_Sphere] | type[_Plane] = _Plane if is_flat(stub) else _Sphere
        self._transform = make(first, self._masks, lmax)
        self._edges = _edges(self._transform.lmax, delta_ell or self._transform.delta_ell)
        self._bins = np.digitize(self._transform.ell, self._edges) - 1
        self._found: list[dict[str, Values]] = []

    @property
    def masks(self) -> Values:
        """The masks of T, Q and U, float64, shape (maps, pixels)."""
        return self._masks

    def add(self, found: StokesMaps) -> None:
        """Take a realisation."""
        power = self._transform.power(found, found.values * self._masks)
        self._found.append({name: self._binned(one) for name, one in power.items()})

    def result(self, unit: float) -> NoiseSpectra:
        """The spectra of all, in the square of a unit."""
        ell = self._binned(self._transform.ell)
        held = np.isfinite(ell)
        names = [name for name in NAMES if name in self._found[0]]
        power = {name: np.array([one[name][held] for one in self._found]) for name in names}
        edges = np.stack([self._edges[:-1], self._edges[1:]], axis=1)[held]
        return NoiseSpectra(edges, ell[held], {name: one / unit**2 for name, one in power.items()})

    def _binned(self, values: NDArray[Any]) -> Values:
        """Means over the modes of each bin, NaN where there are none."""
        n_bins, weights = len(self._edges) - 1, self._transform.n_modes
        used = (self._bins >= 0) & (self._bins < n_bins)
        sums, total = (
            np.bincount(self._bins[used], part[used], n_bins)
            for part in (values * weights, weights)
        )
        with np.errstate(invalid="ignore"):
            means: Values = sums / total
        return means


# Of U in the convention of healpy, which is COSMO.
_SIGNS = {maps.MapPolConv.COSMO: 1.0, maps.MapPolConv.IAU: -1.0}


def _edges(lmax: float, delta_ell: float) -> Values:
    n_bins = max(int((lmax - 2) / delta_ell), 1)
    edges: Values = 2 + delta_ell * np.arange(n_bins + 1.0)
    return edges


class _Sphere:
    """NoiseSpectra of HEALPix maps by ``healpy.anafast``."""

    def __init__(self, first: StokesMaps, masks: Values, lmax: int | None):
        self._nside, self._nested = first.geometry.nside, first.geometry.nested
        self._pixels = first.pixel_numbers
        self.lmax = 2 * self._nside if lmax is None else lmax
        self.delta_ell = max(self.lmax // _BINS, 1)
        self.ell = np.arange(self.lmax + 1.0)
        self.n_modes = 2 * self.ell + 1
        self._means = _products(masks, lambda a, b: float((a * b).sum()) / (12 * self._nside**2))
        if self._nested:
            import healpy

            self._pixels = healpy.nest2ring(self._nside, self._pixels)

    def power(self, found: StokesMaps, masked: Values) -> dict[str, Values]:
        """The spectra of a masked map."""
        import healpy

        whole = np.zeros((len(masked), 12 * self._nside**2))
        whole[:, self._pixels] = masked
        if len(whole) == 1:
            return {
                "TT": healpy.anafast(whole[0], lmax=self.lmax, iter=_ITERATIONS) / self._means["TT"]
            }
        whole[2] *= _SIGNS[found.stubs["U"].pol_conv]
        power = healpy.anafast(whole, lmax=self.lmax, iter=_ITERATIONS, pol=True)
        return {
            name: one / self._means[name]
            for name, one in zip(("TT", "EE", "BB", "TE"), power[:4], strict=True)
        }


class _Plane:
    """NoiseSpectra of flat-sky maps by FFT, of the box around their footprint.

    Columns go West and rows go North. Of a wave with the angle phi from North to East,
    E = Q cos 2 phi + U sin 2 phi and B = U cos 2 phi - Q sin 2 phi, with Q and U in the IAU
    convention, from the columns of the map (``flat_pol``).
    """

    def __init__(self, first: StokesMaps, masks: Values, lmax: int | None):
        stub = first.geometry
        y, x = np.divmod(first.pixel_numbers, stub.shape[1])
        self._places = y - y.min(), x - x.min()
        self._shape = int(np.ptp(y)) + 1, int(np.ptp(x)) + 1
        self._res = stub.y_res, stub.x_res
        waves = [
            2 * np.pi * np.fft.fftfreq(n, r) for n, r in zip(self._shape, self._res, strict=True)
        ]
        ell_y, ell_x = np.meshgrid(*waves, indexing="ij")
        self.ell = np.hypot(ell_y, ell_x)
        self.n_modes = np.ones(self._shape)
        self._phi = np.arctan2(-ell_x, ell_y)
        nyquist = np.pi / max(self._res)
        self.lmax = nyquist if lmax is None else min(lmax, nyquist)
        one_mode = 2 * np.pi / min(n * r for n, r in zip(self._shape, self._res, strict=True))
        self.delta_ell = max(self.lmax / _BINS, one_mode)
        # What |FFT|^2 is divided by: pixels times the mean square of the mask, over their area.
        area = self._res[0] * self._res[1]
        self._means = _products(masks, lambda a, b: float((a * b).sum()) / area)

    def power(self, found: StokesMaps, masked: Values) -> dict[str, Values]:
        """The spectra of a masked map, of each mode."""
        waves = {"T": self._transformed(masked[0])}
        if len(masked) > 1:
            q, u = (self._transformed(one) for one in self._flat_pol(found, masked[1:]))
            cos, sin = np.cos(2 * self._phi), np.sin(2 * self._phi)
            waves |= {"E": q * cos + u * sin, "B": u * cos - q * sin}
        return {
            name: (waves[name[0]] * waves[name[1]].conj()).real / self._means[name]
            for name in self._means
        }

    def _transformed(self, values: Values) -> NDArray[np.complex128]:
        box = np.zeros(self._shape)
        box[self._places] = values
        waves: NDArray[np.complex128] = np.fft.fft2(box)
        return waves

    def _flat_pol(self, found: StokesMaps, masked: Values) -> Values:
        """Q and U that count from the columns of the map, in the IAU convention."""
        if not found.stubs["Q"].flat_pol:
            made = found.maps_with(dict(zip("QU", masked, strict=True)), found.stubs)
            q, u = (one.clone(True) for one in made.values())
            maps.flatten_pol(q, u)
            masked = np.stack([np.array(one).ravel()[found.pixel_numbers] for one in (q, u)])
        masked = masked.copy()
        masked[1] *= -_SIGNS[found.stubs["U"].pol_conv]
        return masked


def _products(masks: Values, mean: Callable[[Values, Values], float]) -> dict[str, float]:
    """For each spectrum the mean of the product of both masks."""
    found = {"TT": mean(masks[0], masks[0])}
    if len(masks) > 1:
        found["EE"] = found["BB"] = mean(masks[1], masks[1])
        found["TE"] = mean(masks[0], masks[1])
    return found
