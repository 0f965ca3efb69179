"""The rules by which maps of a frame, and frames that are summed, must agree.

Maps come by plane, as stubs: see `g3reduce.maps.mapframe`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spt3g import maps

from ..errors import Difference, MismatchError
from ..g3files.maps import STOKES
from ..spt3gtypes import SkyMap
from . import pixels

_FLAT_GEOMETRY = (
    *("shape", "proj", "alpha_center", "delta_center"),
    *("x_res", "y_res", "x_center", "y_center"),
)
_HEALPIX_GEOMETRY = ("nside", "nested")


def geometry_of(stub: SkyMap) -> tuple[str, ...]:
    """The attributes that make up the geometry of a map."""
    return _FLAT_GEOMETRY if pixels.is_flat(stub) else _HEALPIX_GEOMETRY


def weights_key(planes: Iterable[str]) -> str | None:
    """The key of the weights among these planes; None if there are none."""
    return next((name.split(".")[0] for name in planes if name.startswith("W")), None)


def is_odd_in_u(name: str) -> bool:
    """Whether a plane depends on the convention of polarization.

    IAU and COSMO differ in the sign of U, and so of TU and QU; and in nothing else.
    """
    return name == "U" or name.endswith((".TU", ".QU"))


def is_polarized(name: str) -> bool:
    """Whether a plane depends on the direction from which the angle of polarization counts."""
    return name in ("Q", "U") or (name.startswith("Wpol.") and not name.endswith(".TT"))


@dataclass(frozen=True)
class Parts:
    """Which planes the frames of a sum have.

    Attributes
    ----------
    complete : frozenset of str or None
        The planes of each frame with a T map; None if there was no such frame.
    hits_apart : bool
        Whether hits came in frames of their own, as spt3g's HitsBinner makes them.
    """

    complete: frozenset[str] | None
    hits_apart: bool

    @classmethod
    def of(cls, planes: Collection[str]) -> Parts:
        """The parts of one frame."""
        return cls(frozenset(planes), False) if "T" in planes else cls(None, True)

    def __or__(self, other: Parts) -> Parts:
        if self.complete is None or other.complete is None:
            complete = self.complete or other.complete
        else:
            complete = self.complete | other.complete
        return Parts(complete, self.hits_apart or other.hits_apart)


def require_same_parts(mine: Parts, theirs: Parts, here: str, there: str, *, weights: bool) -> None:
    """Refuse a sum that would have some plane of only a part of its frames.

    Parameters
    ----------
    mine, theirs : Parts
    here, there : str
        How messages name both.
    weights : bool
        Whether both must have weights and hits, or none.

    Raises
    ------
    MismatchError
        With the plane.
    """
    both = mine | theirs
    if both.hits_apart and both.complete is not None and "H" in both.complete:
        raise MismatchError(
            f"{here} and {there}: one has its hits (H) beside T, the other in a frame of their "
            "own, so that they would be counted twice. Coadd such frames separately.",
            differences=(_in_planes("H", mine.hits_apart, "a frame of its own", "H beside T"),),
        )
    if mine.complete is None or theirs.complete is None:
        return
    for name in sorted(mine.complete ^ theirs.complete):
        is_weight = name.startswith("W")
        both_weighted = weights_key(mine.complete) and weights_key(theirs.complete)
        if not weights and (name == "H" or (is_weight and not both_weighted)):
            continue
        has, lacks = (here, there) if name in mine.complete else (there, here)
        raise MismatchError(
            f"{has} has {name}, and {lacks} has not, so that their sum would have {name} of only a "
            "part. Coadd such frames separately (map_ids, collate or assign).",
            differences=(_in_planes(name, name in mine.complete, name, f"no {name}"),),
        )


def _in_planes(plane: str, mine: bool, if_so: str, else_: str) -> Difference:
    """The difference between frames of which one has something that the other has not."""
    values = (if_so, else_) if mine else (else_, if_so)
    return Difference("planes", *values, plane)


_NOT_ADDED = "They must not be added."


def require_agreement(
    mine: Mapping[str, Any],
    theirs: Mapping[str, Any],
    here: str,
    there: str,
    conclusion: str = _NOT_ADDED,
) -> None:
    """Refuse to add, or to compare, maps that do not agree.

    Parameters
    ----------
    mine, theirs : dict of str to spt3g.maps.G3SkyMap
        The stubs of both.
    here, there : str
        How messages name both.
    conclusion : str
        The last sentence of the message.

    Raises
    ------
    MismatchError
        With the plane, the attribute and both values.
    """
    common = sorted({*mine} & {*theirs})
    for name in common:
        _refuse_differences(name, mine[name], theirs[name], here, there, conclusion)
    if not common:
        a, b = next(iter(mine)), next(iter(theirs))
        different = _different_geometry(mine[a], theirs[b])
        if different:
            raise MismatchError(
                f"{here} does not agree with {there}: {a} and {b} differ in {_listed(different)}. "
                f"{conclusion}",
                differences=tuple(different),
            )


def require_agreement_within(stubs: Mapping[str, SkyMap], where: str) -> None:
    """Refuse a frame whose maps do not fit each other.

    Parameters
    ----------
    stubs : dict of str to spt3g.maps.G3SkyMap
    where : str
        How messages name the frame.

    Raises
    ------
    MismatchError
        With the planes, the attribute and the values.
    """
    first = next(iter(stubs))
    for name, stub in stubs.items():
        different = _different_geometry(stubs[first], stub)
        if different:
            raise MismatchError(f"{where}: {first} and {name} differ in {_listed(different)}.")
    _same_within(stubs, STOKES, "weighted", where)
    # Q is the same in both conventions, but it is doubtful if it has another one than U. Maps
    # without a convention have that of U.
    with_convention = [
        name
        for name, stub in stubs.items()
        if name == "U" or ((name == "Q" or is_odd_in_u(name)) and stub.polarized)
    ]
    _same_within(stubs, with_convention, "pol_conv", where)
    if pixels.is_flat(stubs[first]):
        _same_within(stubs, filter(is_polarized, stubs), "flat_pol", where)


# Attributes in which maps that agree may differ, and their values for "not known".
_UNSET = {
    "pol_type": maps.MapPolType.names["none"],
    "pol_conv": maps.MapPolConv.names["none"],
    "flat_pol": False,
    "weighted": False,
}


def copy_attributes(source: Any, target: Any) -> None:
    """Give a map the attributes of another one in which maps that agree may differ."""
    for attribute in _UNSET:
        if hasattr(source, attribute):
            setattr(target, attribute, getattr(source, attribute))


def unset_differences(mine: Any, theirs: Any) -> None:
    """Unset the attributes of a stub in which another one differs, though they agree.

    So the attributes of a sum do not depend on which map came first.
    """
    for attribute, unset in _UNSET.items():
        value = getattr(mine, attribute, unset)
        if value != unset and value != getattr(theirs, attribute, unset):
            setattr(mine, attribute, unset)


def _refuse_differences(
    name: str, mine: Any, theirs: Any, here: str, there: str, conclusion: str
) -> None:
    different = _differences(name, mine, theirs)
    if different:
        texts = [
            f'{one} (pol_conv="IAU" or "COSMO" converts)'
            if one.attribute == "pol_conv"
            else str(one)
            for one in different
        ]
        raise MismatchError(
            f"{here} does not agree with {there}: {name} differs in {'; '.join(texts)}. "
            f"{conclusion}",
            differences=tuple(different),
        )


def _differences(name: str, mine: Any, theirs: Any) -> list[Difference]:
    geometry = _different_geometry(mine, theirs)
    if geometry:
        return geometry
    attributes = ["units"]
    if name in STOKES:
        attributes.append("weighted")
    if is_odd_in_u(name):
        attributes.append("pol_conv")
    if is_polarized(name) and pixels.is_flat(mine):
        attributes.append("flat_pol")
    return [one._replace(plane=name) for one in _that_differ(attributes, mine, theirs)]


def _different_geometry(a: Any, b: Any) -> list[Difference]:
    """The differences in geometry; none if `a` and `b` are compatible."""
    if type(a) is not type(b):
        return [Difference("the kind of map", type(a).__name__, type(b).__name__)]
    same_proj = not pixels.is_flat(a) or a.proj == b.proj  # spt3g lets ProjNone pass for any other
    if same_proj and a.compatible(b):
        return []
    return _that_differ(("coord_ref", *geometry_of(a)), a, b)


def _that_differ(attributes: Iterable[str], a: Any, b: Any) -> list[Difference]:
    values = [(name, getattr(a, name), getattr(b, name)) for name in attributes]
    return [Difference(name, str(x), str(y)) for name, x, y in values if x != y]


def _listed(differences: Iterable[Difference]) -> str:
    return ", ".join(map(str, differences))


def _same_within(stubs: Mapping[str, SkyMap], names: Any, attribute: str, where: str) -> None:
    values = {name: getattr(stubs[name], attribute) for name in names if name in stubs}
    if len({str(value) for value in values.values()}) > 1:
        listed = ", ".join(f"{value} in {name}" for name, value in values.items())
        raise MismatchError(f"{where}: {attribute} must agree within a frame; it is {listed}.")
