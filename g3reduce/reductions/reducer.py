"""The reducer: an end-of-pipeline module for reductions of any kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from spt3g import maps as _maps  # noqa: F401  # without it no frame gives its maps

from ..arrays.exactness import Exactness, Grid
from ..arrays.reduction import Reduction
from ..choices import OnDuplicate, ReadyStrategy, Result
from ..errors import UsageError
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, collectively, describe_rank, rank_of
from ..pipeline.arguments import check_flags
from ..pipeline.endmodule import EndModule, at_the_end
from ..pipeline.ledger import (
    Entry,
    Ledger,
    check_on_duplicate,
    unit_of,
    where_of,
)
from ..pipeline.originals import KnownFiles
from ..pipeline.userfunctions import Grouping, UserFunctions, check_by
from ..spt3gmarks import g3module
from ..spt3gtypes import Frame
from ..strategies.nodes import check_environment
from ..strategies.registry import check_strategy
from ..strategies.traffic import Statistics
from .groups import Groups
from .held import ElementwiseRules, exactness_of
from .wholes import check_whole


@g3module
class MPIReducer(EndModule):
    """Reduce anything that frames hold over all ranks; an end-of-pipeline G3 module.

    Each rank combines what the reduction extracts from the frames that its pipeline brings. At
    the end of processing the ranks join what they have: afterwards `result` is the result. Frames
    go down the pipeline as they came.

    A reduction that names an MPI operation is done element by element, by any of the strategies of
    `MPIMapCoadder`, on a node by ranks that read each other's memory. Any other is combined whole,
    in the order of the frames on each rank and then of the ranks. Arrays travel as buffers, without
    pickling, also those in dictionaries, lists, tuples and dataclasses.

    Collective over `mpicomm`: the constructor, and the end of processing. The module cannot be
    the first of a pipeline, which spt3g does not call at the end.

    Parameters
    ----------
    reduction : Reduction
        What is extracted and how it is combined: one of `g3reduce.reductions`, or your own.
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    by : str or callable, optional
        Groups that are reduced separately: ``by(frame)`` returns the key of the group, anything
        hashable, or None for a frame that takes no part. A string names a key of frames; a frame
        that lacks it belongs to the latest value that came, so that ``"ObservationID"`` groups the
        scans after each Observation frame.
    strategy : {"auto", "gather", "tree", "allreduce", "reduce_scatter", "owner"}
        How the ranks join their states. What is combined whole goes by ``"tree"`` or
        ``"gather"``.
    result : {"root", "all", "sharded"}
        Which ranks get the result. Sharded, for elementwise reductions: each rank gets a part of
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
    >>> spectra = MPIReducer(reductions.mean_psd("CalTimestreams"), comm)  # doctest: +SKIP
    >>> scans = MPIReducer(reductions.count("Signal"), comm, by="ObservationID")  # doctest: +SKIP
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
        reduction: Reduction,
        mpicomm: communicators.Comm | None = None,
        *,
        by: str | Callable[[Frame], Hashable] | None = None,
        strategy: ReadyStrategy | str = "auto",
        result: Result = "root",
        root: int = 0,
        on_duplicate: OnDuplicate = "error",
        reproducible: bool = False,
        absmax: float | None = None,
    ):
        comm = communicators.private(mpicomm)

        def check() -> tuple[tuple[int, Exactness | None], dict[str, object]]:
            check_flags(reproducible=reproducible)
            if not isinstance(reduction, Reduction):
                raise UsageError(
                    f"reduction is {reduction!r}; expected a g3reduce.Reduction, such as "
                    'g3reduce.reductions.count("T").'
                )
            check_by(by)
            check_on_duplicate(on_duplicate)
            if reduction.elementwise:
                check_strategy(strategy, result)
            else:
                check_whole(reduction, strategy, result)
            check_environment()
            rank = rank_of(root, comm)
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

        rank, exactness = agreed_arguments(comm, "The arguments of MPIReducer", check)
        super().__init__(comm)
        self._reduction = reduction
        self._how: Any = {"strategy": strategy, "result": result, "root": rank}
        self._sharded = result == "sharded"
        self._once = on_duplicate == "error"
        self._functions = UserFunctions(f"the reduction {reduction.name!r}", describe_rank(comm))
        self._grouping = Grouping(by, self._functions)
        rules = ElementwiseRules(reduction, exactness)
        self._groups = Groups(comm, rules, self._functions)
        self._ledger = Ledger()
        self._known = KnownFiles()
        self._outcome: Any = None
        self._grids: dict[Hashable, dict[str, Grid]] = {}
        self._statistics = Statistics()

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
        """The grids of exact sums, after the end of processing; on all ranks.

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
    def statistics(self) -> Statistics:
        """The statistics of the join, as this rank saw it, after the end of processing."""
        return at_the_end(self._ended, self._statistics, "result")

    def add(self, frame: Frame) -> bool:
        """Combine what is extracted from a frame with what there is.

        Returns
        -------
        bool
            Whether it took part.
        """
        self._require_open()
        where = where_of(frame)
        self._grouping.observe(frame)
        state = self._functions.call("extract", self._reduction.extract, where, frame)
        if state is None:
            return False
        key = self._grouping.key_of(frame, where)
        if key is None:
            return False
        entry = Entry.of(unit_of(frame), known=self._known)
        if self._once:
            self._ledger.refuse_duplicate(entry)
        self._groups.combine(key, state, entry.input_order, where)
        self._ledger.record(entry)
        return True

    def finish(self) -> Any:
        """Join the states of all ranks, as is done at the end of processing. Collective.

        Returns
        -------
        object
            The result, on the ranks that hold it, else None.
        """
        self._end()
        joined = self._groups.join(self._ledger.entries, once=self._once, **self._how)
        self._grids, self._statistics = joined.grids, joined.statistics
        self._outcome = collectively(self._comm, lambda: self._finalized(joined.states))
        self._groups.states.clear()  # not before: it takes a while, and others wait for this rank
        self._watch.leave([])
        return self._outcome

    def _has_frames(self) -> bool:
        return bool(self._groups.states)

    def _finalized(self, states: dict[Hashable, Any] | None) -> Any:
        if states is None:
            return None
        if not self._grouping.several and not states and self._reduction.identity is not None:
            states = {(): self._reduction.identity}
        call = self._functions.call
        if not self._sharded:
            for key, state in states.items():
                where = "the end" + (f", group {key!r}" if self._grouping.several else "")
                states[key] = call("finalize", self._reduction.finalize, where, state)
        return states if self._grouping.several else states.get(())
