"""Passes over the files of a coadd: in each, all that is chosen is read, added, joined and written.

One pass is enough, unless a file turns out to be bad of which frames may have been counted: then
another one begins from nothing, without that file.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..choices import Result, Schedule
from ..coadd.coadder import MPIMapCoadder
from ..coadd.coadds import Coadds
from ..coadd.growing import Growth, followed, held
from ..coadd.joining import Coadd
from ..coadd.membership import Plan as AnyPlan
from ..errors import InputError
from ..formats.options import WriteOptions
from ..maps.coverage import Coverage
from ..mpi import communicators
from ..mpi.agreement import collectively, from_rank
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..mpi.jobend import let_go
from ..mpi.memory import available_for_each
from ..mpi.stopping import StopRequest
from ..pipeline.ledger import union
from ..pipeline.output import write_frames
from ..progress.events import Joined
from ..progress.timing import Stopwatch, Timing
from ..progress.watching import Watch
from ..strategies.traffic import Statistics
from .accounting import account, coverage_of
from .checkpointing import Wishes, checkpointed
from .choosing import Choice, Chosen, after_feeding
from .feeding import Fed, Reader, feed
from .inputs import Found
from .outputs import write_coadds
from .parking import Parked, Parking
from .parts import MapSize, Part, PlanOfPart, costs_of, divided
from .presence import require_maps
from .tally import Tally
from .work import Work

if TYPE_CHECKING:
    from ..splits import Plan as SplitPlan
    from .completion import Complete
    from .splitting import Planner


class Plan(NamedTuple):
    """What is to be done, as all ranks have agreed on it.

    Attributes
    ----------
    found : Found
        The input files.
    choice : Choice
        What becomes of files that cannot be added.
    wishes : Wishes
        About checkpoints.
    growth : Growth or None
        About coadds that are there already.
    map_ids : list of str or None
        Of each of these Ids there must be a map.
    schedule, result, root, keep_maps, options, passes
        As in `coadd_files`.
    """

    found: Found
    choice: Choice
    wishes: Wishes
    growth: Growth | None
    map_ids: Sequence[str] | None
    schedule: Schedule
    result: Result
    root: int
    keep_maps: bool
    options: WriteOptions
    passes: int | str | None = None


class Passes:
    """Passes over the chosen files, until one comes to its end.

    Parameters
    ----------
    comm : communicator
    coadder : MPIMapCoadder
        Without anything in it.
    plan : Plan
    chosen : Chosen
        The files that are to be added, as far as is known before they are.
    request : StopRequest or None
        Open; None without a folder of checkpoints.
    planner : Planner or None
        If the coadds are those of a splitting.
    make : callable
        Makes another coadder like this one, for what one pass cannot hold. Collective.
    watch : Watch
        Open; it is told what is done.
    """

    def __init__(
        self,
        comm: communicators.Comm,
        coadder: MPIMapCoadder,
        plan: Plan,
        chosen: Chosen,
        request: StopRequest | None,
        planner: Planner | None,
        make: Callable[[], MPIMapCoadder],
        watch: Watch,
    ):
        self._comm = comm
        self._coadder = coadder
        self._plan = plan
        self._request = request
        self._planner = planner
        self._names = plan.found.names
        self._base = plan.growth.base.file if plan.growth else None
        self._make = make
        self._watch = watch
        self._parts: list[PlanOfPart] = []
        self._earlier: list[Coadds] = []  # what earlier parts have made
        self._joined: dict[str, Coadd | Parked] = {}
        self._written: list[str] = []
        self._stopwatch = Stopwatch(watch.began)
        self._coverage: dict[str, Coverage] = {}
        self._timing, self._statistics = Timing(), Statistics()  # of all parts
        self._complete: Complete | None = None  # what an earlier run has done, if that is all
        self._terms = coadder.terms
        self._choose(self._planned(chosen))

    def run(self) -> None:
        """Read, add, join and write. Collective."""
        try:
            while not self._all_parts():
                self._coadder.start_over()
        except Exception as error:
            let_go(self._coadder, error)
            raise
        if self._complete is None:
            # All have met: nothing that may fail on one rank alone comes in between.
            made = self._earlier or [self._coadder.result]
            self._statistics = functools.reduce(operator.add, (one.statistics for one in made))
            self._timing = account(self._comm, self._stopwatch, self._statistics, self._watch)

    def _all_parts(self) -> bool:
        """Make all; return False where the plan has changed, so that all is to be made again."""
        self._earlier.clear()
        if len(self._parts) < 2:
            return self._one()
        plan, root = self._plan, self._plan.root
        output = plan.found.output
        parking = Parking(output if self._comm.rank == root else None)
        try:
            for number, part in enumerate(list(self._parts)):
                self._watch.number, self._watch.n_passes = number + 1, len(self._parts)
                if number:
                    self._coadder = self._make()
                    self._coadder.assume(self._terms.assumed)
                self._follow(part)
                if not self._one():
                    return False
                joined, self._joined = self._joined, {}
                made = {name: joined.pop(name) for name in [*joined] if name in part.part.names}
                take = functools.partial(parking.take, made, keep_maps=plan.keep_maps)
                collectively(self._comm, take)
                self._earlier.append(self._coadder.result)
            self._joined = dict(parking.coadds)
            if output is not None:
                self._watch.stage("writing")
                write_frames(output, parking.coadds.values(), self._comm, root)
                self._end_writing()
                self._written = [output]
                self._watch.written(self._written)
        finally:
            parking.close()
        return True

    @property
    def job(self) -> Plan:
        """What is to be done."""
        return self._plan

    @property
    def chosen(self) -> Chosen:
        """The files that are added, as far as is known."""
        return self._chosen

    @property
    def base(self) -> str | None:
        """The file of coadds that are to grow, which is read, too."""
        return self._base

    @property
    def planner(self) -> Planner | None:
        """What plans the splitting, if there is one."""
        return self._planner

    @property
    def parts(self) -> Sequence[PlanOfPart]:
        """Of a splitting, what is made in each pass."""
        return self._parts

    @property
    def limbs(self) -> int:
        """How many numbers a sum has for each pixel."""
        return 3 if self._coadder.is_exact else 1

    def coadds(self) -> Coadds:
        """What was made, after `run`. Collective."""
        # Others must not leave while one cannot make its frames, or read what there is.
        return collectively(self._comm, self._made)

    def _made(self) -> Coadds:
        n_given = len(self._names) - bool(self._plan.growth)
        if (complete := self._complete) is not None:
            whole, result = self._plan.keep_maps, self._plan.result
            here = result == "all" or self._comm.rank == self._plan.root
            return complete.coadds(here=here, whole=whole, n_given=n_given)
        plan = self._plan
        whole, framed = plan.keep_maps, self._joined
        if plan.result == "sharded" and (whole or self._comm.rank != plan.root):
            framed = {}  # only root has the ledgers of the frames
        coadds = self._coadder.finish_with(
            {name: coadd.to_frame() if whole else coadd.outline() for name, coadd in framed.items()}
        )
        if self._earlier:
            coadds.ledger = union(one.ledger for one in self._earlier)
        coadds.statistics, coadds.timing = self._statistics, self._timing
        coadds.coverage, coadds.written = self._coverage, self._written
        coadds.left_out, coadds.n_given = self._chosen.listed, n_given
        if coadds.here:
            coadds.without_maps = self._without_maps(coadds)
        return coadds

    def _one(self) -> bool:
        """One pass; return whether it came to its end. Collective."""
        plan = self._plan
        output = plan.found.output
        with (
            held(self._comm, plan.growth, output, plan.root) as require_unchanged,
            checkpointed(
                *(self._comm, plan.wishes, self._request, self._coadder, self._names, output),
                watch=self._watch,
            ) as work,
        ):
            self._complete = work.complete
            if work.complete is not None:
                return True
            self._chosen.require_uncounted(work.earlier.counted)
            tally = Tally(plan.found.pieces, work.earlier.mine, self._base)
            fed = self._feed(tally, work)
            if self._is_spoiled_by(fed):
                work.start_over()
                return False
            joined = self._join(fed.failure, tally)
            self._joined = dict(joined)
            if output is not None and len(self._parts) < 2:
                self._watch.stage("writing")
                with progress_in_interrupt(self._all_read("the coadd was being written")):
                    self._written = write_coadds(
                        output,
                        followed(joined.values(), require_unchanged),
                        plan.options,
                        self._comm,
                        plan.root,
                        sharded=plan.result == "sharded",
                        inputs=self._names,
                    )
                self._end_writing()
                self._watch.written(self._written)
            work.finish(self._chosen.listed)
            return True

    def _choose(self, chosen: Chosen) -> None:
        """Take these files; refuse them if coadds that are there cannot grow by them."""
        if self._plan.growth:
            self._plan.growth.require_kept(chosen.listed)
        self._chosen = chosen
        self._watch.set_aside(chosen.listed)

    def _planned(self, chosen: Chosen) -> Chosen:
        """Let the coadder follow the plan for these files, of which bad ones may be left out."""
        growth, choice = self._plan.growth, self._plan.choice
        planned = self._planner is not None and self._planner.is_planned
        if growth and (planned or self._planner is None):
            growth.require_rules(planned)
        if self._planner is None:
            return chosen
        plan, bad = self._planner.plan(chosen)
        if bad:
            chosen = collectively(self._comm, lambda: _without(chosen, bad, choice))
        if growth:
            growth.require_rules(planned, plan.record_of)
        self._parts = self._divided(plan, self._planner.sizes)
        self._follow(self._parts[0] if len(self._parts) > 1 else plan)
        return chosen

    @property
    def at_once(self) -> bool:
        """Whether sign flips are summed beside the coadds that they are of."""
        return self._plan.wishes.folder is None and not self._coadder.is_exact

    def _follow(self, plan: AnyPlan) -> None:
        identity = self._planner.identity if self._planner else ""
        self._coadder.follow(plan, identity, flips_at_once=self.at_once)
        self._terms = self._coadder.terms

    def _divided(
        self, plan: SplitPlan, sizes: Mapping[tuple[str, int], MapSize]
    ) -> list[PlanOfPart]:
        """The parts of a plan that fit in memory, one after the other."""
        at_once, passes = self.at_once, self._plan.passes
        limbs = self.limbs
        available = available_for_each(self._comm)

        def parts() -> list[Part]:
            costs = costs_of(plan, sizes, limbs=limbs, at_once=at_once)
            return divided(costs, available, passes, at_once=at_once)

        return [PlanOfPart(plan, part) for part in from_rank(self._comm, 0, parts)]

    def _feed(self, tally: Tally, work: Work) -> Fed:
        """Bring the frames that are not in the sums to the coadder."""
        left = work.earlier.left_of(self._chosen.of(self._plan.found.pieces))
        looking = self._plan.choice.looking(self._terms)
        counter = SharedCounter(self._comm)
        self._stopwatch.end("looking")
        reading = self._watch.reading(self._names, left)
        schedule, assumed = self._plan.schedule, self._terms.assumed
        reader = Reader(self._comm, self._names, left, counter, schedule, looking, assumed, reading)
        with progress_in_interrupt(reader.progress):
            fed = feed(self._coadder, reader, len(self._names), self._comm.size, tally, work)
            self._stopwatch.end("reading")
            reading.end()
            work.checkpoints.end(fed.failure or fed.again)
        return fed

    def _is_spoiled_by(self, fed: Fed) -> bool:
        """Leave out files that turned out to be bad; whether frames of one may be in the sums."""
        chosen, again = after_feeding(self._comm, self._chosen, fed, self._terms, self._plan.choice)
        if self._planner and len(chosen.left_out) > len(self._chosen.left_out):
            chosen, again = self._planned(chosen), True  # the plan is one for fewer files
        self._choose(chosen)
        return again

    def _join(self, failure: Exception | None, tally: Tally) -> dict[str, Coadd]:
        """Join the sums of all ranks, and all that is known of what is in them."""
        self._coadder.leave_out(self._chosen.listed)
        n_new = len(self._names) - len(self._chosen.left_out) - bool(self._plan.growth)
        check = functools.partial(require_maps, n_new, self._plan.map_ids)
        try:
            with progress_in_interrupt(self._all_read("their sums were being joined")):
                seen = tally.n_read, tally.with_maps
                joined = self._coadder.join(failure, *seen, check, self._all_here)
                if self._plan.result != "sharded":
                    cover = functools.partial(coverage_of, joined)
                    self._coverage |= collectively(self._comm, cover)
                self._stopwatch.end("joining")
                self._watch.tell(lambda now: Joined(time=now, n_coadds=len(joined)))
                return joined
        finally:
            self._coadder.discard()

    def _all_here(self) -> None:
        """Note that all ranks have come, none with a failure: only now sums are joined."""
        self._stopwatch.end("waiting")
        self._watch.stage("joining")

    def _end_writing(self) -> None:
        """Note that the output is there: on the ranks that have written it."""
        writes = self._plan.result == "sharded" or self._comm.rank == self._plan.root
        self._stopwatch.end("writing" if writes else None)

    def _all_read(self, then: str) -> functools.partial[Progress]:
        return functools.partial(Progress.all_read, len(self._names), then)

    def _without_maps(self, coadds: Coadds) -> list[str]:
        """The files that were read, and in which there was no Map frame."""
        with_maps = {self._names[at] for at in self._coadder.with_maps}
        with_maps |= {unit.file for unit in coadds.ledger.units()} | {self._base or ""}
        read = (name for at, name in enumerate(self._names) if at not in self._chosen.left_out)
        return [name for name in read if name not in with_maps]


def _without(chosen: Chosen, bad: Mapping[int, InputError], choice: Choice) -> Chosen:
    """The same files without bad ones, if these may be left out."""
    if not choice.skips:
        raise next(iter(bad.values()))
    faults = {number: error.fault or str(error) for number, error in bad.items()}
    return chosen.without(faults, len(bad), choice)
