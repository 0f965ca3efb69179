"""The rule that says to which coadds a map frame belongs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from ..errors import InputError, UsageError
from ..maps.flips import Signs as FlipSigns
from ..pipeline.units import Unit, unit_of
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from .growing import Growth

logger = unit_logger(__name__, "MPIMapCoadder")

Assign: TypeAlias = "Callable[[Frame], Mapping[str, int] | None]"


# By name, the coadds to which a frame belongs, and its sign in each. None if there are none, False
# if it is also to be dropped from the pipeline.
Signs: TypeAlias = "Mapping[str, int] | Literal[False] | None"

# A warning lists so many Ids.
_SHOWN = 10

# What it advises.
_OF_ONE = "Say collate=True for a coadd of each, or name in map_ids those that you want in one."
_OF_SPLITS = (
    'For coadds of each say splits.by("id") * splitting, or --collate; or name in the rules those '
    "that you want in one: id=95GHz | id=150GHz."
)


class Plan(Protocol):
    """An `assign` function that knows all maps of the input; see `g3reduce.splits.Plan`."""

    names: list[str]
    base_of: dict[str, str]

    def __call__(self, frame: Frame) -> Mapping[str, int] | None:
        """The coadds to which a frame goes, and its sign in each."""
        ...

    def bases_of(self, unit: Unit) -> Mapping[str, FlipSigns]:
        """The coadds without flips to which a map goes, and its signs in their realisations."""
        ...

    def record_of(self, name: str) -> Mapping[str, str]:
        """What is to be recorded of a coadd."""
        ...

    def takes_any_id(self, name: str) -> bool:
        """Whether maps go to a coadd, which is no realisation, without regard to their Ids."""
        ...


@dataclass
class Membership:
    """The rule by which frames are shared out to coadds.

    Attributes
    ----------
    map_ids : list of str or None
        Ids of maps to include; None for all.
    output_map_id : str
        Id of the coadd, or with `collate` a prefix to the input's Id.
    collate : bool
        Whether maps of each Id are coadded separately.
    assign : callable or None
        Says of each frame which coadds it goes to, with which sign, in place of the others.
    mixed : set of (str, str)
        Coadds whose Ids nobody chose, by name, each with the Ids of the maps that went to it.
    growth : Growth or None
        If these coadds are to be added to others that there are.
    plan : Plan or None
        If `assign` is a splitting, what was planned by it. Then this says where frames go.
    text : str
        What that plan is, in words: checkpoints are known by it.
    flips_at_once : bool
        Whether the sign-flip realisations of the plan are summed beside the coadds that they are
        of, and not as coadds of their own.
    records : dict of str to mapping
        What a splitting without a plan records of coadds: once joined, those of all ranks.
    """

    map_ids: list[str] | None
    output_map_id: str
    collate: bool
    assign: Assign | None
    mixed: set[tuple[str, str]] = field(default_factory=set)
    growth: Growth | None = None
    plan: Plan | None = None
    text: str = ""
    flips_at_once: bool = False
    records: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A splitting is data; what learns from the frames that come is made anew for each coadder.
        new = getattr(self.assign, "assigner", None)
        if new is not None:
            assigner = new()
            self.assign, self.records = assigner, assigner.records
        if hasattr(self.assign, "bases_of"):  # a plan: it has records, too
            plan: Any = self.assign
            self.plan = plan

    def observe(self, frame: Frame) -> None:
        """Let `assign` learn from a frame of any type about the maps after it, if it does so."""
        observe = getattr(self.assign, "observe", None)
        if observe is not None:
            observe(frame)

    @property
    def several(self) -> bool:
        """Whether there may be several coadds."""
        return bool(self.collate) or self.assign is not None

    def check(self) -> None:
        """Refuse rules that cannot be, or that contradict each other.

        Raises
        ------
        UsageError
        """
        if not isinstance(self.output_map_id, str):
            raise UsageError(f"output_map_id is {self.output_map_id!r}; expected a string.")
        if self.assign is None:
            return
        if not callable(self.assign):
            raise UsageError(f"assign is {self.assign!r}; expected a function of a frame, or None.")
        if self.collate or self.map_ids is not None:
            raise UsageError(
                "assign says which coadd a frame goes to, and so do map_ids and collate: "
                "give one or the other."
            )

    def require_one(self, instead: str) -> None:
        """Refuse to speak of the coadd where there may be several.

        Parameters
        ----------
        instead : str
            The attribute to be used.

        Raises
        ------
        UsageError
        """
        if self.several:
            raise UsageError(
                f"There may be several coadds: use .{instead}, which has each by its Id."
            )

    def signs_of(
        self, frame: Frame, get_map_id: Callable[[Frame], Any], describe: Callable[[Frame], str]
    ) -> Signs:
        """The coadds to which a frame belongs, and its sign in each.

        Parameters
        ----------
        frame : G3Frame or StoredFrame
        get_map_id : callable
            Returns the Id under which a frame counts. It is called once or, with `assign`, not at
            all.
        describe : callable
            Returns how messages name a frame.

        Raises
        ------
        InputError, UsageError
            If `get_map_id` or `assign` returned what cannot be used.
        """
        growth = self.growth
        if growth is not None and growth.is_base(frame):
            return {self.name_of(frame["Id"]) or "": 1}
        signs = self._signs_of(frame, get_map_id, describe)
        if growth is not None and signs:
            return growth.names_of(frame, signs, self.frame_id, describe(frame))
        return signs

    def _signs_of(
        self, frame: Frame, get_map_id: Callable[[Frame], Any], describe: Callable[[Frame], str]
    ) -> Signs:
        if self.plan is not None and self.flips_at_once:
            all_signs = self.plan(frame) or {}
            signs = {name: all_signs[name] for name in self.flips_of(frame)}
            self._note_id(frame, signs)
            return signs or None
        if self.assign is not None:
            checked = _checked((self.plan or self.assign)(frame), frame, describe)
            self._note_id(frame, checked or {})
            return checked
        found = get_map_id(frame)
        if found is None or found is False:
            return found
        if not isinstance(found, str):
            raise InputError(
                f"{describe(frame)}: get_map_id() returned {found!r} ({type(found).__name__}); "
                "expected a string, None for a frame that is not to be coadded, or False for one "
                "that is to be dropped, too."
            )
        if self.map_ids is not None and found not in self.map_ids:
            return None
        if self.collate:
            return {found: 1}
        if self.map_ids is None:
            self.mixed.add((self.output_map_id, found))
        return {self.output_map_id: 1}

    def _note_id(self, frame: Frame, names: Iterable[str]) -> None:
        """Note the Id of a frame for those of its coadds for which a splitting chose none."""
        takes_any_id = getattr(self.plan or self.assign, "takes_any_id", None)
        mixed = [name for name in names if takes_any_id(name)] if takes_any_id else []
        if mixed:
            map_id = frame.get("Id", None)
            self.mixed.update((name, map_id if isinstance(map_id, str) else "") for name in mixed)

    def flips_of(self, frame: Frame) -> Mapping[str, FlipSigns]:
        """The coadds of a frame, and its signs in the realisations that are summed beside each."""
        unit = unit_of(frame)
        is_base = self.growth is not None and self.growth.is_base(frame)
        if self.plan is None or not self.flips_at_once or unit is None or is_base:
            return {}
        return self.plan.bases_of(unit)

    def flips_beside(self, name: str) -> list[str]:
        """The realisations that are summed beside a coadd."""
        if self.plan is None or not self.flips_at_once:
            return []
        return [flip for flip, base in self.plan.base_of.items() if base == name]

    def record_of(self, name: str) -> Mapping[str, str]:
        """What is to be recorded of a coadd."""
        found = self.plan.record_of(name) if self.plan else self.records.get(name, {})
        return found or (self.growth.record_of(self.frame_id(name)) if self.growth else {})

    def frame_id(self, name: str) -> str:
        """The Id of the frame that a coadd becomes."""
        return self.output_map_id + name if self.collate else name

    def name_of(self, frame_id: str) -> str | None:
        """The name of the coadd that becomes a frame with this Id; None if there is none."""
        if self.collate:
            begins = frame_id.startswith(self.output_map_id)
            return frame_id.removeprefix(self.output_map_id) if begins else None
        return frame_id if self.assign or frame_id == self.output_map_id else None

    def warn_of_mixed_ids(self, mixed: Iterable[tuple[str, str]]) -> None:
        """Warn if maps of several Ids, on all ranks together, went into one coadd unasked."""
        ids_of: dict[str, set[str]] = defaultdict(set)
        for name, map_id in mixed:
            ids_of[name].add(map_id)
        names = sorted(name for name, ids in ids_of.items() if len(ids) > 1)
        if not names:
            return
        ids = sorted({one for name in names for one in ids_of[name]})
        shown = ", ".join(map(repr, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
        one_of = f" (one of {len(names)} such coadds)" if len(names) > 1 else ""
        logger.warning(
            "Maps of %d Ids (%s) went into one coadd, %r%s. %s",
            *(len(ids), shown, names[0], one_of, _OF_SPLITS if self.assign else _OF_ONE),
        )


def _checked(signs: Any, frame: Frame, describe: Callable[[Frame], str]) -> Signs:
    """Check what `assign` returned for a frame, and return it."""
    if signs is None:
        return None
    if not isinstance(signs, Mapping) or any(
        not isinstance(name, str) or sign not in (1, -1) for name, sign in signs.items()
    ):
        raise UsageError(
            f"assign() returned {signs!r} for {describe(frame)}; expected a dictionary of output "
            "Ids and signs, +1 or -1, or None."
        )
    return signs or None


def as_list_of_ids(map_ids: str | Sequence[str] | Set[str] | None) -> list[str] | None:
    """A list of Ids, in an order that is the same on all ranks, from what a user may give.

    Raises
    ------
    UsageError
        If this names no Ids, or one of them twice.
    """
    if map_ids is None:
        return None
    expected = "expected an Id, or a list of Ids, each once, or None for all."
    if not isinstance(map_ids, Iterable) or isinstance(map_ids, bytes | Mapping):
        raise UsageError(f"map_ids is {map_ids!r}; {expected}")
    ids = [map_ids] if isinstance(map_ids, str) else list(map_ids)
    if not ids or not all(isinstance(one, str) for one in ids) or len({*ids}) < len(ids):
        raise UsageError(f"map_ids is {ids!r}; {expected}")
    return sorted(ids) if isinstance(map_ids, Set) else ids
