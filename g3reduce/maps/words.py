"""What the maps of a frame say of themselves, where they agree and one of them says less.

Maps come by plane, as stubs: see `g3reduce.maps.mapframe`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from spt3g import maps

from ..errors import MismatchError
from .agreement import require_agreement_within
from .pixels import is_flat, lines_of

# By the name of the plane; to ask spt3g takes long.
_POL_TYPES = dict(maps.MapPolType.names)


class _Stubs(tuple[tuple[str, Any], ...]):
    """Stubs by plane, known by their Python objects: those of most files are the same ones."""

    def __hash__(self) -> int:
        return hash(tuple((name, id(stub)) for name, stub in self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Stubs) or len(self) != len(other):
            return False
        pairs = zip(self, other, strict=True)
        return all(name == also and stub is same for (name, stub), (also, same) in pairs)


def of_one_mind(stubs: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The stubs of a frame that agree, each of which says all that it can.

    Parameters
    ----------
    stubs : dict of str to spt3g.maps.G3SkyMap
        They are not changed.
    where : str
        How messages name the frame.

    Raises
    ------
    MismatchError
        If they do not fit each other.
    """
    if lines_of(next(iter(stubs.values()))).deep:  # what is looked at once would be kept
        return _with_what_is_no_matter(_agreeing(stubs, where))
    try:
        return _of_one_mind(_Stubs(stubs.items()))
    except MismatchError:
        _agreeing(stubs, where)  # with the right name in the message
        raise


@functools.lru_cache(maxsize=16)
def _of_one_mind(stubs: _Stubs) -> dict[str, Any]:
    return _with_what_is_no_matter(_agreeing(dict(stubs), ""))


def _agreeing(stubs: Mapping[str, Any], where: str) -> dict[str, Any]:
    known = _with_known_weights(stubs)
    require_agreement_within(known, where)
    return known


def _with_known_weights(stubs: Mapping[str, Any]) -> dict[str, Any]:
    """Let weights that do not say what they are (of older files, or made from a map T) say it.

    Their convention is that of U then. As in spt3g, their TT tells whether they say it.
    """
    known = dict(stubs)
    for name, stub in stubs.items():
        key, _, component = name.partition(".")
        if not component or stubs.get(f"{key}.TT", stub).pol_type == _POL_TYPES["TT"]:
            continue
        if stub.pol_type != _POL_TYPES[component]:
            say = {"pol_type": _POL_TYPES[component]}
            if key == "Wpol" and "U" in stubs:
                say["pol_conv"] = stubs["U"].pol_conv
            known[name] = saying(stub, **say)
    return known


def _with_what_is_no_matter(stubs: Mapping[str, Any]) -> dict[str, Any]:
    """Let all maps of a polarized frame say what U says, also where it is no matter.

    spt3g itself refuses, or takes for another thing, weights some of which say something else.
    """
    if "U" not in stubs:
        return dict(stubs)
    says: dict[str, Any] = {"pol_conv": stubs["U"].pol_conv}
    if is_flat(stubs["U"]):
        says["flat_pol"] = stubs["U"].flat_pol
    return {
        name: saying(stub, **says) if name == "Q" or name.startswith("Wpol.") else stub
        for name, stub in stubs.items()
    }


def saying(stub: Any, **attributes: Any) -> Any:
    """The same stub with these attributes."""
    if all(getattr(stub, name) == value for name, value in attributes.items()):
        return stub
    changed = stub.clone(False)
    for name, value in attributes.items():
        setattr(changed, name, value)
    return changed
