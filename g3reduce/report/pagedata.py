"""What a page tells of a file of coadds, gathered from the file alone."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import numpy as np

from ..analysis.chisquare import Statistic
from ..analysis.describing import info
from ..analysis.description import FileInfo, MapInfo
from ..analysis.nulltest import null_test, statistics_of
from ..errors import InputError, MismatchError, UsageError
from ..formats.reading import map_frames_in
from ..maps.digest import digest, total
from ..maps.stokes import stokes_maps
from ..pipeline.entries import Entry, LeftOut
from ..pipeline.ledgerframe import DIFFERENCE, ledger_in
from ..spt3gtypes import Frame
from .contributions import ContributionPlot, contributions_of, plots_of
from .pictures import pictures_of

BUDGET = 4_400_000  # bytes of a page, but for its script and words
MOST_OF_PICTURES, LEAST_OF_PICTURES = 3_400_000, 1_000_000
MOST_PICTURED = 12  # maps of a file that are drawn

_ROW, _POINT = 20, 30  # bytes of a frame in the ledger, and of an observation in both plots
_PLOTS = 80_000  # and of both plots of very many

_PACKAGES = ("g3reduce", "spt3g", "numpy", "healpy", "mpi4py", "jinja2")


@dataclass
class MapPage:
    """One Map frame: what is known of it in words, and what is drawn.

    Attributes
    ----------
    info : MapInfo
    digests : dict of str to str
    pictures : dict or None
        See `pictures_of`; None if it is not drawn.
    not_drawn : str
        Why it is not.
    plots : list of ContributionPlot
    entries : list of Entry
    left_out : list of LeftOut
    null : dict of str to Statistic
        Of a half difference: its chi-square under its weights.
    no_null : str
        Why there is none.
    """

    info: MapInfo
    digests: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Any] | None = None
    not_drawn: str = ""
    plots: list[ContributionPlot] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    null: dict[str, Statistic] = field(default_factory=dict)
    no_null: str = ""

    @property
    def name(self) -> str:
        """Its Id, or which frame it is."""
        return self.info.frame_id or f"frame {self.info.frame}"


@dataclass
class PageData:
    """What a page tells of files.

    Attributes
    ----------
    files : list of FileInfo
    maps : list of MapPage
        Of all of them.
    nulls : dict of str to dict of str to Statistic
        Null tests of halves, by Ids.
    digest : str
        Of all maps.
    versions : dict of str to str
    """

    files: list[FileInfo]
    maps: list[MapPage]
    nulls: dict[str, dict[str, Statistic]]
    digest: str
    versions: dict[str, str]


def gather(
    files: Sequence[str | os.PathLike[str]],
    said: Mapping[str, Any] | None = None,
    halves: tuple[str, str] | None = None,
) -> PageData:
    """Read files and gather what their page tells.

    Parameters
    ----------
    files : list of name or path
        Files of maps of any format.
    said : dict, optional
        What headers of FITS files do not say; see `g3reduce.formats.map_frames_in`.
    halves : tuple of str, optional
        Two splits in the files that are compared; see `g3reduce.null_test`.

    Raises
    ------
    InputError
        If one cannot be read, or has no map.
    MismatchError, UsageError
        If there are no such halves.
    """
    headers = dict(said or {})
    described = [info(file, **headers) for file in files]
    for one in described:
        if not one.maps:
            raise InputError(f"There is no Map frame in {one.file}; expected a file of maps.")
    # Sign flips are many and alike: their picture is noise.
    places = [(i, j) for i, one in enumerate(described) for j in range(len(one.maps))]
    drawn = [(i, j) for i, j in places if not described[i].maps[j].signflip_of][:MOST_PICTURED]
    budget_of_each = _room_for_pictures(described) // max(1, len(drawn))
    pages, named = [], []
    for i, file in enumerate(files):
        for j, frame in enumerate(map_frames_in(file, **headers)):
            budget = budget_of_each if (i, j) in drawn else 0
            page = _page_of(frame, described[i].maps[j], budget, headers.get("pol_conv"))
            named.append({f"{page.info.frame_id} {key}": one for key, one in page.digests.items()})
            pages.append(page)
    _calibrate(pages)
    flipped = any(page.info.signflip_of for page in pages)
    nulls = {} if halves is None else _nulls_of(list(files), halves, headers, flipped)
    return PageData(described, pages, nulls, total(named), _versions())


def _nulls_of(
    files: list[str | os.PathLike[str]],
    halves: tuple[str, str],
    headers: Mapping[str, Any],
    flipped: bool,
) -> dict[str, dict[str, Statistic]]:
    """Null tests of halves, with their sign flips if these are there, too."""
    found = None
    if flipped:
        try:
            found = null_test(files, None, files, halves=halves, **headers)
        except MismatchError:  # there are sign flips, but not those of both halves
            found = None
    if found is None:
        found = null_test(files, halves=halves, **headers)
    return {name: one.statistics for name, one in found.items()}


def _calibrate(pages: Sequence[MapPage]) -> None:
    """Give half differences chi-square of their sign flips, which are half differences, too."""
    flips: dict[str, list[dict[str, Statistic]]] = {}
    for page in pages:
        if page.info.signflip_of and page.null:
            flips.setdefault(page.info.signflip_of, []).append(page.null)
    for page in pages:
        alike = [one for one in flips.get(page.info.frame_id, []) if one.keys() == page.null.keys()]
        if page.null and not page.info.signflip_of and alike:
            page.null = {
                name: replace(one, realisations=np.array([flip[name].chi2 for flip in alike]))
                for name, one in page.null.items()
            }


def _room_for_pictures(described: Sequence[FileInfo]) -> int:
    """How many bytes the pictures may take beside ledgers and plots."""
    shown = [one for file in described for one in file.maps if not one.signflip_of and one.ledger]
    frames = [one.ledger.frames for one in shown if one.ledger]
    beside = sum(_ROW * n + min(_POINT * n, _PLOTS) for n in frames)
    return max(LEAST_OF_PICTURES, min(MOST_OF_PICTURES, BUDGET - beside))


def _page_of(frame: Frame, described: MapInfo, budget: int, pol_conv: str | None = None) -> MapPage:
    where = f"frame {described.frame}"
    page = MapPage(described, digest(frame, where))
    ledger = ledger_in(frame, where)
    if ledger is not None:
        page.entries, page.left_out = ledger.entries, ledger.left_out
        page.plots = plots_of(contributions_of(ledger.entries))
    if DIFFERENCE in frame:
        try:
            page.null = statistics_of(stokes_maps(frame, where, pol_conv=pol_conv))
        except (InputError, UsageError) as error:
            page.no_null = str(error)
    if not budget:
        few = f"only the first {MOST_PICTURED} maps of a file are drawn"
        page.not_drawn = "it is a sign flip" if described.signflip_of else few
    else:
        try:
            page.pictures = pictures_of(frame, budget)
        except UsageError as error:
            page.not_drawn = str(error)
    return page


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
