"""What a comparison of maps has found: for programs, and as lines to be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import Difference
from .sources import Realisation
from .tables import wrapped

# So many entries of ledgers, or maps, that are in one only are listed.
_SHOWN = 5


class Largest(NamedTuple):
    """The largest difference of two maps.

    Attributes
    ----------
    difference : float
    pixel : str
        The number of the pixel; of flat-sky maps ``y,x``.
    a, b : float
        The values there.
    """

    difference: float
    pixel: str
    a: float
    b: float

    def __str__(self) -> str:
        return f"{self.difference:.3g} at {self.pixel}"


@dataclass(frozen=True)
class PlaneComparison:
    """The pixels of two maps of a frame.

    Attributes
    ----------
    plane : str
        ``T``, ``Wpol.TT`` and so on.
    n_pixels : int
        In how many pixels either is not 0.
    n_different : int
        How many pixels differ by more than the tolerance.
    only_a, only_b : int
        How many pixels are 0 in the other one.
    not_finite : int
        How many are NaN or infinite in one, and something else in the other.
    absolute : Largest or None
        The largest difference, in `core.G3Units`; None if there is none.
    relative : Largest or None
        The largest one of those divided by the larger value, over the pixels that both have.
    """

    plane: str
    n_pixels: int
    n_different: int
    only_a: int = 0
    only_b: int = 0
    not_finite: int = 0
    absolute: Largest | None = None
    relative: Largest | None = None

    @property
    def identical(self) -> bool:
        """Whether all pixels are the same to the bit (0 has no sign, and NaN is NaN)."""
        return self.absolute is None and not self.not_finite


@dataclass(frozen=True)
class MapComparison:
    """Two maps that were compared.

    Attributes
    ----------
    frame_id : str
        The Id; of two Ids, both.
    attributes : tuple of Difference
        Attributes and planes that differ.
    planes : tuple of PlaneComparison
        The planes that both have, if their geometry is the same.
    ledger : tuple of str
        What is in one ledger only, if ledgers were compared.
    """

    frame_id: str
    attributes: tuple[Difference, ...] = ()
    planes: tuple[PlaneComparison, ...] = ()
    ledger: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both are the same, within the tolerance."""
        return not (self.attributes or self.ledger or any(one.n_different for one in self.planes))

    @property
    def identical(self) -> bool:
        """Whether both are the same to the bit."""
        return self.same and all(one.identical for one in self.planes)

    @property
    def outcome(self) -> str:
        """In words."""
        if self.identical:
            return "the same to the bit"
        return "the same within the tolerance" if self.same else "different"

    def lines(self) -> list[str]:
        """What differs, if anything does."""
        lines = [f"{self.frame_id or 'without an Id'}: {self.outcome}"]
        if self.identical:
            return lines
        lines += _attributes(self.attributes)
        changed = [one for one in self.planes if not one.identical]
        if changed:
            lines.append(
                f"  {'map':<8}{'differ':>9}{'only A':>8}{'only B':>8}  "
                f"{'largest |A - B|':<22}relative"
            )
        for one in changed:
            lines.append(
                f"  {one.plane:<8}{one.n_different:>9}{one.only_a:>8}{one.only_b:>8}  "
                f"{one.absolute or ''!s:<22}{one.relative or ''}".rstrip()
            )
            if one.not_finite:
                lines.append(f"  {'':<8}{one.not_finite:>9} of these NaN or infinite in one only")
        equal = [one.plane for one in self.planes if one.identical]
        if equal:
            lines += _wrapped(f"the same to the bit: {', '.join(equal)}")
        lines += [f"  {one}" for one in self.ledger[:_SHOWN]]
        if len(self.ledger) > _SHOWN:
            lines.append(f"  ... and {len(self.ledger) - _SHOWN} more entries")
        return lines


@dataclass(frozen=True)
class Comparison:
    """Two files of maps, or two sets of frames, that were compared.

    Attributes
    ----------
    maps : list of MapComparison
        The maps that both have, by their Ids; those of the same Id in the order of the file.
    only_a, only_b : list of str
        The Ids of the maps that one of them has alone.
    rtol, atol : float
        Which differences did not count.
    """

    maps: list[MapComparison] = field(default_factory=list)
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    rtol: float = 0.0
    atol: float = 0.0

    @property
    def same(self) -> bool:
        """Whether both have the same maps, within the tolerance."""
        return not (self.only_a or self.only_b) and all(one.same for one in self.maps)

    @property
    def identical(self) -> bool:
        """Whether both have the same maps, to the bit."""
        return self.same and all(one.identical for one in self.maps)

    def lines(self) -> list[str]:
        """The report, in at most 80 columns but for long Ids and names."""
        lines: list[str] = []
        alike: Counter[str] = Counter()  # sign flips of a coadd after the first
        for one in self.maps:
            flip = Realisation.named(one.frame_id)
            kind = f"of {flip.base}: {one.outcome}" if flip else ""
            if not kind or not alike[kind]:
                lines += one.lines()
            alike[kind] += 1
        lines += [f"{n - 1} more sign flips {kind}" for kind, n in alike.items() if kind and n > 1]
        for name, alone in (("A", self.only_a), ("B", self.only_b)):
            if alone:
                lines += _wrapped(f"only in {name}: {_listed(alone)}", "")
        return lines

    def as_data(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "same": self.same,
            "identical": self.identical,
            "rtol": self.rtol,
            "atol": self.atol,
            "maps": [_map_as_data(one) for one in self.maps],
            "only_a": self.only_a,
            "only_b": self.only_b,
        }


def _attributes(differences: tuple[Difference, ...]) -> list[str]:
    """A line for each difference, with all planes that have it."""
    planes: dict[tuple[str, str, str], list[str]] = {}
    for one in differences:
        planes.setdefault((one.attribute, one.mine, one.theirs), []).append(one.plane)
    lines = []
    for (attribute, mine, theirs), names in planes.items():
        whose = f"{', '.join(filter(None, names))}: " if any(names) else ""
        lines += _wrapped(f"{whose}{attribute} is {mine} in A, {theirs} in B")
    return lines


def _listed(ids: list[str]) -> str:
    """Maps by their Ids, all sign flips of a coadd as one; of many, the first few."""
    named = [one or "without an Id" for one in ids if Realisation.named(one) is None]
    flips = Counter(flip.base for flip in map(Realisation.named, ids) if flip)
    named += [f"{n} sign flip{'s' if n > 1 else ''} of {base}" for base, n in flips.items()]
    more = [f"and {len(named) - _SHOWN} more"] if len(named) > _SHOWN else []
    return ", ".join([*named[:_SHOWN], *more])


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return wrapped(text, indent, f"{indent}  ")


def _map_as_data(one: MapComparison) -> dict[str, Any]:
    return {
        "id": one.frame_id,
        "same": one.same,
        "identical": one.identical,
        "attributes": [difference._asdict() for difference in one.attributes],
        "planes": [_plane_as_data(plane) for plane in one.planes],
        "ledger": list(one.ledger),
    }


def _plane_as_data(one: PlaneComparison) -> dict[str, Any]:
    return {
        "plane": one.plane,
        "identical": one.identical,
        "pixels": one.n_pixels,
        "different": one.n_different,
        "only_a": one.only_a,
        "only_b": one.only_b,
        "not_finite": one.not_finite,
        "absolute": one.absolute._asdict() if one.absolute else None,
        "relative": one.relative._asdict() if one.relative else None,
    }
