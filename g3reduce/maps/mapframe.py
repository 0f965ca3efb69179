"""Map frames: their planes, made ready for adding, and frames made of sums.

A plane is one map of a frame, by name: ``T``, ``Q``, ``U``, ``H`` (hits), and the components of
the weights, ``Wpol.TT`` to ``Wpol.UU`` or ``Wunpol.TT``. A stub is an empty map that has the
geometry and the attributes of a plane.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spt3g import core, maps

from ..errors import InputError, UsageError
from ..g3files.fileframe import SPT3G_ERRORS, first_line
from ..g3files.maps import MAP_KEYS, STOKES
from ..spt3gtypes import Frame, SkyMap
from . import weighting
from .agreement import weights_key
from .finite import KEEP, finite
from .framekind import FrameKind, kind_of
from .pixels import Plane


@dataclass(frozen=True)
class MapFrame:
    """A map frame that was checked and is ready to be added.

    Attributes
    ----------
    planes : dict of str to Plane
        The maps, by name. Their stubs have the attributes that a coadd of this frame has.
    kind : FrameKind
        What it has in common with others.
    where : str
        How messages name the frame.
    skipped : int
        How many of its pixels were left out.
    """

    planes: dict[str, Plane]
    kind: FrameKind
    where: str
    skipped: int = 0

    @functools.cached_property
    def storages(self) -> tuple[str, ...]:
        """How each of the planes is stored."""
        return tuple([plane.storage for plane in self.planes.values()])

    @functools.cached_property
    def overflows(self) -> dict[str, float]:
        """The overflows that are not 0."""
        return {name: plane.overflow for name, plane in self.planes.items() if plane.overflow}

    def subtracts(self, name: str, sign: int) -> bool:
        """Whether a plane is subtracted when the frame is added with this sign.

        Weights and hits are never subtracted because of the sign.
        """
        return (sign < 0 and name in STOKES) != (name in self.kind.flipped)


def as_pol_conv(pol_conv: Any) -> Any:
    """The polarization convention that an argument stands for, None for none.

    Raises
    ------
    UsageError
        Unless it is None, ``"IAU"``, ``"COSMO"`` or one of these `spt3g.maps.MapPolConv`.
    """
    conventions = {"IAU": maps.MapPolConv.IAU, "COSMO": maps.MapPolConv.COSMO}
    known = isinstance(pol_conv, maps.MapPolConv) and pol_conv in conventions.values()
    if pol_conv is None or known:
        return pol_conv
    if isinstance(pol_conv, str) and pol_conv.upper() in conventions:
        return conventions[pol_conv.upper()]
    raise UsageError(f'pol_conv is {pol_conv!r}; expected "IAU", "COSMO" or None.')


def read(
    planes: dict[str, Plane],
    where: str,
    *,
    weighted: bool = True,
    pol_conv: Any = None,
    nonfinite: str = KEEP,
) -> MapFrame:
    """Check the maps of a frame against each other, and weight them if need be.

    Parameters
    ----------
    planes : dict of str to Plane
        All maps of the frame, by plane.
    where : str
        How messages name it.
    weighted : bool
        Multiply unweighted maps that come with weights by these, in a copy.
    pol_conv : spt3g.maps.MapPolConv or None
        Convert polarization to this convention.
    nonfinite : str
        What to do about pixels that are not finite, see `g3reduce.maps.finite`.

    Raises
    ------
    InputError, MismatchError
        If a map is missing, or does not agree with the others of the frame, or if it must be
        finite and is not.
    """
    stubs = {name: plane.stub for name, plane in planes.items()}
    kind = kind_of(stubs, where, weighted=weighted, pol_conv=pol_conv)
    if kind.apply_weights:
        planes = planes | weighting.apply(planes, kind.apply_weights)
    planes = {name: _with(plane, kind.stubs[name]) for name, plane in planes.items()}
    planes, skipped = finite(planes, where, nonfinite)
    return MapFrame(planes, kind, where, skipped)


def maps_of(frame: Frame, where: str) -> dict[str, SkyMap]:
    """The maps of a frame, by plane. They are the frame's own: do not change them.

    Raises
    ------
    InputError
        If one cannot be read, or is no map.
    """
    planes: dict[str, SkyMap] = {}
    for key in MAP_KEYS:
        if key not in frame:
            continue
        try:
            value = frame[key]
        except SPT3G_ERRORS as error:
            raise InputError(
                f"{where}: {key} cannot be read, the file is broken here ({first_line(error)})."
            ) from error
        wanted = maps.G3SkyMapWeights if key.startswith("W") else maps.G3SkyMap
        if not isinstance(value, wanted):
            raise InputError(
                f"{where}: {key} is a {type(value).__name__}; expected a {wanted.__name__}."
            )
        if isinstance(value, maps.G3SkyMap):
            planes[key] = value
        else:
            # Only `polarized` says which components there are: the others are null pointers.
            for component in value.keys():  # noqa: SIM118 (not a dictionary)
                planes[f"{key}.{component}"] = _component(value, component, key, where)
    return planes


def _component(weights: SkyMap, component: str, key: str, where: str) -> SkyMap:
    skymap = getattr(weights, component)
    if skymap is None:
        raise InputError(f"{where}: the weights {key} have no {component} map.")
    return skymap


def to_frame(frame_id: str, planes: Mapping[str, SkyMap]) -> Frame:
    """A new Map frame with these maps."""
    frame = core.G3Frame(core.G3FrameType.Map)
    frame["Id"] = frame_id
    key = weights_key(planes)
    if key:
        weights = maps.G3SkyMapWeights()
        for name, skymap in planes.items():
            if name.startswith("W"):
                setattr(weights, name.split(".")[1], skymap)
        frame[key] = weights
    for name in (*STOKES, "H"):
        if name in planes:
            frame[name] = planes[name]
    return frame


def _with(plane: Plane, stub: SkyMap) -> Plane:
    return plane if stub is plane.stub else plane._replace(stub=stub)
