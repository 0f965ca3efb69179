"""Adding frames that were taken: their pixels go into the sums, those of several side by side."""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..g3files.archive import DENSE
from ..g3files.maps import STOKES
from ..g3files.runs import RunLayout
from ..maps.chunks import Chunk
from ..maps.contribution import Contribution
from ..maps.flips import SignFlips, Signs
from ..maps.mapframe import MapFrame
from ..maps.mapsum import MapSum
from ..maps.sumstate import SumState
from ..pipeline.ledger import Entry, Ledger, unit_of
from ..spt3gtypes import Frame
from .exactinput import require_same_maps


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
    contribution : Contribution
        What it adds to the pixels hit and to the weights, which is known once it was added.
    listed : list of (Ledger, int)
        The ledgers that are to note this, and the number of its entry in each.
    flips : list of (MapSum, int8 array)
        The sums among the targets that have sign-flip realisations, and its sign in each of these.
    """

    frame: Frame
    maps: MapFrame
    targets: Sequence[tuple[MapSum, int]]
    state: SumState | None = None
    contribution: Contribution | None = None
    listed: Sequence[tuple[Ledger, int]] = ()
    flips: Sequence[tuple[MapSum, Signs]] = ()

    @property
    def in_file(self) -> bool:
        """Whether the pixels stay in a file until they are added."""
        return not self.state and all(plane.in_file for plane in self.maps.planes.values())

    @property
    def small(self) -> bool:
        """Whether the frame is so small that many of them can be held."""
        return not self.state and bool(getattr(self.frame, "small", False))

    def note_contribution(self) -> None:
        """Note in the ledgers what the frame has contributed, once it was added."""
        if self.contribution is not None and self.listed:
            pixels, weight = self.contribution.total()
            noted: dict[int, tuple[Entry, Entry]] = {}  # ledgers go on sharing their entries

            def contributed(entry: Entry) -> Entry:
                if id(entry) not in noted:
                    noted[id(entry)] = entry, entry._replace(pixels=pixels, weight=weight)
                return noted[id(entry)][1]

            for ledger, number in self.listed:
                ledger.note(number, contributed)

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
        flips = {id(total): signs for total, signs in self.flips}
        for total, sign in () if self.state else self.targets:
            total.note(self.maps, sign, flips.get(id(total)))

    def add_state(self) -> None:
        """Add the exact sum, with all that goes with it."""
        if self.state is None:
            return
        added = self.state.load()
        require_same_maps(added, self.maps)
        for total, sign in self.targets:
            subtracts = [name for name in self.maps.planes if self.maps.subtracts(name, sign)]
            total.absorb(added, subtracts=subtracts)


def add_pixels(frames: Sequence[Pending]) -> None:
    """Add the pixels of frames to the sums that are ready for them; each is read once.

    Frames are added side by side, chunk by chunk, so that a part of the sum stays in the cache.
    Each pixel gets the frames in their order.
    """
    _make_room(frames)
    staging = Staging(frames)
    # Small frames stay in the cache as a whole.
    together = len({(one.small, tuple(one.maps.planes)) for one in frames}) == 1
    together = together and not frames[0].small
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
        if together and len(frames) > 1:
            _add_side_by_side(frames, staging)
            return
        for pending in frames:
            for name in pending.maps.planes:
                collections.deque(_add_by_chunks(pending, name, staging), maxlen=0)


class Staging:
    """Where frames are staged for sign-flip realisations, while they are added to the sums."""

    def __init__(self, frames: Sequence[Pending]):
        self._of: dict[int, list[tuple[MapSum, SignFlips, int]]] = {}
        counts = collections.Counter(id(total) for one in frames for total, _ in one.flips)
        for pending in frames:
            for total, signs in pending.flips:
                if (flips := total.sums.flips) is None:
                    continue
                if n_frames := counts.pop(id(total), 0):
                    flips.reserve(total.blocks, n_frames)
                place = total, flips, flips.place(signs)
                self._of.setdefault(id(pending.maps), []).append(place)

    def stage(self, maps: MapFrame, name: str, chunk: Chunk) -> None:
        """Stage pixels of a frame which were just added to the sums."""
        if name in STOKES:
            for total, flips, place in self._of.get(id(maps), ()):
                subtract = maps.subtracts(name, 1)
                total.sums.stage_chunk(flips, place, name, chunk, subtract=subtract)


def _add_side_by_side(frames: Sequence[Pending], staging: Staging) -> None:
    _cut_alike(frames)
    for name in frames[0].maps.planes:
        adding = [_add_by_chunks(pending, name, staging) for pending in frames]
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


def _add_by_chunks(pending: Pending, name: str, staging: Staging) -> Iterator[bool]:
    """Add a plane; True after each chunk."""
    maps, targets, contribution = pending.maps, pending.targets, pending.contribution
    if contribution is not None and contribution.plane != name:
        contribution = None
    subtracts = {sign: maps.subtracts(name, sign) for sign in (1, -1)}
    try:
        chunks = maps.planes[name].chunks()
    except InputError as error:  # of a map in memory: it does not name a file
        raise InputError(f"{maps.where}: {name} is not a valid map ({error}).") from error
    try:
        for chunk in chunks:
            for total, sign in targets:
                total.add_chunk(name, chunk, subtract=subtracts[sign], where=maps.where)
            if pending.flips:
                staging.stage(maps, name, chunk)
            if contribution is not None:  # as long as the values are in the cache
                contribution.take(chunk)
            yield True
    except InputError as error:
        if error.file is None and (unit := unit_of(pending.frame)):
            error.file = unit.file
        raise
