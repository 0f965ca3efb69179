"""Pictures of maps: Stokes parameters, weights and hits, on axes of sky coordinates."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spt3g import core, maps

from ..analysis.sources import Headers, Source, described
from ..errors import UsageError
from ..spt3gmarks import useful
from ..spt3gtypes import Frame
from .panels import panels_of
from .patch import STOKES, observed_patch
from .sources import chosen_maps, differences, labels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_maps"]


@useful
def plot_maps(
    source: Source,
    path: str | os.PathLike[str] | None = None,
    *,
    planes: Sequence[str] | None = None,
    band: str | None = None,
    difference: Source | None = None,
    weighted: bool = False,
    smooth: float | None = None,
    vmax: float | Mapping[str, float] | None = None,
    projection: str | None = None,
    cmap: str | None = None,
    title: str | None = None,
    dpi: float = 150,
    pol_conv: str | None = None,
    coord: str | None = None,
    units: str | None = None,
) -> Figure:
    """Draw maps, in the projection that suits their footprint.

    Weights are removed in copies of the observed patch, so that frames stay as they are, and
    nothing of the size of the full sky is made for a patch. Pixels are not interpolated. Maps
    larger than a page are averaged down to it.

    Parameters
    ----------
    source : name, path, G3Frame, Coadds, or list of these
        Files of any format, Map frames, or coadds: up to eight maps, one row for each. Sign flips
        count only if `band` is their whole Id.
    path : name or path, optional
        Where the picture is written: ``.png``, ``.pdf`` or ``.svg``.
    planes : list of str, optional
        Of ``"T"``, ``"Q"``, ``"U"``, ``"weights"`` (that is, TT), ``"hits"``, or components of
        the weights (``"TQ"``). Default: T, Q and U, and the weights, or else the hits.
    band : str, optional
        Draw the maps of this band: ``"150GHz"`` or ``"150"`` is any Id that has it as a part
        between underscores.
    difference : source, optional
        Draw half the difference of both, (source - difference) / 2, of unweighted maps; see
        `g3reduce.difference`. Maps without weights are subtracted as they are.
    weighted : bool
        Draw weighted maps as they are, that is, multiplied by their weights.
    smooth : float, optional
        Full width at half maximum, in arcmin, of a Gaussian by which the picture is smoothed: maps
        and weights as sums, so that each pixel becomes an average with the weights.
    vmax : float or dict of str to float, optional
        Where colours end, in the unit that is shown: one number for T, Q and U, or one by plane.
        Those of T, Q and U begin at its negative, the others at 0.
    projection : {"gnomonic", "zenithal", "mollweide"}, optional
        Of HEALPix maps. Default: gnomonic up to 10 degrees from the middle of the footprint,
        zenithal equal-area up to a hemisphere, else Mollweide. Flat-sky maps keep their own.
    cmap : str, optional
        The colours of T, Q and U, by a name of matplotlib's. Default: ``"RdBu_r"``, of which both
        ends are dark in grey; ``"gray"`` keeps the sign where there are no colours.
    title : str, optional
        Default: the Id and the pixelization, or the names of the files.
    dpi : float
        Pixels per inch of the file.
    pol_conv, coord, units : str, optional
        Those of FITS files that do not say it; see `g3reduce.formats.map_frames_in`.

    Returns
    -------
    matplotlib.figure.Figure
        Not one of pyplot's; the label of each of its axes is the plane.

    Raises
    ------
    UsageError
        If an argument is not one of these, no pixel was observed, there are too many maps, or
        matplotlib is not installed.
    InputError, MismatchError, OutputError
        If a file cannot be read, maps do not go together, or the picture cannot be written.

    Notes
    -----
    Celestial coordinates are seen from inside the sphere: North is up, East (larger RA) is left.
    Colours of T, Q and U are symmetric about 0. They end at the 99.5th percentile of well observed
    pixels (a third of the median weight, or more), or at four standard deviations, by the median
    of absolute values, if that is less. Q and U share their scale.

    Polarization stays relative to the meridians of the map's own coordinates.

    Examples
    --------
    >>> plot_maps("coadd.g3", "coadd.png", band="150GHz", vmax=300)  # doctest: +SKIP
    >>> plot_maps(coadds, planes=["Q", "U"], smooth=10)  # doctest: +SKIP
    """
    figures = require_matplotlib()
    if path is not None:
        figures.check_picture(path)
    if smooth is not None and not 0 < smooth < 10_000:
        raise UsageError(f"smooth is {smooth!r}; expected a width in arcmin.")
    if cmap is not None:
        figures.check_colours(cmap)
    headers = Headers(pol_conv, coord, units)
    if difference is not None:
        if weighted:
            raise UsageError("weighted=True and difference exclude each other: choose one.")
        given = differences(source, difference, band, headers)
    else:
        given = chosen_maps(source, band, headers)
    rows = []
    for one, label in zip(given, labels_of(given), strict=True):
        try:
            patch = observed_patch(one.frame, projection, weighted=weighted, smooth=smooth)
            panels = panels_of(patch, planes, vmax)
        except UsageError as error:
            raise UsageError(f"{one.where}: {error}") from None
        if cmap is not None:
            panels = [
                replace(panel, colours=cmap) if panel.plane in STOKES else panel for panel in panels
            ]
        rows.append((label, patch.view, panels))
    names = [_describe(one.frame, row[1]) for one, row in zip(given, rows, strict=True)]
    if title is None:
        title = names[0] if len(names) == 1 else source_in_words(source)
        if difference is not None:
            title = (
                f"half difference of {source_in_words(source)} and {source_in_words(difference)}"
            )
        title = figures.plain(title)
    figure: Figure = figures.draw_panels(rows, title)
    if path is not None:
        figures.write_picture(figure, path, dpi)
    return figure


def require_matplotlib() -> Any:
    """The module that draws.

    Raises
    ------
    UsageError
    """
    try:
        from . import figures
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise UsageError(
            "Pictures need matplotlib, which is not installed: pip install matplotlib."
        ) from error
    return figures


def source_in_words(source: Source) -> str:
    """What a picture of a source is called: by its file, or how many there are."""
    if isinstance(source, str | os.PathLike):
        return os.path.basename(os.fspath(source))
    if isinstance(source, Sequence):
        names = {source_in_words(one) for one in source}
        return ", ".join(sorted(names)) if len(names) <= 3 else f"{len(source)} files"
    found = described(source)
    return "maps" if found == "what was given" else found


def _describe(frame: Frame, view: Any) -> str:
    sky_map = next(frame[key] for key in ("T", "Q", "U", "H", "Wpol", "Wunpol") if key in frame)
    sky_map = sky_map.TT if isinstance(sky_map, maps.G3SkyMapWeights) else sky_map
    name = frame.get("Id", "") or "Map"
    if isinstance(sky_map, maps.HealpixSkyMap):
        return f"{name}   (HEALPix, nside {sky_map.nside}; {view.name})"
    return f"{name}   ({view.name}, {sky_map.res / core.G3Units.arcmin:.3g}′ pixels)"
