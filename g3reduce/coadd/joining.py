"""A coadd, and the collective end of a coadder: the sums of all ranks become one."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spt3g import core

from .. import strategies
from ..arrays.reduction import SUM
from ..choices import Result
from ..g3files.archive import INDEXED
from ..g3files.frames import Sink, Unrecognised
from ..g3files.runs import RunLayout
from ..limits import LIMITS
from ..maps import mapframe
from ..maps.mapfile import write_map_frame
from ..maps.mapsum import MapSum
from ..maps.summary import join
from ..maps.sumstate import Values, values_of
from ..mpi import communicators
from ..mpi.agreement import collectively
from ..mpi.deciding import decide_at
from ..pipeline.ledger import Ledger
from ..pipeline.ledgerframe import put_ledger
from ..pipeline.repeated import message_of, repeated_in
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from .removing import take_away
from .reports import (
    Decision,
    Note,
    Report,
    Rules,
    Unpacking,
    kept_of,
    refuse_same_sums,
    removals_of,
)

logger = unit_logger(__name__, "MPIMapCoadder")


@dataclass
class Coadd:
    """A sum of maps, a list of what went into it, and the Map frame that it becomes.

    Attributes
    ----------
    frame_id : str
        The Id of the frame.
    total : MapSum
    ledger : Ledger
    record : dict of str to str
        What is recorded of the splitting by which its maps were chosen, if they were.
    """

    frame_id: str
    total: MapSum
    ledger: Ledger
    record: dict[str, str] = field(default_factory=dict)
    _frame: Frame = field(default=None, init=False, repr=False, compare=False)
    _outline: Frame = field(default=None, init=False, repr=False, compare=False)

    def outline(self) -> Frame:
        """The frame with empty maps. It is made once, when all else is known."""
        if self._outline is None:
            empty = mapframe.to_frame(self.frame_id, self.total.outlines())
            self._outline = self._with_inputs(empty)
        return self._outline

    def to_frame(self) -> Frame:
        """The frame."""
        if self._frame is not None:  # it was made to be written
            return self._frame
        frame = self._with_inputs(mapframe.to_frame(self.frame_id, self.total.to_maps()))
        for key, value in self._exact_sums().items():
            frame[key] = value if isinstance(value, str) else core.G3VectorInt(value.reshape(-1))
        return frame

    def write(self, file: Sink) -> None:
        """Write the frame to a file: of a small sum by spt3g, else without making the maps.

        With the exact sums, if they were kept.
        """
        small = self.total.blocks.nbytes <= LIMITS.small_sum
        # spt3g writes single pixels in no particular order.
        if small and INDEXED not in self.total.summary.storage.values():
            self._frame = self.to_frame()
        elif self.total.storable:
            try:
                outline, contents, shared = self.outline(), self.total.contents(), self.total.shared
                blobs = shared.blobs if shared else None
                write_map_frame(file, outline, contents, self._exact_sums(), blobs)
            except Unrecognised:  # by a newer spt3g; nothing is written yet
                pass
            else:
                return
        file.write(self.to_frame().__getstate__()[1])

    def _exact_sums(self) -> Values:
        return values_of(self.total) if self.total.kept else {}

    def _with_inputs(self, frame: Frame) -> Frame:
        if skipped := self.total.summary.skipped:
            frame["SkippedPixels"] = skipped
        if grids := self.total.summary.grids:
            frame["ExactLimbs"] = _by_plane({name: grid.limbs for name, grid in grids.items()})
            frame["ExactGrid"] = _by_plane({name: grid.top for name, grid in grids.items()})
            frame["ExactAddends"] = _by_plane({name: grid.addends for name, grid in grids.items()})
        if self.total.kept:
            frame["ExactBytes"] = self.total.kept.nbytes
        for key, values in (
            ("InputMapIds", self.ledger.map_ids()),
            ("InputFiles", self.ledger.files()),
        ):
            if values:
                frame[key] = core.G3VectorString(values)
        put_ledger(frame, self.ledger)
        if self.record:
            frame["Split"] = core.G3MapString(self.record)
        return frame


def _by_plane(numbers: dict[str, int]) -> Any:
    return core.G3MapInt(dict(sorted(numbers.items())))


class Joined(NamedTuple):
    """The coadds of all ranks.

    Attributes
    ----------
    names : list of str
        Those that there are, in the order of their input. The same on all ranks.
    coadds : dict of str to Coadd
        In that order, on the ranks that hold the result, or of which they hold a share; else empty.
    statistics : Statistics
        What this rank did to join them.
    skipped : dict of str to int
        How many pixels were left out of the frames of each. The same on all ranks.
    note : Note
        Of all ranks; ``with_maps`` only on ranks that hold the result.
    """

    names: list[str]
    coadds: dict[str, Coadd]
    statistics: strategies.Statistics
    skipped: dict[str, int]
    note: Note


def join_coadds(
    comm: communicators.Comm,
    mine: Mapping[str, Coadd],
    strategy: str,
    *,
    result: Result,
    root: int,
    rules: Rules,
    keep_exact: bool,
    note: Note,
) -> Joined:
    """Join the coadds of all ranks by name. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    mine : dict of str to Coadd
        What this rank holds. It is used up.
    strategy, result, root
        How they are joined, and where the result goes.
    rules : Rules
        By what they are judged, before anything is joined.
    keep_exact : bool
        Keep exact sums beside the numbers that they become.
    note : Note
        What `root` is to know beside.

    Returns
    -------
    Joined

    Raises
    ------
    DuplicateError, MismatchError
        On all ranks, before anything is joined.
    """
    decision = _decided(comm, mine, note, rules, result, root)
    layouts = {
        name: _common_layout(comm, mine, name, source)
        for name, source in decision.layouts_from.items()
    }

    def prepare() -> dict[str, Coadd]:
        decision.unpack()
        prepared = {}
        for name in decision.names:
            summary = decision.summaries.pop(name)
            if name in mine:
                total = mine[name].total
            else:  # a rank without any such map
                total = MapSum(join([summary]), require_weights=rules.require_weights)
            total.prepare([summary], layouts.get(name))
            ledger = decision.ledgers.get(name) or Ledger()
            prepared[name] = Coadd(rules.frame_id(name), total, ledger)
        return prepared

    prepared = collectively(comm, prepare)
    if comm.rank == root:
        ledgers = [prepared[name].ledger for name in kept_of(prepared)]
        _warn(ledgers, once=rules.once, same_observation=rules.same_observation)
    joined, done, removals = {}, [], removals_of(prepared)
    for name, coadd in prepared.items():
        blocks, statistics = strategies.reduce(
            comm, coadd.total.blocks, SUM, strategy, result=result, root=root
        )
        done.append(statistics)
        if blocks is not None:
            coadd.total.blocks = blocks
            if not removals:
                coadd.total.to_numbers(keep=keep_exact)
            joined[name] = coadd
    whole = functools.reduce(operator.add, done) if done else strategies.Statistics()
    skipped = {name: coadd.total.summary.skipped for name, coadd in prepared.items()}
    if removals:
        for name, minus in removals.items():
            skipped[name] -= skipped.pop(minus)
        joined = collectively(comm, functools.partial(_without, joined, removals, keep_exact))
    return Joined(list(skipped), joined, whole, skipped, decision.note)


def _decided(
    comm: communicators.Comm,
    mine: Mapping[str, Coadd],
    note: Note,
    rules: Rules,
    result: Result,
    root: int,
) -> Decision:
    """What `root` decides on the coadds of all ranks. Collective."""
    report = Report(
        {name: coadd.total.summary for name, coadd in mine.items()},
        {name: coadd.ledger for name, coadd in mine.items()},
        note,
    )
    what = "the coadds of all ranks to be compared"
    received: list[Report] = []  # on root

    def told(decision: Decision) -> Decision:
        return decision.told(result)

    def decide(reports: Sequence[Report]) -> Decision:
        received.extend(reports)
        return rules.decide(reports)

    decision = decide_at(
        comm, root, report, decide, what=what, pack=Report.packed, unpack=Unpacking(), told=told
    )
    if not decision.suspected:
        return decision

    def judge(digests: Sequence[Mapping[str, bytes]]) -> Decision:
        refuse_same_sums(received, digests)
        return rules.judge(received)

    digests = collectively(
        comm, lambda: {name: coadd.total.sums.digest() for name, coadd in mine.items()}
    )
    return decide_at(comm, root, digests, judge, what=what, told=told)


def _warn(ledgers: Sequence[Ledger], *, once: bool, same_observation: str) -> None:
    """Warn of what may have been counted twice."""
    for ledger in ledgers if once else ():
        ledger.warn_of_doubts()
    if same_observation == "warn":
        found = dict.fromkeys(one for ledger in ledgers for one in repeated_in(ledger.entries))
        if found:
            logger.warning("%s", message_of(list(found)))


def _without(
    joined: dict[str, Coadd], removals: Mapping[str, str], keep_exact: bool
) -> dict[str, Coadd]:
    """The coadds that are here, as numbers, after these were taken away."""
    for name, minus in removals.items():
        if name in joined:
            coadd = joined[name]
            take_away(coadd.total, joined.pop(minus).total, coadd.frame_id)
    for coadd in joined.values():
        coadd.total.to_numbers(keep=keep_exact)
    return joined


def _common_layout(
    comm: communicators.Comm, mine: Mapping[str, Coadd], name: str, source: int | None
) -> RunLayout | None:
    """The runs by which all sums of a coadd number their pixels. Collective if some have none."""
    layout = mine[name].total.sums.layout if name in mine else None
    return layout if source is None else comm.bcast(layout, source)
