"""Coadds that do not fit in memory at once, shared out to several passes over the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..errors import UsageError
from ..g3files.frames import Fingerprint
from ..g3files.names import SUFFIXES
from ..maps.flips import Signs, n_staged
from ..pipeline.units import Unit
from ..progress.wording import in_words
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame

if TYPE_CHECKING:  # else it is loaded where there is a splitting only: each file costs at start-up
    from ..splits import Plan

logger = unit_logger(__name__, "coadd_files")

# Footprints of maps differ: a sum is larger than any of its maps.
_UNION = 1.25


class MapSize(NamedTuple):
    """How large a map frame is.

    Attributes
    ----------
    pixels : int
        In each of its planes.
    n_planes, n_stokes : int
        How many planes there are, and how many of them are T, Q or U.
    whole : int
        All pixels of the geometry.
    fingerprint : Fingerprint or None
        Of the frame: plans may know maps by this alone.
    """

    pixels: int
    n_planes: int
    n_stokes: int
    whole: int
    fingerprint: Fingerprint | None = None


class BasesAndFlips(Protocol):
    """What costs need to know of a plan; see `g3reduce.splits.Plan`."""

    base_of: dict[str, str]

    def bases_of(self, unit: Unit) -> Mapping[str, Signs]:
        """The coadds without flips to which a map goes, and its signs in their realisations."""
        ...


class Cost(NamedTuple):
    """The memory that a coadd takes on each rank.

    Attributes
    ----------
    name : str
    own, each : int
        Bytes of the coadd, and of each realisation.
    flips : tuple of str
        The names of its realisations.
    """

    name: str
    own: int
    each: int
    flips: tuple[str, ...]

    @property
    def whole(self) -> int:
        """Bytes of all."""
        return self.own + self.each * len(self.flips)


class Part(NamedTuple):
    """What is summed in one pass.

    Attributes
    ----------
    names : frozenset of str
        The coadds and realisations that it makes.
    bases : frozenset of str
        Coadds that are summed because realisations of them are: others may have made them.
    """

    names: frozenset[str]
    bases: frozenset[str]


def is_splitting(assign: object) -> bool:
    """Whether it is a splitting, or the plan of one."""
    if assign is None:
        return False
    from ..splits import Plan, Splitting

    return isinstance(assign, Splitting | Plan)


def one_pass_for(
    assign: object, output: object, result: str, checkpoint: object, add_to: object
) -> str:
    """Why coadds cannot be made in several passes; empty if they can."""
    if not is_splitting(assign):
        return "is of use with a splitting as assign only"
    if output is not None and not str(output).endswith(SUFFIXES):
        return "takes a .g3 file as output: `g3reduce convert` makes another one of it afterwards"
    if result == "sharded":
        return 'cannot be used with result="sharded"'
    if checkpoint is not None:
        return "cannot be used with checkpoint="
    return "cannot be used with add_to" if add_to is not None else ""


def check_passes(passes: object, in_one: str) -> None:
    """Refuse a number of passes that cannot be; `in_one` is why there must be one only.

    Raises
    ------
    UsageError
    """
    is_number = isinstance(passes, int) and not isinstance(passes, bool) and passes > 0
    if passes is not None and passes != "auto" and not is_number:
        raise UsageError(f'passes is {passes!r}; expected a number, "auto", or None.')
    if passes not in (None, 1) and in_one:
        raise UsageError(f"passes={passes!r} {in_one}.")


def costs_of(
    plan: BasesAndFlips, sizes: Mapping[tuple[str, int], MapSize], *, limbs: int, at_once: bool
) -> list[Cost]:
    """The memory that each coadd of a plan takes on each rank, with its realisations.

    Parameters
    ----------
    plan : Plan
    sizes : dict of (file, frame) to MapSize
    limbs : int
        How many numbers a sum has for each pixel.
    at_once : bool
        Whether realisations have sums of T, Q and U only.
    """
    largest: dict[str, MapSize] = {}
    for (file, frame), size in sizes.items():
        for name in plan.bases_of(Unit(file, frame, fingerprint=size.fingerprint)):
            if name not in largest or size.pixels > largest[name].pixels:
                largest[name] = size
    flips: dict[str, list[str]] = {name: [] for name in largest}
    for flip, base in plan.base_of.items():
        if base in flips:
            flips[base].append(flip)
    costs = []
    for name, size in largest.items():
        n_bytes = 8 * limbs * min(int(_UNION * size.pixels), size.whole)
        own = each = size.n_planes * n_bytes
        if at_once:
            each = size.n_stokes * n_bytes
            own += each * n_staged(len(flips[name])) if flips[name] else 0
        costs.append(Cost(name, own, each, tuple(flips[name])))
    return costs


def divided(
    costs: Sequence[Cost], available: int | None, passes: int | str | None, *, at_once: bool
) -> list[Part]:
    """The passes in which coadds are made.

    Parameters
    ----------
    costs : list of Cost
    available : int or None
        Bytes of memory for each rank; None if that is not known.
    passes : int, "auto" or None
        How many; as many as needed; or one, which is refused if it does not fit.
    at_once : bool
        As in `costs_of`.

    Raises
    ------
    UsageError
    """
    needed = sum(cost.whole for cost in costs)
    n_coadds = sum(1 + len(cost.flips) for cost in costs)
    what = f"{n_coadds} coadds take about {in_words(needed)} of memory on each rank"
    if isinstance(passes, int):
        parts = _of_number(costs, passes, at_once=at_once)
    elif available is None or needed <= available:
        return _within(costs, needed, at_once=at_once)
    else:
        parts = _within(costs, available, at_once=at_once)
        least = max(sum(cost.own for cost in costs if cost.name in part.bases) for part in parts)
        there = f"and {in_words(available)} are available for each"
        if passes is None or least > available:
            how = (
                ""
                if least > available
                else (f', or say passes="auto", by which the files are read {len(parts)} times')
            )
            raise UsageError(
                f"{what}, {there}: ask for fewer realisations or splits, take more nodes or fewer "
                f"ranks on each{how}."
            )
        what = f"{what}, {there}"
    if len(parts) > 1:
        logger.warning("%s: they are made in %d passes over the files.", what, len(parts))
    return parts


def _within(costs: Sequence[Cost], room: int, *, at_once: bool) -> list[Part]:
    """As few passes as take at most this memory each, if what is least does."""
    parts: list[tuple[set[str], set[str]]] = []
    left = 0
    for cost in costs:
        if not parts or cost.own > left:
            parts.append((set(), set()))
            left = room
        left -= cost.own
        parts[-1][0].add(cost.name)
        parts[-1][1].add(cost.name)
        for flip in cost.flips:
            if cost.each > left:
                parts.append((set(), {cost.name} if at_once else set()))
                left = room - (cost.own if at_once else 0)
            left -= cost.each
            parts[-1][0].add(flip)
    return [Part(frozenset(names), frozenset(bases)) for names, bases in parts]


def _of_number(costs: Sequence[Cost], passes: int, *, at_once: bool) -> list[Part]:
    """So many passes, about as large as each other; or fewer, if there are fewer coadds."""
    room = max(1, sum(cost.whole for cost in costs) // passes)
    while len(parts := _within(costs, room, at_once=at_once)) > passes:
        room += room // 20 + 1
    return parts


class PlanOfPart:
    """A plan of which only some coadds are made; see `Plan`."""

    def __init__(self, plan: Plan, part: Part):
        self._plan = plan
        self.part = part
        self.names = [name for name in plan.names if name in part.names | part.bases]
        self.base_of = {name: base for name, base in plan.base_of.items() if name in part.names}
        numbers: dict[str, list[int]] = {}
        counts: dict[str, int] = {}
        for name, base in plan.base_of.items():
            number = counts[base] = counts.get(base, -1) + 1
            if name in part.names:
                numbers.setdefault(base, []).append(number)
        self._numbers = numbers

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes, and its sign in each."""
        found, wanted = self._plan(frame) or {}, self.part.names | self.part.bases
        return {name: sign for name, sign in found.items() if name in wanted} or None

    def bases_of(self, unit: Unit) -> Mapping[str, Signs]:
        """The coadds without flips to which a map goes, and its signs in their realisations."""
        return {
            name: signs[self._numbers.get(name, [])]
            for name, signs in self._plan.bases_of(unit).items()
            if name in self.part.bases
        }

    def record_of(self, name: str) -> Mapping[str, str]:
        """What is to be recorded of a coadd."""
        return self._plan.record_of(name)

    def takes_any_id(self, name: str) -> bool:
        """Whether maps go to a coadd, which is no realisation, without regard to their Ids."""
        return self._plan.takes_any_id(name)
