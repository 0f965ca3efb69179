"""Quick-look power spectra of maps, with the level of their noise."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from spt3g import core, maps

from ..analysis.chisquare import diagonal_of
from ..analysis.noise import ARCMIN, noise
from ..analysis.sources import Given, Headers, Realisation, Source, frames_of
from ..analysis.spectra import NoiseSpectra, SpectrumMaker
from ..errors import InputError, UsageError
from ..g3files.lines import Values
from ..maps import matrices
from ..maps.agreement import weights_key
from ..maps.mapframe import maps_of
from ..maps.solidangles import solid_angles
from ..maps.stokes import StokesMaps, stokes_maps
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from .graticule import NAMES_PT, NUMBERS_PT
from .panels import COLOURS, unit_of
from .patch import STOKES
from .plot import require_matplotlib
from .sources import chosen_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COMPONENTS = ("TT", "TQ", "TU", "QQ", "QU", "UU")
_APODIZE = 60.0  # arcmin
_LEAST_PIXELS = 16  # of fewer, a spectrum tells nothing, but may take a minute
_LARGEST = 1e100


@useful
def plot_spectra(
    source: Source,
    path: str | os.PathLike[str] | None = None,
    *,
    signflips: Source | None = None,
    band: str | None = None,
    apodize: float = _APODIZE,
    title: str | None = None,
    dpi: float = 150,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> Figure:
    """Draw power spectra of a map, as D_ell = ell (ell + 1) C_ell / 2 pi, and its noise.

    A quick look: masked by its weights, as those of `g3reduce.noise` are, without corrections for
    the mixing of modes, pixels or beam. The level of the noise is that of the weights, as if noise
    were white; and, where there are sign flips, their mean and scatter. Pixels of a map without
    weights count alike where T is neither 0 nor NaN, and nothing is said of its noise.

    Parameters
    ----------
    source : name, path, G3Frame, Coadds, or list of these
        One map; with its weights, if the level of the noise is to be drawn.
    signflips : source, optional
        Sign flips of it. Default: those of the same coadd that are in `source`, if there are any.
    apodize : float
        The width of the cosine at the edge of the mask, in arcmin; 0 for none.
    path, band, title, dpi, pol_conv, coord, units
        As in `plot_maps`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UsageError
        If there are several maps.
    InputError, MismatchError, OutputError
        If a weighted map has no weights, sign flips do not belong to it, or the picture cannot be
        written.

    Examples
    --------
    >>> plot_spectra("coadd.g3", "spectrum.png", band="150GHz")  # doctest: +SKIP
    """
    figures = require_matplotlib()
    if path is not None:
        figures.check_picture(path)
    headers = Headers(pol_conv, coord, units)
    given = chosen_maps(source, band, headers)
    _require_one(given)
    with_weights = weights_key(dict.fromkeys(maps_of(given[0].frame, given[0].where))) is not None
    frame = given[0].frame if with_weights else _with_unit_weights(given[0])
    sky = stokes_maps(frame, given[0].where, pol_conv=pol_conv)
    factor, unit, _ = unit_of(sky.geometry, weighted=False)
    _require_enough(sky)
    variances = diagonal_of(matrices.inverse(sky.weights))
    maker = SpectrumMaker(sky, variances, apodize * ARCMIN)
    maker.add(sky)
    found = maker.result(factor)
    levels = white_levels(sky, variances, maker, factor) if with_weights else {}
    flips = _flips(source, signflips, given[0].frame_id, apodize, headers)
    names = [name for name in ("TT", "EE", "BB") if name in found.power]
    figure = figures.new_figure(4.2 * len(names) + 0.6, 4.2)
    shown = figures.plain(f"{given[0].frame_id or 'Map'}   (power spectra)")
    figure.suptitle(title or shown, fontsize=14)
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        ell = found.ell
        scale = ell * (ell + 1) / (2 * np.pi)
        ax.plot(ell, found.mean[name] * scale, "o-", ms=4, color=COLOURS[0], label="map")
        if name in levels:
            ax.plot(ell, levels[name] * scale, color="k", lw=1.5, ls="--", label="noise by weights")
        if flips is not None and name in flips.power:
            at = flips.ell * (flips.ell + 1) / (2 * np.pi)
            mean, scatter = flips.mean[name] * at, flips.scatter[name] * at
            label = f"{len(flips.power[name])} sign flips"
            ax.errorbar(flips.ell, mean, scatter, fmt="s", ms=4, color=COLOURS[1], label=label)
        ax.set_yscale("log")
        ax.set_xlabel(r"$\ell$", fontsize=NAMES_PT)
        ax.tick_params(labelsize=NUMBERS_PT)
        ax.set_label(name)
        ax.set_title(name, loc="left", fontsize=12, fontweight="bold")
        ax.legend(fontsize=NUMBERS_PT)
    squared = f"({unit})$^2$" if unit else ""
    figure.axes[0].set_ylabel(rf"$\ell(\ell+1)C_\ell/2\pi$   {squared}", fontsize=NAMES_PT)
    if path is not None:
        figures.write_picture(figure, path, dpi)
    drawn: Figure = figure
    return drawn


def _require_one(given: list[Given]) -> None:
    if len(given) == 1:
        return
    ids = [one.frame_id for one in given]
    if len(set(ids)) == 1:
        each = ", ".join(one.where for one in given)
        raise UsageError(
            f"There are {len(given)} maps of the same Id ({each}). Spectra are of one map: give a "
            "file that has no other, or, in Python, its frame to plot_spectra."
        )
    listed = ", ".join(map(repr, ids))
    raise UsageError(f"There are {len(given)} maps ({listed}); choose one with band=.")


def _require_enough(sky: StokesMaps) -> None:
    """Refuse what has no spectrum: too few pixels, or values whose squares are no numbers."""
    n_pixels = sky.values.shape[1]
    if n_pixels < _LEAST_PIXELS:
        few = f"only {n_pixels} pixels were" if n_pixels > 1 else "only one pixel was"
        raise UsageError(
            f"{sky.where}: {few if n_pixels else 'no pixel was'} observed; power spectra are drawn "
            f"of {_LEAST_PIXELS} or more."
        )
    for what, values in (("values", sky.values), ("weights", sky.weights[0])):
        most = float(np.abs(values).max())
        if most and not 1 / _LARGEST < most < _LARGEST:
            raise UsageError(
                f"{sky.where}: {what} up to {most:.3g} have no power spectrum, whose squares must "
                f"be numbers; expected {1 / _LARGEST:g} to {_LARGEST:g}."
            )


def _with_unit_weights(given: Given) -> Frame:
    """A frame with the maps of another, and weights of 1 where T was observed.

    Raises
    ------
    InputError
        If there is no T, or maps are weighted.
    """
    planes = maps_of(given.frame, given.where)
    names = [name for name in STOKES if name in planes]
    if names not in (["T"], list(STOKES)):
        raise InputError(
            f"{given.where}: expected T, or T, Q and U; there is {', '.join(planes) or 'no map'}."
        )
    if any(planes[name].weighted for name in names):
        raise InputError(
            f"{given.where} has weighted maps, but no weights to divide them by; expected weights, "
            "or unweighted maps."
        )
    ones = maps.G3SkyMapMask(planes["T"], use_data=True, zero_nans=True, zero_infs=True).to_map()
    ones.pol_conv = planes["T"].pol_conv
    weights = maps.G3SkyMapWeights()
    frame = core.G3Frame(core.G3FrameType.Map)
    for name in _COMPONENTS if len(names) > 1 else ("TT",):
        setattr(weights, name, ones.clone(name[0] == name[1]))
    for name in names:
        frame[name] = planes[name]
    frame["Wpol" if len(names) > 1 else "Wunpol"] = weights
    return frame


def white_levels(
    sky: StokesMaps, variances: Values, maker: SpectrumMaker, factor: float
) -> dict[str, float]:
    """C_ell of white noise of these variances, by spectrum: <m^2 A v> / <m^2> of the mask m."""
    areas = solid_angles(sky.geometry, sky.pixel_numbers)
    squares = maker.masks**2
    levels = (squares * areas * variances).sum(axis=1) / squares.sum(axis=1) / factor**2
    found = {"TT": float(levels[0])}
    if len(levels) > 1:
        found["EE"] = found["BB"] = float(levels[1:].mean())
    return found


def _flips(
    source: Source, signflips: Source | None, frame_id: str, apodize: float, headers: Headers
) -> NoiseSpectra | None:
    """The spectra of sign flips of a map, if there are any."""
    arguments = {"apodize": apodize, **headers._asdict()}
    if signflips is not None:
        found = noise(signflips, **arguments)
        if len(found) == 1:
            return next(iter(found.values())).spectra
        if frame_id not in found:
            raise UsageError(
                f"There are sign flips of {', '.join(map(repr, found))}; none of {frame_id!r}."
            )
        return found[frame_id].spectra
    mine = [
        one.frame
        for one in frames_of(source, headers)
        if (flip := Realisation.of(one)) is not None and flip.base == frame_id
    ]
    return noise(mine, **arguments)[frame_id].spectra if mine else None
