"""The reducer: an end-of-pipeline module for reductions of one's own."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from spt3g import maps as _maps  # noqa: F401  # without it no frame gives its maps

from .. import strategies
from ..arrays.exactness import Exactness, Grid
from ..arrays.reduction import Reduction
from ..errors import ReductionError, UsageError, text_of
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, collectively, describe_rank, rank_of
from ..mpi.jobend import must_end
from ..pipeline.arguments import check_flags
from ..pipeline.endmodule import PipelinePlace, at_the_end
from ..pipeline.grouping import Grouping, check_by
from ..pipeline.ledger import (
    ON_DUPLICATE,
    Entry,
    Ledger,
    check_on_duplicate,
    merge,
    unit_of,
    where_of,
)
from ..pipeline.originals import KnownFiles
from ..pipeline.userfunctions import UserFunctions
from ..strategies.nodes import memory_for
from ..strategies.registry import check_strategy
from .elementjoin import join_elements
from .elements import Elements, GroupSummary, join_summaries
from .held import ElementwiseRules, exactness_of
from .wholes import check_whole, join_whole

logger = logging.getLogger(__name__)


class _Told(NamedTuple):
    """What a rank tells the others at the end.

    Attributes
    ----------
    places : dict of key to tuple
        Where the first frame of each group stands in the order of input.
    whereabouts : dict of key to GroupSummary
        Of each group, if the reduction is elementwise.
    entries : list of Entry
        The frames that took part.
    """

    places: dict[Hashable, tuple[int, int]]
    whereabouts: dict[Hashable, GroupSummary]
    entries: list[Entry]


class MPIReducer:
    """Reduce anything that frames hold over all ranks; an end-of-pipeline G3 module.

    Each rank combines what the reduction extracts from the frames that its pipeline brings. At
    the end of processing the ranks join what they have: afterwards `result` is the result. Frames
    go down the pipeline as they came.

    A reduction that names an MPI operation is done element by element, by any of the strategies of
    `MPIMapCoadder`, and in memory that the ranks of a node share. Any other is combined whole, in
    the order of the frames on each rank and then of the ranks. Arrays travel as buffers, without
    pickling, also those in dictionaries, lists, tuples and dataclasses.

    Collective over `mpicomm`: the constructor, and the end of processing. The module cannot be
    the first of a pipeline, because spt3g does not tell that one of the end.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    reduction : Reduction
        What is extracted and how it is combined: one of `g3reduce.reductions`, or your own.
    by : str or callable, optional
        Groups to reduce apart from each other: ``by(frame)`` returns the key of the group, anything
        hashable, or None for a frame that takes no part. A string names a key of frames; a frame
        that lacks it belongs to the latest value that came, so that ``"ObservationID"`` groups the
        scans after each Observation frame.
    strategy : {"auto", "gather", "tree", "allreduce", "reduce_scatter", "owner"}
        How the ranks join what they have. What is combined whole goes by ``"tree"`` or
        ``"gather"``.
    result : {"root", "all", "sharded"}
        Which ranks get the result. Sharded, for elementwise reductions: each rank gets a share of
        the elements, which is not finalized: arrays are `g3reduce.reductions.ArrayShard`.
    root : int
        The rank that gets it with ``result="root"``.
    on_duplicate : {"error", "sum"}
        What to do about a frame of input that took part twice, on one rank or on two.
    reproducible : bool
        Combine in a way that does not depend on the order, so that the result is the same to the
        bit on any number of ranks. For elementwise reductions; sums of floats take two or three
        times the memory.
    absmax : float, optional
        With `reproducible`, the largest absolute value of any float in any state that is summed.
        Where it is given the sums take twice the memory, not three times.

    Raises
    ------
    UsageError
        If an argument cannot be used or differs between ranks.
    ReductionError
        If a function of the reduction fails, or returns what cannot be used: at its frame, or at
        the end on all ranks.
    InputError, MismatchError, DuplicateError
        If states differ in shape, if the pipeline was halted, or if a frame came twice.

    Examples
    --------
    >>> spectra = MPIReducer(comm, reductions.mean_psd("CalTimestreams"))  # doctest: +SKIP
    >>> scans = MPIReducer(comm, reductions.count("Signal"), by="ObservationID")  # doctest: +SKIP
    >>> pipe = core.G3Pipeline()  # doctest: +SKIP
    >>> pipe.Add(MPIFileReader, mpicomm=comm, files=[sys.argv[1:]])  # doctest: +SKIP
    >>> pipe.Add(spectra)  # doctest: +SKIP
    >>> pipe.Add(scans)  # doctest: +SKIP
    >>> pipe.Run()  # doctest: +SKIP
    >>> scans.result  # on rank 0  # doctest: +SKIP
    {4142: 36, 4143: 35}
    """

    def __init__(
        self,
        mpicomm: communicators.Comm | None,
        reduction: Reduction,
        *,
        by: str | Callable[[Any], Hashable] | None = None,
        strategy: str = "auto",
        result: str = "root",
        root: int = 0,
        on_duplicate: str = "error",
        reproducible: bool = False,
        absmax: float | None = None,
    ):
        self._comm = communicators.private(mpicomm)
        self._reduction = reduction
        self._strategy = strategy
        self._result = result
        self._once = on_duplicate == ON_DUPLICATE[0]

        def check() -> tuple[tuple[int, Exactness | None], dict[str, object]]:
            rank = self._check_arguments(by, on_duplicate, root, reproducible)
            exactness = exactness_of(reduction, reproducible, absmax)
            return (rank, exactness), {
                "reduction": reduction.name,
                "operation": reduction.operation,
                "commutes": reduction.commutes,
                "by": by if by is None or isinstance(by, str) else "given",
                "strategy": strategy,
                "result": result,
                "root": rank,
                "on_duplicate": on_duplicate,
                "reproducible": reproducible,
                "absmax": exactness and sorted(exactness.bounds.items()),
            }

        self._root, exactness = agreed_arguments(self._comm, "The arguments of MPIReducer", check)
        self._rules = ElementwiseRules(reduction, memory_for(self._comm), exactness)
        self._functions = UserFunctions(
            f"the reduction {reduction.name!r}", describe_rank(self._comm)
        )
        self._grouping = Grouping(by, self._functions)
        self._groups: dict[Hashable, Any] = {}  # Elements, or states
        self._places: dict[Hashable, tuple[int, int]] = {}
        self._ledger = Ledger()
        self._known = KnownFiles()
        self._place = PipelinePlace()
        self._outcome: Any = None
        self._grids: dict[Hashable, dict[str, Grid]] = {}
        self._statistics = strategies.Statistics()
        self._ended = False
        if self._comm.size > 1:
            must_end(self)

    @property
    def result(self) -> Any:
        """The result, after the end of processing; None on ranks that do not hold it.

        With `by` a dictionary of the results of all groups: in the order of their first frames in
        the input, or of their keys where the input has no order.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        return at_the_end(self._ended, self._outcome, "result")

    @property
    def grids(self) -> Any:
        """How exact sums were computed, after the end of processing; on all ranks.

        By kind of number (such as ``"float64"``) a `g3reduce.arrays.Grid`: limbs,
        top, number of states, and whether any value was not finite. With `by`, a dictionary of
        that for each group. Empty without `reproducible`, or where there are no floats.

        Raises
        ------
        UsageError
            Before the end of processing.
        """
        grids = self._grids if self._grouping.several else self._grids.get((), {})
        return at_the_end(self._ended, grids, "result")

    @property
    def statistics(self) -> strategies.Statistics:
        """What this rank did to join its states with those of others, after the end."""
        return at_the_end(self._ended, self._statistics, "result")

    @property
    def unfinished(self) -> bool:
        """Whether there is something here that was not joined with that of the other ranks."""
        return (self._place.begun or bool(self._groups)) and not self._ended

    def __call__(self, frame: Any) -> None:
        """Take the next frame of the pipeline (spt3g calls this)."""
        self._place.deliver(frame, self)

    def add(self, frame: Any) -> bool:
        """Combine what is extracted from a frame with what there is.

        Returns
        -------
        bool
            Whether it took part.
        """
        if self._ended:
            raise UsageError("This reducer has ended its work; make a new one for more frames.")
        communicators.require_rank(self._comm)
        unit = unit_of(frame)
        where = where_of(frame)
        self._grouping.look_at(frame)
        state = self._functions.call("extract", self._reduction.extract, where, frame)
        if state is None:
            return False
        key = self._grouping.key_of(frame, where)
        if key is None:
            return False
        entry = Entry.of(unit, known=self._known)
        if self._once:
            self._ledger.refuse_duplicate(entry)
        self._combine_with(key, state, where)
        self._ledger.record(entry)
        self._places[key] = min(self._places.get(key, entry.place), entry.place)
        return True

    def _combine_with(self, key: Hashable, state: Any, where: str) -> None:
        if not self._reduction.elementwise:
            old = self._groups.get(key)
            self._groups[key] = state if old is None else self._combined(old, state, where)
        elif key in self._groups:
            self._groups[key].combine(state, where)
        else:
            where += describe_rank(self._comm)
            self._groups[key] = Elements(self._rules, state, where)

    def finish(self) -> Any:
        """Join what all ranks have; what happens at the end of processing. Collective.

        Returns
        -------
        object
            The result, on the ranks that hold it, else None.
        """
        if self._ended:
            raise UsageError("This reducer has ended its work already.")
        self._ended = True
        self._place.end_together(self._comm)
        everywhere = self._tell_all()
        keys, common = collectively(self._comm, lambda: self._plan(everywhere))
        if self._reduction.elementwise:
            states = self._join_elements(common)
        else:
            states = self._join_whole(keys)
        self._outcome = collectively(self._comm, lambda: self._finalized(states))
        self._groups.clear()  # not before: it takes a while, and others wait for this rank
        self._place.leave([])
        return self._outcome

    def _tell_all(self) -> list[_Told]:
        """What all ranks have, by rank. Collective."""
        whereabouts = {
            key: group.summary for key, group in self._groups.items() if isinstance(group, Elements)
        }
        told = _Told(self._places, whereabouts, self._ledger.entries)
        if self._comm.size == 1:
            return [told]

        def packed() -> bytes:
            try:
                return pickle.dumps(told)
            except Exception as error:
                raise ReductionError(
                    f"The keys of the groups of the reduction {self._reduction.name!r}, or the "
                    f"classes of its states, cannot be sent to other ranks: {text_of(error)}"
                ) from error

        everywhere = self._comm.allgather(collectively(self._comm, packed))
        return collectively(self._comm, lambda: [pickle.loads(theirs) for theirs in everywhere])

    def _plan(self, everywhere: list[_Told]) -> tuple[list[Hashable], dict[Hashable, GroupSummary]]:
        """The groups of all ranks, in their order, and what they are together if that is done
        element by element. All ranks come to the same conclusion."""
        merge([Ledger(told.entries) for told in everywhere], once=self._once)
        places: dict[Hashable, tuple[int, int]] = {}
        groups: dict[Hashable, list[GroupSummary]] = {}
        for told in everywhere:
            for key, place in told.places.items():
                places[key] = min(place, places.get(key, place))
            for key, theirs in told.whereabouts.items():
                groups.setdefault(key, []).append(theirs)
        common = {key: join_summaries(self._rules, those) for key, those in groups.items()}
        if not places and self._comm.rank == self._root:
            logger.warning(
                "MPIReducer: no frame on any rank took part in %r.", self._reduction.name
            )
        keys = sorted(places, key=lambda key: (places[key], repr(key)))
        return keys, {key: common[key] for key in keys if key in common}

    def _join_elements(self, common: dict[Hashable, GroupSummary]) -> Any:
        self._grids = {
            key: {str(dtype): grid for dtype, grid in told.grids.items()}
            for key, told in common.items()
        }
        states, self._statistics = join_elements(
            self._comm,
            self._groups,
            common,
            self._rules,
            self._strategy,
            result=self._result,
            root=self._root,
        )
        return states

    def _join_whole(self, keys: list[Hashable]) -> Any:
        def combine(mine: dict[Hashable, Any], theirs: dict[Hashable, Any]) -> Any:
            for key, state in theirs.items():
                where = "the joining of the ranks" + (f", group {key!r}" if key != () else "")
                mine[key] = self._combined(mine[key], state, where) if key in mine else state
            return mine

        states, self._statistics = join_whole(
            self._comm,
            dict(self._groups),
            combine,
            self._strategy,
            commutes=self._reduction.commutes,
            result=self._result,
            root=self._root,
        )
        return None if states is None else {key: states[key] for key in keys}

    def _combined(self, first: Any, second: Any, where: str) -> Any:
        both = self._functions.call("combine", self._reduction.combine, where, first, second)
        if both is None:
            self._functions.fail("combine", where, "returned None; expected a state")
        return both

    def _finalized(self, states: dict[Hashable, Any] | None) -> Any:
        if states is None:
            return None
        if not self._grouping.several and not states and self._reduction.identity is not None:
            states = {(): self._reduction.identity}
        call = self._functions.call
        if self._result != "sharded":
            for key, state in states.items():
                where = "the end" + (f", group {key!r}" if self._grouping.several else "")
                states[key] = call("finalize", self._reduction.finalize, where, state)
        return states if self._grouping.several else states.get(())

    def _check_arguments(self, by: Any, on_duplicate: str, root: int, reproducible: bool) -> int:
        check_flags(reproducible=reproducible)
        if not isinstance(self._reduction, Reduction):
            raise UsageError(
                f"reduction is {self._reduction!r}; expected a g3reduce.Reduction, such as "
                'g3reduce.reductions.count("T").'
            )
        check_by(by)
        check_on_duplicate(on_duplicate)
        if self._reduction.elementwise:
            check_strategy(self._strategy, self._result)
        else:
            check_whole(self._reduction, self._strategy, self._result)
        return rank_of(root, self._comm)
