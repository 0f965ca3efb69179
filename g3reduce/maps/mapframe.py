"""Map frames: their planes, made ready for adding, and frames made of sums.

A plane is one map of a frame, by name: ``T``, ``Q``, ``U``, ``H`` (hits), and the components of
the weights, ``Wpol.TT`` to ``Wpol.UU`` or ``Wunpol.TT``. A stub is an empty map that has the
geometry and the attributes of a plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spt3g import core, maps

from ..errors import InputError, MismatchError, UsageError
from ..g3files.fileframe import SPT3G_ERRORS, first_line
from ..g3files.maps import MAP_KEYS, STOKES
from ..spt3gtypes import Frame, SkyMap
from . import weighting
from .agreement import is_odd_in_u, weights_key
from .attributes import with_attributes, with_known_attributes
from .finite import KEEP, finite
from .pixels import Plane


@dataclass
class MapFrame:
    """A map frame that was checked and is ready to be added.

    Attributes
    ----------
    planes : dict of str to Plane
        The maps, by name. Their stubs have the attributes that a coadd of this frame has.
    flipped : set of str
        Planes to be subtracted, because their polarization convention is converted.
    where : str
        How messages name the frame.
    skipped : int
        How many of its pixels were left out.
    """

    planes: dict[str, Plane]
    flipped: set[str]
    where: str
    skipped: int = 0

    @property
    def stubs(self) -> dict[str, SkyMap]:
        """An empty map for each plane."""
        return {name: plane.stub for name, plane in self.planes.items()}

    def subtracts(self, name: str, sign: int) -> bool:
        """Whether a plane is subtracted when the frame is added with this sign.

        Weights and hits are never subtracted because of the sign.
        """
        return (sign < 0 and name in STOKES) != (name in self.flipped)


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
    _check_completeness(planes, where)
    stubs = with_known_attributes({name: plane.stub for name, plane in planes.items()}, where)
    planes = {name: _with(plane, stubs[name]) for name, plane in planes.items()}
    key = weights_key(stubs)
    if weighted and key and "T" in stubs and not stubs["T"].weighted:
        planes = planes | weighting.apply(planes, key)
    flipped: set[str] = set()
    if pol_conv is not None and "U" in planes:
        planes, flipped = _converted(planes, where, pol_conv)
    planes, skipped = finite(planes, where, nonfinite)
    return MapFrame(planes, flipped, where, skipped)


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


def missing_weights(frame: MapFrame) -> bool:
    """Whether the maps are weighted, but come without the weights."""
    return any(
        frame.stubs[name].weighted for name in STOKES if name in frame.stubs
    ) and not weights_key(frame.stubs)


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


def _check_completeness(planes: Mapping[str, SkyMap], where: str) -> None:
    """Check what spt3g's ValidateMaps checks."""
    if "T" not in planes and set(planes) != {"H"}:
        have = ", ".join(planes) or "no map at all"
        raise InputError(f"{where}: no T map (there is {have}).")
    if ("Q" in planes) != ("U" in planes):
        have, lacks = ("Q", "U") if "Q" in planes else ("U", "Q")
        raise InputError(f"{where}: a {have} map, but no {lacks} map.")
    if "Wpol.TT" in planes and "Wunpol.TT" in planes:
        raise InputError(f"{where}: both polarized and unpolarized weights (Wpol and Wunpol).")
    polarized_weights = "Wpol.QQ" in planes
    if polarized_weights and "Q" not in planes:
        raise InputError(f"{where}: polarized weights (Wpol), but no Q and U maps.")
    if "Q" in planes and weights_key(planes) and not polarized_weights:
        raise InputError(
            f"{where}: Q and U maps, but unpolarized weights ({weights_key(planes)} with TT only)."
        )


def _with(plane: Plane, stub: SkyMap) -> Plane:
    return plane if stub is plane.stub else plane._replace(stub=stub)


def _converted(
    planes: dict[str, Plane], where: str, pol_conv: Any
) -> tuple[dict[str, Plane], set[str]]:
    """Planes in this polarization convention, and those whose sign must change for it."""
    given = planes["U"].stub.pol_conv
    if given not in (maps.MapPolConv.IAU, maps.MapPolConv.COSMO):
        raise MismatchError(
            f"{where}: the polarization convention is not set (pol_conv is {given}), so it cannot "
            f"be converted to {pol_conv}. Set it where the maps are made, or with "
            "spt3g.maps.SetPolConv in front of the coadder."
        )
    converted = dict(planes)
    for name, plane in planes.items():
        if plane.stub.polarized:
            converted[name] = _with(plane, with_attributes(plane.stub, pol_conv=pol_conv))
    return converted, {*filter(is_odd_in_u, planes)} if given != pol_conv else set()
