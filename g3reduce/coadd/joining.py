"""A coadd, and the collective end of a coadder: the sums of all ranks become one."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from spt3g import core

from .. import strategies
from ..arrays.reduction import SUM
from ..choices import Result
from ..errors import DuplicateError
from ..g3files.archive import INDEXED
from ..g3files.frames import Sink, Unrecognised
from ..g3files.runs import RunLayout
from ..limits import LIMITS
from ..maps import mapframe
from ..maps.mapfile import write_map_frame
from ..maps.mapsum import MapSum
from ..maps.numbering import numbers_runs
from ..maps.summary import Summary, join
from ..maps.sumstate import Values, values_of
from ..mpi import communicators
from ..mpi.agreement import agree, collectively
from ..pipeline.ledger import UNPLACED, Ledger, merge
from ..pipeline.ledgerframe import put_ledger
from ..pipeline.repeated import message_of, refuse_repeated_observations, repeated_in
from ..spt3glog import unit_logger
from ..spt3gtypes import Frame
from .growing import removed_from
from .removing import ledger_without, take_away

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
    notes : list
        The `note` of each rank.
    """

    names: list[str]
    coadds: dict[str, Coadd]
    statistics: strategies.Statistics
    skipped: dict[str, int]
    notes: list[Any]


# The report of a rank on its coadds: by name, the summary and the ledger of each.
_Report: TypeAlias = "dict[str, tuple[Summary, Ledger]]"


def join_coadds(
    comm: communicators.Comm,
    mine: Mapping[str, Coadd],
    strategy: str,
    *,
    result: Result,
    root: int,
    once: bool,
    same_observation: str,
    require_weights: bool,
    keep_exact: bool,
    frame_id: Callable[[str], str],
    note: object = None,
    check: Callable[[list[str], list[Any]], None] = lambda names, notes: None,
) -> Joined:
    """Join the coadds of all ranks by name. Collective over `comm`.

    Parameters
    ----------
    comm : communicator
    mine : dict of str to Coadd
        What this rank holds. It is used up.
    strategy, result, root
        How they are joined, and where the result goes.
    once : bool
        Refuse input that was counted on two ranks.
    same_observation : str
        What to do with observations that came from several files; see `MPIMapCoadder`.
    require_weights : bool
        Refuse to join sums with weights and sums without.
    keep_exact : bool
        Keep exact sums beside the numbers that they become.
    frame_id : callable
        ``frame_id(name)`` returns the Id of the frame that a coadd becomes.
    note : object, optional
        Something small that all ranks are to know.
    check : callable
        Called with the names of all coadds and the notes of all ranks, before anything is joined;
        raises what there is against it.

    Returns
    -------
    Joined

    Raises
    ------
    DuplicateError, MismatchError
        On all ranks, before anything is joined.
    """
    report = {name: (coadd.total.summary, coadd.ledger.bare()) for name, coadd in mine.items()}
    everywhere: list[tuple[_Report, Any]] = comm.allgather((report, note))
    reports, notes = [report for report, _ in everywhere], [note for _, note in everywhere]
    if once:
        _refuse_same_sums(comm, mine, reports)

    # In one order, so that all ranks find the same fault first.
    names = list(dict.fromkeys(name for report in reports for name in report))
    layouts = {name: _common_layout(comm, mine, reports, name) for name in names}

    def prepare() -> dict[str, Coadd]:
        check(names, notes)
        prepared = {}
        for name in names:
            ledgers = [report[name][1] if name in report else Ledger() for report in reports]
            ledger = merge(ledgers, once=once)
            summaries = [report[name][0] for report in reports if name in report]
            if name in mine:
                total = mine[name].total
            else:  # a rank without any such map
                total = MapSum(join(summaries), require_weights=require_weights)
            total.prepare(summaries, layouts[name])
            prepared[name] = Coadd(frame_id(name), total, ledger)
        for name, minus in _removals(prepared).items():
            coadd = prepared[name]
            coadd.ledger = ledger_without(coadd.ledger, prepared[minus].ledger, coadd.frame_id)
        for coadd in _kept(prepared) if same_observation == "error" else ():
            refuse_repeated_observations(repeated_in(coadd.ledger.entries))
        return dict(sorted(prepared.items(), key=lambda item: _order(*item)))

    prepared = collectively(comm, prepare)
    if comm.rank == root:
        _warn(_kept(prepared), once=once, same_observation=same_observation)
    joined, done, removals = {}, [], _removals(prepared)
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
    return Joined(list(skipped), joined, whole, skipped, notes)


def _warn(coadds: Iterable[Coadd], *, once: bool, same_observation: str) -> None:
    """Warn of what may have been counted twice."""
    ledgers = [coadd.ledger for coadd in coadds]
    for ledger in ledgers if once else ():
        ledger.warn_of_doubts()
    if same_observation == "warn":
        found = dict.fromkeys(one for ledger in ledgers for one in repeated_in(ledger.entries))
        if found:
            logger.warning("%s", message_of(list(found)))


def _removals(coadds: Mapping[str, Coadd]) -> dict[str, str]:
    """By the name of a coadd, the name of the one that is to be taken away from it."""
    found = {removed_from(name): name for name in coadds}
    return {name: minus for name, minus in found.items() if name is not None}


def _kept(coadds: Mapping[str, Coadd]) -> list[Coadd]:
    """Those that are not to be taken away from others."""
    return [coadd for name, coadd in coadds.items() if removed_from(name) is None]


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
    comm: communicators.Comm, mine: Mapping[str, Coadd], reports: list[_Report], name: str
) -> RunLayout | None:
    """The runs by which all sums of a coadd number their pixels, if they do. Collective.

    Ranks that have no such sum get them from the first that has.
    """
    numberings = [report[name][0].numbering if name in report else None for report in reports]
    met = sorted({numbering for numbering in numberings if numbering is not None})
    if len(met) != 1 or not numbers_runs(met[0]):
        return None
    layout = mine[name].total.sums.layout if name in mine else None
    if None in numberings:
        layout = comm.bcast(layout, numberings.index(met[0]))
    return layout


def _order(name: str, coadd: Coadd) -> tuple[int, int, str]:
    """Coadds come in the order of their first input, then of their names."""
    position, index = coadd.ledger.input_order()
    # Where no reader of ours counted the input, they stay as they came.
    return position, index, name if position < UNPLACED else ""


def _refuse_same_sums(
    comm: communicators.Comm, mine: Mapping[str, Coadd], reports: list[_Report]
) -> None:
    """Notice ranks that have read the same files with a reader that does not name its frames.

    Frames without a name cannot be told apart, but sums of as many of them, of the same Ids, that
    are equal to the bit, were not made of different observations.
    """
    suspects: Counter[tuple[str, tuple[tuple[str, ...], ...]]] = Counter()
    for report in reports:
        for name, (_, ledger) in report.items():
            if not any(entry.read for entry in ledger.entries):
                suspects[name, tuple(entry.map_ids for entry in ledger.entries)] += 1
    if max(suspects.values(), default=0) < 2:
        return
    digests = comm.allgather({name: coadd.total.sums.digest() for name, coadd in mine.items()})
    first: dict[tuple[str, bytes], int] = {}
    for rank, (report, digest) in enumerate(zip(reports, digests, strict=True)):
        for name, (_, ledger) in report.items():
            if any(entry.read for entry in ledger.entries) or not digest[name]:
                continue
            other = first.setdefault((name, digest[name]), rank)
            if other != rank:
                agree(
                    comm,
                    DuplicateError(
                        f"Ranks {other} and {rank} have summed {len(ledger.entries)} frames to the "
                        "very same maps, so it seems that they have read the same files, which "
                        "would be summed more than once. Share files out with "
                        "MPIFileReader(mpicomm, [files]) instead of spt3g's G3Reader, or say "
                        'on_duplicate="sum" if this is what you want.'
                    ),
                )
