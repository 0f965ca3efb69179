"""Unweighted maps of a frame, in the pixels whose weights can be inverted; and frames of such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError, UsageError
from ..g3files.archive import DENSE, EMPTY
from ..g3files.lines import Index, Values
from ..g3files.maps import STOKES, Content
from ..g3files.runs import LayoutFinder
from ..spt3gtypes import Frame, SkyMap
from . import matrices
from .agreement import weights_key
from .attributes import with_attributes
from .mapfile import planes_of
from .mapframe import as_pol_conv, read, to_frame
from .matrices import MAX_CONDITION
from .pixels import as_points, content_of, fuller, lines_of, to_map
from .storedframe import verified_on_error, verify
from .weighting import at


@dataclass(frozen=True, repr=False)
class StokesMaps:
    """Unweighted maps of a frame, with their weights, in the pixels where these are invertible.

    Attributes
    ----------
    names : tuple of str
        ``("T", "Q", "U")``, or ``("T",)``: the rows of `values`.
    pixels : int64 array, shape (pixels,)
        Their numbers, rising; see `g3reduce.maps.pixels`.
    values : float64 array, shape (3, pixels) or (1, pixels)
        The unweighted maps, in the units of the frame.
    weights : float64 array, shape (6, pixels) or (1, pixels)
        Their weight matrices; see `g3reduce.maps.matrices`.
    hits : float64 array, shape (pixels,), or None
        The map H, if there is one.
    stubs : dict of str to spt3g.maps.G3SkyMap
        An empty map for each plane, T, Q and U weighted.
    storages : dict of str to str
        How each plane is stored.
    singular : int64 array
        The numbers of the pixels that were left out, because their weights are not 0, but cannot be
        inverted, or because a map is not finite there.
    where : str
        How messages name the frame.
    """

    names: tuple[str, ...]
    pixels: Index
    values: Values
    weights: Values
    hits: Values | None
    stubs: dict[str, SkyMap]
    storages: dict[str, str]
    singular: Index
    where: str

    @property
    def geometry(self) -> SkyMap:
        """An empty map of the geometry."""
        return self.stubs["T"]

    @property
    def weight_planes(self) -> list[str]:
        """The planes of `weights`, in the order of its rows."""
        return [name for name in self.stubs if name.startswith("W")]

    @property
    def pixel_numbers(self) -> Index:
        """The numbers that the map itself has for `pixels`."""
        return lines_of(self.geometry).as_mapped(self.pixels)

    def take(self, places: Index) -> StokesMaps:
        """The same at some of the pixels only."""
        return replace(
            self,
            pixels=self.pixels[places],
            values=self.values[:, places],
            weights=self.weights[:, places],
            hits=None if self.hits is None else self.hits[places],
        )

    def to_frame(self, frame_id: str, *, weighted: bool = True) -> Frame:
        """A Map frame with these maps, weighted or not. All other pixels are 0."""
        values = matrices.multiply(self.values, self.weights) if weighted else self.values
        planes = dict(zip(self.names, values, strict=True))
        planes |= dict(zip(self.weight_planes, self.weights, strict=True))
        if self.hits is not None:
            planes["H"] = self.hits
        stubs = dict(self.stubs)
        for name in self.names:
            stubs[name] = with_attributes(stubs[name], weighted=weighted)
        return to_frame(frame_id, self.maps_with(planes, stubs))

    def maps_with(
        self, planes: Mapping[str, Values], stubs: Mapping[str, SkyMap]
    ) -> dict[str, SkyMap]:
        """Maps that have these values at the pixels, by their names, and 0 elsewhere.

        Parameters
        ----------
        planes : dict of str to float64 array, shape (pixels,)
        stubs : dict of str to spt3g.maps.G3SkyMap
            What each becomes: an empty map.
        """
        layouts = LayoutFinder()
        made = {}
        for name, values in planes.items():
            storage = self.storages.get(name, self.storages["T"])
            if storage == DENSE:
                whole = np.zeros(stubs[name].size)
                whole[self.pixel_numbers] = values
                content = Content(DENSE, whole)
            else:
                content = content_of(stubs[name], storage, self.pixels, values, layouts)
            made[name] = to_map(stubs[name], content)
        return made


def stokes_maps(
    frame: Frame,
    where: str,
    *,
    pol_conv: object = None,
    max_condition: float = MAX_CONDITION,
) -> StokesMaps:
    """The unweighted maps of a frame, where its weights can be inverted.

    Weighted maps are divided by their weights; those that are not stay as they are, to the bit.

    Parameters
    ----------
    frame : G3Frame or StoredFrame
        A Map frame, which stays as it is.
    where : str
        How messages name it.
    pol_conv : {"IAU", "COSMO"}, optional
        Convert polarization to this convention.
    max_condition : float
        Pixels whose weights have a larger condition number are left out. spt3g itself makes them
        NaN beyond 1e12.

    Raises
    ------
    InputError
        If the frame has no weights, lacks a map, or its maps do not agree.
    UsageError
        If `max_condition` is less than 1.
    """
    if not max_condition >= 1:
        raise UsageError(
            f"max_condition is {max_condition!r}; expected a ratio of eigenvalues, of 1 or more."
        )
    with verified_on_error(frame):
        found = _read(frame, where, as_pol_conv(pol_conv), max_condition)
    verify(frame)
    return found


def _read(frame: Frame, where: str, pol_conv: object, max_condition: float) -> StokesMaps:
    maps = read(planes_of(frame, where), where, weighted=False, pol_conv=pol_conv)
    names = tuple(name for name in STOKES if name in maps.planes)
    key = weights_key(maps.planes)
    if key is None or not names:
        have = ", ".join(maps.planes) or "no map at all"
        raise InputError(
            f"{where}: expected T, or T, Q and U, with their weights (Wunpol or Wpol); there is "
            f"{have}. Without weights nothing is known of the noise, nor of which pixels were seen."
        )
    of_weights = [name for name in maps.planes if name.startswith("W")]
    of_weights.sort(key=_ORDER.index)
    shape = maps.planes["T"].stub.shape
    points = {name: as_points(plane.chunks(), shape) for name, plane in maps.planes.items()}
    signs = {name: -1.0 if name in maps.kind.flipped else 1.0 for name in points}

    pixels = points[of_weights[0]].pixels  # where TT is not 0
    weights = np.stack([signs[name] * at(pixels, points[name]) for name in of_weights])
    values = np.stack([signs[name] * at(pixels, points[name]) for name in names])
    good = matrices.is_invertible(weights, max_condition) & np.isfinite(values).all(axis=0)
    singular = pixels[~good & (weights != 0).any(axis=0)]
    pixels, weights, values = pixels[good], weights[:, good], values[:, good]
    if maps.planes["T"].stub.weighted:
        values = matrices.divide(values, weights)
    order = [*names, *of_weights, *(["H"] if "H" in points else [])]
    fullest = fuller(*(plane.storage for plane in maps.planes.values()))
    return StokesMaps(
        names,
        pixels,
        values,
        weights,
        at(pixels, points["H"]) if "H" in points else None,
        {name: _stub(maps.planes[name].stub, name) for name in order},
        {name: _storage(maps.planes[name].storage, fullest) for name in order},
        singular,
        where,
    )


_ORDER = [f"Wpol.{name}" for name in ("TT", "TQ", "TU", "QQ", "QU", "UU")] + ["Wunpol.TT"]


def _stub(stub: SkyMap, name: str) -> SkyMap:
    return with_attributes(stub, weighted=True) if name in STOKES else stub


def _storage(storage: str, fullest: str) -> str:
    return fullest if storage == EMPTY else storage
