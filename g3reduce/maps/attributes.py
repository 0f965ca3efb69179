"""Attributes of the maps of a frame, completed where they agree and one of them leaves some out.

Maps come by plane, as stubs: see `g3reduce.maps.mapframe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spt3g import maps

from ..spt3gtypes import SkyMap
from .agreement import require_agreement_within
from .pixels import is_flat

# By the name of the plane; to ask spt3g takes long.
_POL_TYPES = dict(maps.MapPolType.names)
_NO_CONVENTION = maps.MapPolConv.names["none"]


def with_known_attributes(stubs: Mapping[str, SkyMap], where: str) -> dict[str, SkyMap]:
    """The stubs of a frame, each with all attributes that follow from the others.

    Parameters
    ----------
    stubs : dict of str to spt3g.maps.G3SkyMap
        They are not changed.
    where : str
        How messages name the frame.

    Raises
    ------
    MismatchError
        If they do not agree.
    """
    known = _with_components(stubs)
    require_agreement_within(known, where)
    return _with_polarization_of_u(known)


def _with_components(stubs: Mapping[str, SkyMap]) -> dict[str, SkyMap]:
    """Set the component of weights that lack it (of older files, or made from a map T).

    Their convention is that of U then, unless they say one. As in spt3g, the map TT says whether
    they lack it.
    """
    known = dict(stubs)
    for name, stub in stubs.items():
        key, _, component = name.partition(".")
        if not component or stubs.get(f"{key}.TT", stub).pol_type == _POL_TYPES["TT"]:
            continue
        if stub.pol_type != _POL_TYPES[component]:
            attributes = {"pol_type": _POL_TYPES[component]}
            if key == "Wpol" and "U" in stubs and stub.pol_conv == _NO_CONVENTION:
                attributes["pol_conv"] = stubs["U"].pol_conv
            known[name] = with_attributes(stub, **attributes)
    return known


def _with_polarization_of_u(stubs: Mapping[str, SkyMap]) -> dict[str, SkyMap]:
    """Give all maps of a polarized frame the convention of U, also those that it does not affect.

    spt3g itself refuses, or misreads, weights in which some maps have another one.
    """
    if "U" not in stubs:
        return dict(stubs)
    attributes: dict[str, Any] = {"pol_conv": stubs["U"].pol_conv}
    if is_flat(stubs["U"]):
        attributes["flat_pol"] = stubs["U"].flat_pol
    return {
        name: with_attributes(stub, **attributes)
        if name == "Q" or name.startswith("Wpol.")
        else stub
        for name, stub in stubs.items()
    }


def with_attributes(stub: SkyMap, **attributes: Any) -> SkyMap:
    """The same stub with these attributes: itself, if it has them."""
    if all(getattr(stub, name) == value for name, value in attributes.items()):
        return stub
    changed = stub.clone(False)
    for name, value in attributes.items():
        setattr(changed, name, value)
    return changed
