"""What map frames have in common that differ in their pixels only: found once for all of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spt3g import maps

from ..errors import InputError, MismatchError
from ..g3files.maps import STOKES
from ..spt3gtypes import SkyMap
from .agreement import Parts, is_odd_in_u, weights_key
from .attributes import with_attributes, with_known_attributes
from .pixels import lines_of


@dataclass(frozen=True, eq=False)
class FrameKind:
    """Attributes of the maps of a frame, checked against each other.

    Frames that are alike have the same object, so that what is true of one is true of all.

    Attributes
    ----------
    stubs : dict of str to spt3g.maps.G3SkyMap
        An empty map for each plane, with the attributes that a coadd of the frame has.
    parts : Parts
        Which planes there are.
    apply_weights : str or None
        The key of the weights with which the maps are still to be multiplied.
    flipped : frozenset of str
        Planes to be subtracted, because their polarization convention is converted.
    """

    stubs: dict[str, SkyMap]
    parts: Parts
    apply_weights: str | None
    flipped: frozenset[str]

    @functools.cached_property
    def lacks_weights(self) -> bool:
        """Whether the maps are weighted, but come without the weights."""
        weighted = any(self.stubs[name].weighted for name in STOKES if name in self.stubs)
        return weighted and not weights_key(self.stubs)


def kind_of(stubs: Mapping[str, SkyMap], where: str, *, weighted: bool, pol_conv: Any) -> FrameKind:
    """The kind of a frame.

    Parameters
    ----------
    stubs : dict of str to spt3g.maps.G3SkyMap
        An empty map for each of its planes. They are not changed.
    where : str
        How messages name it.
    weighted, pol_conv
        As in `g3reduce.maps.mapframe.read`.

    Raises
    ------
    InputError, MismatchError
        If a map is missing, or does not agree with the others.
    """
    # The stubs of most files are the same objects.
    key = (*stubs, *map(id, stubs.values()), weighted, pol_conv)
    known = _known.get(key)
    if known is not None:
        return known[0]
    _require_complete(stubs, where)
    kind = _new_kind(stubs, where, weighted, pol_conv)
    if not lines_of(next(iter(stubs.values()))).deep:
        if len(_known) >= _MOST:
            _known.clear()
        _known[key] = kind, list(stubs.values())  # held, so that no others have these ids
    return kind


# The kinds that were found last. They are few, since empty maps of a large nside take memory, and
# those of frames in memory never come again.
_known: dict[tuple[Any, ...], tuple[FrameKind, list[SkyMap]]] = {}
_MOST = 4


def _new_kind(stubs: Mapping[str, SkyMap], where: str, weighted: bool, pol_conv: Any) -> FrameKind:
    known = with_known_attributes(stubs, where)
    key = weights_key(known)
    to_apply = key if weighted and key and "T" in known and not known["T"].weighted else None
    if to_apply:
        for name in STOKES:
            if name in known:
                known[name] = with_attributes(known[name], weighted=True)
    flipped: frozenset[str] = frozenset()
    if pol_conv is not None and "U" in known:
        given = known["U"].pol_conv
        _require_convention(given, where, pol_conv)
        for name, stub in known.items():
            if stub.polarized:
                known[name] = with_attributes(stub, pol_conv=pol_conv)
        if given != pol_conv:
            flipped = frozenset(filter(is_odd_in_u, known))
    return FrameKind(known, Parts.of(known), to_apply, flipped)


def _require_complete(planes: Mapping[str, SkyMap], where: str) -> None:
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
    if "Wunpol.QQ" in planes:
        raise InputError(
            f"{where}: polarized weights as Wunpol, which spt3g has for weights of T alone; "
            "expected them as Wpol."
        )
    if "Q" in planes and weights_key(planes) and not polarized_weights:
        raise InputError(
            f"{where}: Q and U maps, but unpolarized weights ({weights_key(planes)} with TT only)."
        )


def _require_convention(given: Any, where: str, wanted: Any) -> None:
    if given not in (maps.MapPolConv.IAU, maps.MapPolConv.COSMO):
        raise MismatchError(
            f"{where}: the polarization convention is not set (pol_conv is {given}), so it cannot "
            f"be converted to {wanted}. Set it where the maps are made, or with "
            "spt3g.maps.SetPolConv in front of the coadder."
        )
