"""Map frames on their way into the coadds of one rank: taken, then added.

A frame is taken when it comes: its coadds are chosen, its maps are checked, and it is counted. The
pixels are added afterwards, those of several frames together, because that is faster.
"""

from __future__ import annotations

import collections
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import numpy as np

from ..errors import InputError, UsageError, about_file
from ..g3files.archive import DENSE
from ..g3files.runs import RunLayout
from ..maps import mapframe
from ..maps.agreement import Parts
from ..maps.mapfile import planes_of
from ..maps.mapframe import MapFrame
from ..maps.mapsum import MapSum
from ..maps.storedframe import verified_on_error, verify
from ..maps.sumstate import SumState
from ..mpi import communicators
from ..mpi.agreement import describe_rank
from ..pipeline.ledger import Entry, Ledger, unit_of
from ..pipeline.overlap import Index
from ..spt3gtypes import Frame
from .exactinput import ExactInput, require_same_maps
from .joining import Coadd
from .provenance import Provenance
from .settings import Settings

logger = logging.getLogger(__name__)


class Pending(NamedTuple):
    """A Map frame that is to be added to some sums.

    Attributes
    ----------
    frame : G3Frame or StoredFrame
        The frame itself.
    maps : MapFrame
        Its maps, as they are to be added.
    targets : sequence of (MapSum, int)
        The sums, and the sign of the frame in each: with -1 its T, Q and U are subtracted. Weights
        and hits are always added.
    state : SumState or None
        The exact sum that is added in place of the maps.
    """

    frame: Frame
    maps: MapFrame
    targets: Sequence[tuple[MapSum, int]]
    state: SumState | None = None

    @property
    def in_file(self) -> bool:
        """Whether the pixels stay in a file until they are added."""
        return not self.state and all(plane.in_file for plane in self.maps.planes.values())

    @property
    def small(self) -> bool:
        """Whether the frame is so small that many of them can be held."""
        return not self.state and bool(getattr(self.frame, "small", False))

    def announce(self) -> None:
        """Make the sums ready for the frame: everything but its pixels goes into them.

        Raises
        ------
        InputError, MismatchError
            Before anything is changed, if the frame does not agree with those of any sum.
        """
        for total, _ in self.targets:
            if self.state:
                total.require_addable(self.state.summary)
            else:
                total.check(self.maps)
        for total, sign in () if self.state else self.targets:
            total.note(self.maps, sign)

    def add_state(self) -> None:
        """Add the exact sum, with all that goes with it."""
        if self.state is None:
            return
        added = self.state.load()
        require_same_maps(added, self.maps)
        for total, sign in self.targets:
            subtracts = [name for name in self.maps.planes if self.maps.subtracts(name, sign)]
            total.absorb(added, subtracts=subtracts)


class Intake:
    """The coadds of one rank, and all that happens to a frame until it is in them.

    Parameters
    ----------
    comm : communicator
    settings : Settings
    in_maps : bool
        As in `MapSum`.

    Attributes
    ----------
    coadds : dict of str to Coadd
        By name.
    """

    def __init__(self, comm: communicators.Comm, settings: Settings, *, in_maps: bool):
        self.coadds: dict[str, Coadd] = {}
        self._members = settings.members
        self._provenance = Provenance(settings.record_obs_id, settings.metadata_lasts)
        self._once = settings.once
        self._counted = Index()
        self._how_to_read: Any = {
            "weighted": settings.weighted,
            "pol_conv": settings.pol_conv,
            "nonfinite": settings.nonfinite,
        }
        self._how_to_sum: Any = {
            "require_weights": not settings.ignore_missing_weights,
            "in_maps": in_maps,
            "exactness": settings.exactness,
        }
        self._exact_input = ExactInput() if settings.exactness else None
        self._warns = not settings.ignore_missing_weights
        self._rank = describe_rank(comm)
        self._not_added: list[Pending] = []
        self._half_added = ""  # frames of which a part may be in the sums

    @property
    def obs_id(self) -> str | Literal[False] | None:
        """The observation of the latest frame, as spt3g's ``CoaddMaps.obs_id`` has it."""
        return self._provenance.observation

    def observe(self, frame: Frame) -> None:
        """Learn from a frame of any type to which observation the maps after it belong."""
        self._provenance.observe(frame)

    def complete_provenance(self, comm: communicators.Comm) -> None:
        """Learn from other ranks what files that these have read say of its own. Collective."""
        self._provenance.complete(comm, (coadd.ledger for coadd in self.coadds.values()))

    def take(
        self, frame: Frame, get_map_id: Callable[[Frame], Any]
    ) -> Pending | Literal[False] | None:
        """Count a Map frame that `add` is to add.

        Parameters
        ----------
        frame : G3Frame or StoredFrame
        get_map_id : callable
            Returns the Id under which a frame counts; called once, if at all.

        Returns
        -------
        Pending, None or False
            None if it belongs to no coadd, False if it is also to be dropped from the pipeline.

        Raises
        ------
        InputError, MismatchError, DuplicateError, UsageError
            If it cannot be added. Then it is in no coadd.
        """
        self._require_whole_frames()
        # A mismatch may come from a broken frame before: then this is what is reported.
        with verified_on_error(*(pending.frame for pending in self._not_added), frame):
            pending = self._prepared(frame, get_map_id)
        if not pending:
            verify(frame)
        return pending

    def add(self, taken: Sequence[Pending]) -> None:
        """Add frames that were taken.

        If that fails, by a checksum that is found to be wrong for example, a part of them may be in
        the sums. So these are not to be used any more.
        """
        self._require_whole_frames()
        frames = [pending.frame for pending in taken]
        # Until all is done, whatever ends it: an interrupt by the user, too.
        self._half_added = ", ".join(pending.maps.where for pending in taken)
        with verified_on_error(*frames):
            add_pixels([one for one in taken if not one.state])
            for one in taken:
                one.add_state()
        verify(*frames)
        self._half_added = ""
        added = set(map(id, frames))
        self._not_added = [one for one in self._not_added if id(one.frame) not in added]

    def take_up(self, name: str, earlier: Coadd) -> None:
        """Add a coadd that was summed before, and count all that is in it.

        Raises
        ------
        MismatchError, InputError
            If its frames do not agree with those that are there.
        """
        if name not in self.coadds:
            empty = earlier.total.emptied(**self._how_to_sum)
            self.coadds[name] = Coadd(self._members.frame_id(name), empty, Ledger())
        self.coadds[name].total.absorb(earlier.total)
        for entry in earlier.ledger.entries:
            self.coadds[name].ledger.record(entry)
            if self._once:
                self._counted.add(entry)

    def require_all_added(self) -> None:
        """Refuse sums that lack a frame which they count, or a part of it.

        Raises
        ------
        UsageError
        """
        self._require_whole_frames()
        if self._not_added:
            raise UsageError(
                f"{self.describe(self._not_added[0].frame)}: this was taken, but not added, so the "
                "coadds would lack it. Was the coadder interrupted? Make a new one."
            )

    def describe(self, frame: Frame, entry: Entry | None = None) -> str:
        """The name of a frame in messages."""
        unit = entry.unit if entry else unit_of(frame)
        where = str(unit) if unit else "a frame made in the pipeline"
        return f"{where} (Id {frame.get('Id', None)!r}){self._rank}"

    def _require_whole_frames(self) -> None:
        if self._half_added:
            raise UsageError(
                f"{self._half_added}: an error came while this was added, so a part of it is in "
                "the coadds. They cannot be used any more: make a new coadder, and leave out what "
                "is broken."
            )

    def _prepared(
        self, frame: Frame, get_map_id: Callable[[Frame], Any]
    ) -> Pending | Literal[False] | None:
        """Make the coadds to which a frame belongs ready for it, and count it."""
        signs = self._members.signs_of(frame, get_map_id, self.describe)
        if signs is None or signs is False:
            return signs
        entry = self._provenance.entry_of(frame)
        where = self.describe(frame, entry)
        if self._once and self._counted.find(entry):  # in some coadd
            for name in signs:
                if name in self.coadds:
                    self.coadds[name].ledger.refuse_duplicate(entry)
        planes = planes_of(frame, where)
        maps = mapframe.read(planes, where, **self._how_to_read)
        self._warn_of_missing_weights(maps)
        state = self._exact_input.state_of(frame, maps) if self._exact_input else None
        parts = (state.summary if state else maps.kind).parts
        coadds = {
            name: self.coadds.get(name) or self._new_coadd(name, maps, parts) for name in signs
        }
        targets = [(coadds[name].total, signs[name]) for name in signs]
        pending = Pending(frame, maps, targets, state)
        self._not_added.append(pending)  # from here on it counts, whatever comes
        try:
            pending.announce()
        except InputError:  # before anything was changed
            self._not_added.pop()
            raise
        for coadd in coadds.values():
            coadd.ledger.record(entry)
        self.coadds |= coadds
        if self._once:
            self._counted.add(entry)
        return pending

    def _new_coadd(self, name: str, maps: MapFrame, parts: Parts) -> Coadd:
        total = MapSum.of(maps, parts, **self._how_to_sum)
        return Coadd(self._members.frame_id(name), total, Ledger())

    def _warn_of_missing_weights(self, maps: MapFrame) -> None:
        if self._warns and maps.kind.lacks_weights:
            self._warns = False  # once: there may be thousands of them
            logger.warning("%s: the maps are weighted, but have no weights.", maps.where)


def add_pixels(frames: Sequence[Pending]) -> None:
    """Add the pixels of frames to the sums that are ready for them; each is read once.

    Frames are added side by side, chunk by chunk, so that a part of the sum stays in the cache.
    Each pixel gets the frames in their order.
    """
    _make_room(frames)
    # Small frames stay in the cache as a whole.
    together = len({(one.small, tuple(one.maps.planes)) for one in frames}) == 1
    together = together and not frames[0].small
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
        if together and len(frames) > 1:
            _add_side_by_side(frames)
            return
        for pending in frames:
            for name in pending.maps.planes:
                collections.deque(_add_by_chunks(pending, name), maxlen=0)


def _add_side_by_side(frames: Sequence[Pending]) -> None:
    _cut_alike(frames)
    for name in frames[0].maps.planes:
        adding = [_add_by_chunks(pending, name) for pending in frames]
        planes = [pending.maps.planes[name] for pending in frames]
        ends = [plane.chunk_ends or () for plane in planes]
        if len({plane.storage for plane in planes}) == 1 and all(ends):
            side_by_side(adding, ends)
        else:
            for one in adding:
                collections.deque(one, maxlen=0)


def _cut_alike(frames: Sequence[Pending]) -> None:
    """Let sparse maps of several frames be read in parts that belong to the same lines."""
    done = set()
    for name, plane in frames[0].maps.planes.items():
        for pending in frames[1:]:
            layout = pending.maps.planes[name].layout
            if plane.layout and layout and layout is not plane.layout and id(layout) not in done:
                layout.cut_like(plane.layout)
                done.add(id(layout))  # of all maps of a frame it may be the same


def side_by_side(adding: Sequence[Iterator[Any]], ends: Sequence[Sequence[int]]) -> None:
    """Exhaust iterators in turn, none of which may get ahead of those before it.

    Parameters
    ----------
    adding : sequence of iterator
    ends : sequence of sequence of int
        Where the items of each end, in rising order. An item is taken once all iterators before
        have come to its end.
    """
    reached = [0] * len(adding)
    taken = [0] * len(adding)
    while taken[-1] < len(ends[-1]):
        limit = ends[0][taken[0]] if taken[0] < len(ends[0]) else math.inf
        for number, one in enumerate(adding):
            mine = ends[number]
            while taken[number] < len(mine) and mine[taken[number]] <= limit:
                next(one, None)
                reached[number] = mine[taken[number]]
                taken[number] += 1
            if taken[number] < len(mine):
                limit = min(limit, reached[number])
    for one in adding:
        collections.deque(one, maxlen=0)


def _make_room(frames: Sequence[Pending]) -> None:
    """Make room for all runs at once, if there are no dense maps, which need all pixels."""
    planes = [plane for pending in frames for plane in pending.maps.planes.values()]
    if any(plane.storage == DENSE for plane in planes):
        return
    expected: dict[MapSum, list[RunLayout]] = {}
    for pending in frames:
        layouts = dict.fromkeys(plane.layout for plane in pending.maps.planes.values())
        for total, _ in pending.targets:
            expected.setdefault(total, []).extend(one for one in layouts if one is not None)
    for total, coming in expected.items():
        total.expect(coming)


def _add_by_chunks(pending: Pending, name: str) -> Iterator[bool]:
    """Add a plane; True after each chunk."""
    maps, targets = pending.maps, pending.targets
    subtracts = {sign: maps.subtracts(name, sign) for sign in (1, -1)}
    try:
        chunks = maps.planes[name].chunks()
    except InputError as error:  # of a map in memory: it does not name a file
        raise InputError(f"{maps.where}: {name} is not a valid map ({error}).") from error
    unit = unit_of(pending.frame)
    with about_file(unit.file) if unit else nullcontext():
        for chunk in chunks:
            for total, sign in targets:
                total.add_chunk(name, chunk, subtract=subtracts[sign], where=maps.where)
            yield True
