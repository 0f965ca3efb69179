"""Passes over the files of a coadd: in each, all that is chosen is read, added, joined and written.

One pass is enough, unless a file turns out to be bad of which frames may have been counted: then
another one begins from nothing, without that file.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ..choices import Result, Schedule
from ..coadd.coadder import MPIMapCoadder
from ..coadd.coadds import Coadds
from ..coadd.growing import Growth, followed, held
from ..coadd.joining import Coadd
from ..errors import InputError
from ..formats.options import WriteOptions
from ..mpi import communicators
from ..mpi.agreement import collectively
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..mpi.stopping import StopRequest
from .checkpointing import Wishes, Work, checkpointed
from .choosing import Choice, Chosen, after_feeding
from .completion import Complete
from .feeding import Fed, Reader, feed
from .inputs import Found
from .outputs import write_coadds
from .splitting import Planner
from .tally import Tally


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
    schedule, result, root, keep_maps, options
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
    """

    def __init__(
        self,
        comm: communicators.Comm,
        coadder: MPIMapCoadder,
        plan: Plan,
        chosen: Chosen,
        request: StopRequest | None,
        planner: Planner | None = None,
    ):
        self._comm = comm
        self._coadder = coadder
        self._plan = plan
        self._request = request
        self._planner = planner
        self._names = plan.found.names
        self._base = plan.growth.base.file if plan.growth else None
        self._joined: dict[str, Coadd] = {}
        self._written: list[str] = []
        self._complete: Complete | None = None  # what an earlier run has done, if that is all
        self._choose(self._planned(chosen))
        self._terms = coadder.terms

    def run(self) -> None:
        """Read, add, join and write. Collective."""
        while not self._one():
            self._coadder.start_over()

    def coadds(self) -> Coadds:
        """What was made, after `run`. Collective."""
        n_given = len(self._names) - bool(self._plan.growth)
        if (complete := self._complete) is not None:
            whole, result = self._plan.keep_maps, self._plan.result
            here = result == "all" or self._comm.rank == self._plan.root
            # Others must not leave while one cannot read what there is.
            return collectively(
                self._comm, lambda: complete.coadds(here=here, whole=whole, n_given=n_given)
            )
        whole, sharded = self._plan.keep_maps, self._plan.result == "sharded"
        coadds = self._coadder.finish_with(
            {
                name: coadd.to_frame() if whole else coadd.outline()
                for name, coadd in self._joined.items()
                if not sharded
            }
        )
        coadds.written = self._written
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
                *(self._comm, plan.wishes, self._request, self._coadder, self._names, output)
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
            self._joined = self._join(fed.failure, tally)
            if output is not None:
                with progress_in_interrupt(self._all_read("the coadd was being written")):
                    self._written = write_coadds(
                        output,
                        followed(self._joined.values(), require_unchanged),
                        plan.options,
                        self._comm,
                        plan.root,
                        sharded=plan.result == "sharded",
                        inputs=self._names,
                    )
            work.finish(self._chosen.listed)
            return True

    def _choose(self, chosen: Chosen) -> None:
        """Take these files; refuse them if coadds that are there cannot grow by them."""
        if self._plan.growth:
            self._plan.growth.require_kept(chosen.listed)
        self._chosen = chosen

    def _planned(self, chosen: Chosen) -> Chosen:
        """Let the coadder follow the plan for these files, of which bad ones may be left out."""
        growth, choice = self._plan.growth, self._plan.choice
        planned = self._planner is not None and self._planner.is_planned
        if growth and (planned or self._planner is None):
            growth.require_rules(planned, lambda map_id: {})
        if self._planner is None:
            return chosen
        plan, bad = self._planner.plan(chosen)
        if bad:
            chosen = collectively(self._comm, lambda: chosen.without(bad, len(bad), choice))
        if growth:
            growth.require_rules(planned, plan.record_of)
        at_once = self._plan.wishes.folder is None
        self._coadder.follow(plan, str(self._planner), flips_at_once=at_once)
        return chosen

    def _feed(self, tally: Tally, work: Work) -> Fed:
        """Bring the frames that are not in the sums to the coadder."""
        left = work.earlier.left_of(self._chosen.of(self._plan.found.pieces))
        looking = self._plan.choice.looking(self._terms)
        counter = SharedCounter(self._comm)
        reader = Reader(
            self._comm,
            self._names,
            left,
            counter,
            self._plan.schedule,
            looking,
            self._terms.assumed,
        )
        with progress_in_interrupt(reader.progress):
            fed = feed(self._coadder, reader, len(self._names), self._comm.size, tally, work)
            work.checkpoints.end(fed.failure or fed.again)
        return fed

    def _is_spoiled_by(self, fed: Fed) -> bool:
        """Leave out files that turned out to be bad; whether frames of one may be in the sums."""
        chosen, again = after_feeding(self._comm, self._chosen, fed, self._terms, self._plan.choice)
        if self._planner and len(chosen.left_out) > len(self._chosen.left_out):
            chosen, again = self._planned(chosen), True  # the plan is one for fewer files
            self._terms = self._coadder.terms
        self._choose(chosen)
        return again

    def _join(self, failure: Exception | None, tally: Tally) -> dict[str, Coadd]:
        """Join the sums of all ranks, and all that is known of what is in them."""
        self._coadder.leave_out(self._chosen.listed)
        n_new = len(self._names) - len(self._chosen.left_out) - bool(self._plan.growth)
        require_maps = functools.partial(_require_maps, n_new, self._plan.map_ids)
        try:
            with progress_in_interrupt(self._all_read("their sums were being joined")):
                return self._coadder.join(failure, tally.n_read, tally.with_maps, require_maps)
        finally:
            self._coadder.discard()

    def _all_read(self, then: str) -> functools.partial[Progress]:
        return functools.partial(Progress.all_read, len(self._names), then)

    def _without_maps(self, coadds: Coadds) -> list[str]:
        """The files that were read, and in which there was no Map frame."""
        with_maps = {self._names[at] for at in self._coadder.with_maps}
        with_maps |= {unit.file for unit in coadds.ledger.units()} | {self._base or ""}
        read = (name for at, name in enumerate(self._names) if at not in self._chosen.left_out)
        return [name for name in read if name not in with_maps]


def _require_maps(
    n_files: int, map_ids: Sequence[str] | None, n_read: Counter[str], any_added: bool
) -> None:
    """Refuse to make an empty coadd, or one that lacks what was asked for."""
    if not n_files:  # all that was to be added to a coadd is in it already, or bad
        return
    files = f"the {n_files} input files" if n_files > 1 else "the input file"
    if not n_read:
        raise InputError(f"There is no Map frame in {files}.")
    listed = ", ".join(f"{map_id!r} ({count})" for map_id, count in sorted(n_read.items()))
    missing = [map_id for map_id in map_ids or () if map_id not in n_read]
    if missing:
        raise InputError(
            f"There is no map with the Id {', '.join(map(repr, missing))} in {files}; these Ids "
            f"are there (and how often): {listed}."
        )
    if not any_added:
        raise InputError(
            f"None of the maps in {files} belongs to any coadd; these Ids are there (and how "
            f"often): {listed}."
        )
