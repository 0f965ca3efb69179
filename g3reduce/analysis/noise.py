"""The noise of coadds, from their sign-flip realisations."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from spt3g import core

from ..errors import InputError, MismatchError, UsageError
from ..g3files.lines import Index, Values
from ..maps import matrices
from ..maps.agreement import require_agreement
from ..maps.attributes import with_attributes
from ..maps.matrices import MAX_CONDITION
from ..maps.solidangles import solid_angles
from ..maps.stokes import StokesMaps, stokes_maps
from ..pipeline.ledgerframe import ledger_in
from ..spt3gmarks import useful
from ..spt3gtypes import Frame, SkyMap
from .chisquare import diagonal_of
from .depths import NoiseDepth, depth_of
from .differencing import CONCLUSION
from .independence import effective_number, signs_and_weights
from .realisations import NoiseMap, noise_maps_in
from .sources import Headers, Source, described, refuse_same_file
from .spectra import NoiseSpectra, SpectrumMaker
from .tables import aligned, short, wrapped

ARCMIN = np.pi / 180 / 60

# Weights of realisations, which are sums in another order, are equal to so much of the largest.
_SAME = 1e-6

# Noise of so many times what weights say is doubtful.
_MUCH_LARGER = 2.0


@dataclass(frozen=True, repr=False)
class Noise:
    """The noise of a coadd.

    Attributes
    ----------
    frame_id : str
        The Id of the coadd.
    n_realisations : int
    n_effective : float
        How many independent realisations give variances of the same spread, by the signs in the
        ledgers; without these `n_realisations`.
    pixels : int64 array, shape (pixels,)
        The pixels that have weights, as the map itself numbers them.
    variances : dict of str to float64 array, shape (pixels,)
        Of ``T``, ``Q`` and ``U``, or of ``T`` alone, in the square of `unit`.
    depths : dict of str to NoiseDepth
        By the same names.
    area : float
        Of all these pixels, in square degrees.
    unit : str
        ``"uK"`` for maps of temperatures, else ``"units of the map"``.
    spectra : NoiseSpectra or None
    frame : G3Frame
        The variances as maps ``VarT``, ``VarQ`` and ``VarU``, in the square of the map's own unit,
        that is, in `core.G3Units`; with a record ``Noise``.
    """

    frame_id: str
    n_realisations: int
    n_effective: float
    pixels: Index
    variances: dict[str, Values]
    depths: dict[str, NoiseDepth]
    area: float
    unit: str
    spectra: NoiseSpectra | None
    frame: Frame

    def lines(self) -> list[str]:
        """What it was found from, and depths and spectra as tables."""
        lines = wrapped(
            f"{self.frame_id or 'without an Id'}: {self.n_realisations} sign flips (worth "
            f"{self.n_effective:.1f} independent ones), {len(self.pixels):,} pixels, "
            f"{short(self.area, 4)} deg2",
            others="  ",
        )
        heads = ["", "median", "weighted", "median*", "weighted*", "ratio"]
        rows = [
            [name, *(f"{number:.4g}" for number in one), f"{one.ratio:.4f}"]
            for name, one in self.depths.items()
        ]
        lines += [f"depth in {self.unit} arcmin (* by the weights)", *aligned(heads, rows)]
        if max(one.ratio for one in self.depths.values()) > _MUCH_LARGER:
            lines += wrapped(
                "The noise is much larger than the weights say. Either they are not calibrated, or "
                "sky is left, which does not cancel between observations that weigh pixels "
                "differently."
            )
        if self.spectra is None:
            return lines
        mean, scatter = self.spectra.mean, self.spectra.scatter
        heads = ["ell", *(head for name in mean for head in (name, "scatter"))]
        scale = _scale_of(mean)
        rows = []
        for place, (low, high) in enumerate(self.spectra.edges):
            numbers = [one[name][place] for name in mean for one in (mean, scatter)]
            cells = (short(float(number) / 10.0**scale) for number in numbers)
            rows.append([f"{low:.0f}-{high:.0f}", *cells])
        times = f"10^{scale} " if scale else ""
        return [*lines, f"C_ell in {times}({self.unit})^2", *aligned(heads, rows)]

    def as_data(self) -> dict[str, Any]:
        """Depths and spectra as numbers, texts and lists."""
        data: dict[str, Any] = {
            "realisations": self.n_realisations,
            "effective": self.n_effective,
            "pixels": len(self.pixels),
            "square_degrees": self.area,
            "unit": self.unit,
            "depth": {
                name: {**one._asdict(), "ratio": one.ratio} for name, one in self.depths.items()
            },
        }
        if self.spectra is not None:
            data["ell_edges"] = self.spectra.edges.tolist()
            data["ell"] = self.spectra.ell.tolist()
            data["C_ell"] = {name: one.tolist() for name, one in self.spectra.power.items()}
        return data

    def arrays(self) -> dict[str, Any]:
        """Pixels, variances and spectra as arrays, by names that an .npz file has."""
        found: dict[str, Any] = {"pixels": self.pixels}
        found |= {f"var_{name}": one for name, one in self.variances.items()}
        if self.spectra is not None:
            found |= {"ell_edges": self.spectra.edges, "ell": self.spectra.ell}
            found |= {f"C_{name}": one for name, one in self.spectra.power.items()}
        return found


@useful
def noise(
    signflips: Source,
    output_file: str | os.PathLike[str] | None = None,
    *,
    spectra: bool = True,
    apodize: float = 60.0,
    lmax: int | None = None,
    delta_ell: float | None = None,
    max_condition: float = MAX_CONDITION,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> dict[str, Noise]:
    """Variance, depth and power spectra of the noise of coadds, from sign flips.

    Parameters
    ----------
    signflips : name, path, G3Frame, Coadds, or list of these
        Realisations, told by the record ``Split`` or the Id (``150GHz_signflip000``), of one coadd
        or of several; other maps beside them do not count. If none is told, all maps are taken as
        realisations of one.
    output_file : name or path, optional
        ``.g3``: the variances as maps; ``.npz`` or ``.json``: depths and spectra.
    spectra : bool
        Whether spectra are wanted, which take most of the time.
    apodize : float
        The width of the cosine at the edge of the footprint, in arcmin; 0 for none.
    lmax : int, optional
        The largest ell. Default: twice nside; for flat-sky maps the Nyquist frequency.
    delta_ell : float, optional
        The width of bins of ell. Default: a twentieth of `lmax`.
    max_condition, pol_conv, coord, units
        As in `g3reduce.difference`.

    Returns
    -------
    dict of str to Noise
        By the Ids of the coadds of which they are realisations.

    Raises
    ------
    MismatchError
        If realisations of a coadd differ in weights or geometry.
    InputError, UsageError, OutputError
        If a file cannot be read, maps have no weights, there is no realisation, or the output
        cannot be written.

    Notes
    -----
    A realisation is unweighted: n = W^-1 (W n). Its mean is known to be 0, so that the variance of
    a pixel is the sum of n^2 over N realisations, divided by N (not N - 1). Realisations of few
    observations are not independent, however many there are: `Noise.n_effective`. Sign flips hold
    no sky only as far as it cancels between their signs: where the weights of observations differ
    from pixel to pixel, the sky times sum(s_i w_i) / sum(w_i) is left, and counts as noise.

    Depths are the roots of variance times the area of the pixel, of which HEALPix pixels have the
    same, and flat-sky ones that of their projection. Beside them stands what the weights say, from
    the diagonal of W^-1. Weights are in 1/(units of the map)^2; a ratio that is not 1 tells that
    they are known up to a factor only, or that noise does not integrate down as they say.

    Power spectra are those of the masked maps, by ``healpy.anafast(iter=0)`` (exact to some 1e-5 up
    to twice nside, and to 1e-2 at three times) or FFT, divided by the mean
    square of the mask. The mask of T is 1/(W^-1)_TT, relative to its largest value, that of Q and U
    2/((W^-1)_QQ + (W^-1)_UU); both fall to 0 at the edge of the footprint as a cosine. White noise
    of variance v and pixels of area A has C_ell = A v.

    It works in one process: in a job of several ranks, call it on one.

    Examples
    --------
    >>> found = noise("flips.g3", "variance.g3")["150GHz"]  # doctest: +SKIP
    >>> found.depths["T"].weighted  # uK arcmin  # doctest: +SKIP
    >>> found.spectra.mean["BB"]  # uK^2  # doctest: +SKIP
    """
    from .noisefiles import check_name, write

    _check(apodize, lmax, delta_ell)
    if output_file is not None:
        check_name(output_file)
        refuse_same_file(output_file, signflips)
    headers = Headers(pol_conv, coord, units)
    makers: dict[str, _NoiseMaker] = {}
    for one in noise_maps_in(signflips, headers):
        maps = stokes_maps(
            one.given.frame, one.given.where, pol_conv=pol_conv, max_condition=max_condition
        )
        if one.base not in makers:
            maker = _NoiseMaker(maps)
            if spectra:
                maker.make_spectra(apodize * ARCMIN, lmax, delta_ell)
            makers[one.base] = maker
        makers[one.base].add(one, maps)
    if not makers:
        raise InputError(
            f"There is no map in {described(signflips)}, so there are no sign flips to learn the "
            "noise from."
        )
    found = {base: maker.result(base) for base, maker in makers.items()}
    if output_file is not None:
        write(output_file, found)
    return found


def _scale_of(mean: Mapping[str, Values]) -> int:
    """The power of ten, by thousands, in which the faintest of power spectra has short numbers."""
    levels = [float(np.median(one)) for name, one in mean.items() if name != "TE" and len(one)]
    smallest = min((level for level in levels if level > 0), default=1.0)
    return 3 * math.floor(math.log10(smallest) / 3)


def _check(apodize: float, lmax: int | None, delta_ell: float | None) -> None:
    if not apodize >= 0:
        raise UsageError(f"apodize is {apodize!r}; expected a width in arcmin, or 0 for none.")
    if lmax is not None and not lmax > 2:
        raise UsageError(f"lmax is {lmax!r}; expected a number larger than 2.")
    if delta_ell is not None and not delta_ell > 0:
        raise UsageError(f"delta_ell is {delta_ell!r}; expected a positive width of bins.")


class _NoiseMaker:
    """Collects the realisations of a coadd."""

    def __init__(self, first: StokesMaps):
        self._first = first
        self._expected = diagonal_of(matrices.inverse(first.weights))
        self._squares = np.zeros_like(first.values)
        self._number = 0
        self._signs: list[tuple[Values, Values] | None] = []
        self._spectra: SpectrumMaker | None = None

    def make_spectra(self, width: float, lmax: int | None, delta_ell: float | None) -> None:
        """Make spectra, too, of all that are added."""
        self._spectra = SpectrumMaker(self._first, self._expected, width, lmax, delta_ell)

    def add(self, noise: NoiseMap, maps: StokesMaps) -> None:
        """Count a realisation.

        Raises
        ------
        MismatchError
        """
        first = self._first
        require_agreement(maps.stubs, first.stubs, maps.where, first.where, CONCLUSION)
        if not np.array_equal(maps.pixels, first.pixels) or not np.allclose(
            *(maps.weights, first.weights),
            rtol=0,
            atol=_SAME * np.abs(first.weights).max(initial=0),
        ):
            raise MismatchError(
                f"{noise.given.where} has other weights than {first.where}; expected sign flips of "
                "the same observations, which have the same."
            )
        self._squares += maps.values**2
        self._number += 1
        self._signs.append(signs_and_weights(ledger_in(noise.given.frame, noise.given.where)))
        if self._spectra is not None:
            self._spectra.add(maps)

    def result(self, frame_id: str) -> Noise:
        """What was found."""
        first, number, effective = self._first, self._number, self._effective_number()
        unit, name = _unit_of(first.geometry)
        variances = self._squares / number
        areas = solid_angles(first.geometry, first.pixel_numbers)
        to_arcmin = areas / ARCMIN**2 / unit**2
        return Noise(
            frame_id,
            number,
            effective,
            first.pixel_numbers,
            dict(zip(first.names, variances / unit**2, strict=True)),
            {
                key: depth_of(variance * to_arcmin, expected * to_arcmin, effective)
                for key, variance, expected in zip(
                    *(first.names, variances, self._expected), strict=True
                )
            },
            float(areas.sum() * (180 / np.pi) ** 2),
            name,
            self._spectra.result(unit) if self._spectra is not None else None,
            self._frame(frame_id, variances),
        )

    def _effective_number(self) -> float:
        known = [one for one in self._signs if one is not None]
        if len(known) < self._number or len({len(signs) for signs, _ in known}) != 1:
            return float(self._number)
        return effective_number([signs for signs, _ in known], known[0][1])

    def _frame(self, frame_id: str, variances: Values) -> Frame:
        first = self._first
        plain = {"weighted": False, "units": core.G3TimestreamUnits.names["None"]}
        stubs = {f"Var{key}": with_attributes(first.stubs[key], **plain) for key in first.names}
        frame = core.G3Frame(core.G3FrameType.Map)
        frame["Id"] = frame_id
        planes = dict(zip(stubs, variances, strict=True))
        for key, skymap in first.maps_with(planes, stubs).items():
            frame[key] = skymap
        record = {
            "what": "VarT, VarQ, VarU: variance of the unweighted noise in each pixel, in the "
            f"square of the unit of the map ({first.geometry.units})",
            "realisations": str(self._number),
        }
        frame["Noise"] = core.G3MapString(record)
        return frame


def _unit_of(stub: SkyMap) -> tuple[float, str]:
    """The unit in which results are given, and its name."""
    if stub.units in (core.G3TimestreamUnits.Tcmb, core.G3TimestreamUnits.Trj):
        return core.G3Units.uK, "uK"
    return 1.0, "units of the map"
