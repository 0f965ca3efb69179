"""The groups of a reducer: their running states on one rank, and the join of those of all ranks."""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ..arrays.exactness import Grid
from ..choices import Result
from ..errors import ReductionError, text_of
from ..mpi.agreement import describe_rank
from ..mpi.communicators import Comm
from ..mpi.deciding import decide_at
from ..pipeline.ledger import Entry, Ledger, merge
from ..pipeline.packedledgers import pack as pack_ledgers
from ..pipeline.packedledgers import unpack as unpack_ledgers
from ..pipeline.userfunctions import UserFunctions
from ..spt3glog import unit_logger
from ..strategies.traffic import Statistics
from .elementjoin import join_elements
from .elements import Elements, GroupSummary, join_summaries
from .held import ElementwiseRules
from .wholes import join_whole

logger = unit_logger(__name__, "MPIReducer")

Key: TypeAlias = Hashable
Position: TypeAlias = "tuple[int, int]"
T = TypeVar("T")


class JoinedGroups(NamedTuple):
    """The groups of all ranks.

    Attributes
    ----------
    states : dict of key to object, or None
        In the order of their first frames in the input, on the ranks that get the result.
    grids : dict of key to dict of str to Grid
        The grids of exact sums, by kind of number. The same on all ranks.
    statistics : Statistics
        What this rank did to join them.
    """

    states: dict[Key, Any] | None
    grids: dict[Key, dict[str, Grid]]
    statistics: Statistics


class _Report(NamedTuple):
    """The report of a rank on its groups, before they are joined.

    Attributes
    ----------
    first : dict of key to tuple
        The position of the first frame of each group in the input.
    summaries : dict of key to GroupSummary
        Of each group, if the reduction is elementwise.
    entries : list of Entry
        The frames that took part.
    """

    first: dict[Key, Position]
    summaries: dict[Key, GroupSummary]
    entries: list[Entry]


def _unpacked(content: bytes) -> _Report:
    packed, keys_and_states = pickle.loads(content)
    (ledger,) = unpack_ledgers(packed)
    first, summaries = pickle.loads(keys_and_states)
    return _Report(first, summaries, ledger.entries)


class Groups:
    """The running states of all groups on one rank.

    Parameters
    ----------
    comm : communicator
    rules : ElementwiseRules
        The reduction, and how it is done if it is elementwise.
    functions : UserFunctions
        Calls the functions of the reduction.

    Attributes
    ----------
    states : dict of key to Elements or object
        By group: elementwise, or whole.
    """

    def __init__(self, comm: Comm, rules: ElementwiseRules, functions: UserFunctions):
        self._comm = comm
        self._rules = rules
        self._reduction = rules.reduction
        self._functions = functions
        self.states: dict[Key, Any] = {}
        self._first: dict[Key, Position] = {}

    def combine(self, key: Key, state: Any, position: Position, where: str) -> None:
        """Combine the state of a group with that of another frame.

        Parameters
        ----------
        key : hashable
        state : object
        position : tuple of int
            Of the frame, in the input.
        where : str
            How messages name the frame.
        """
        if not self._reduction.elementwise:
            old = self.states.get(key)
            self.states[key] = state if old is None else self._combined(old, state, where)
        elif key in self.states:
            self.states[key].combine(state, where)
        else:
            self.states[key] = Elements(self._rules, state, where + describe_rank(self._comm))
        self._first[key] = min(self._first.get(key, position), position)

    def join(
        self, entries: list[Entry], *, once: bool, strategy: str, result: Result, root: int
    ) -> JoinedGroups:
        """Join the groups of all ranks. Collective.

        Parameters
        ----------
        entries : list of Entry
            The frames of this rank that took part.
        once : bool
            Refuse input that took part on two ranks.
        strategy, result, root
            How states are joined, and where the result goes.

        Raises
        ------
        DuplicateError, MismatchError, InputError, ReductionError
            On all ranks, before anything is joined.
        """
        summaries = {
            key: state.summary for key, state in self.states.items() if isinstance(state, Elements)
        }
        keys, common = decide_at(
            self._comm,
            root,
            _Report(self._first, summaries, entries),
            lambda reports: self._compared(reports, once),
            what="the groups of all ranks to be compared",
            pack=self._packed,
            unpack=_unpacked,
            told=self._sendable,
        )
        if not keys and self._comm.rank == root:
            logger.warning(
                "MPIReducer: no frame on any rank took part in %r.", self._reduction.name
            )
        if not self._reduction.elementwise:
            states, statistics = join_whole(
                self._comm,
                dict(self.states),
                self._combined_groups,
                strategy,
                commutes=self._reduction.commutes,
                result=result,
                root=root,
            )
            ordered = None if states is None else {key: states[key] for key in keys}
            return JoinedGroups(ordered, {}, statistics)
        states, statistics = join_elements(
            self._comm, self.states, common, self._rules, strategy, result=result, root=root
        )
        grids = {
            key: {str(dtype): grid for dtype, grid in summary.grids.items()}
            for key, summary in common.items()
        }
        return JoinedGroups(states, grids, statistics)

    def _packed(self, report: _Report) -> bytes:
        ledger = pack_ledgers([Ledger(report.entries)])
        return pickle.dumps((ledger, self._pickled((report.first, report.summaries))))

    def _sendable(self, decision: T) -> T:
        """The same, if it can be sent."""
        self._pickled(decision)
        return decision

    def _pickled(self, keys_and_states: object) -> bytes:
        try:
            return pickle.dumps(keys_and_states)
        except Exception as error:
            raise ReductionError(
                f"The keys of the groups of the reduction {self._reduction.name!r}, or the "
                f"classes of its states, cannot be sent to other ranks: {text_of(error)}"
            ) from error

    def _compared(
        self, reports: Sequence[_Report], once: bool
    ) -> tuple[list[Key], dict[Key, GroupSummary]]:
        """The groups of all ranks, in the order of the input, and their summaries."""
        merge([Ledger(report.entries) for report in reports], once=once)
        first: dict[Key, Position] = {}
        summaries: dict[Key, list[GroupSummary]] = {}
        for report in reports:
            for key, position in report.first.items():
                first[key] = min(position, first.get(key, position))
            for key, theirs in report.summaries.items():
                summaries.setdefault(key, []).append(theirs)
        keys = sorted(first, key=lambda key: (first[key], repr(key)))
        common = {key: join_summaries(self._rules, those) for key, those in summaries.items()}
        return keys, {key: common[key] for key in keys if key in common}

    def _combined_groups(self, mine: dict[Key, Any], theirs: dict[Key, Any]) -> dict[Key, Any]:
        for key, state in theirs.items():
            where = "the joining of the ranks" + (f", group {key!r}" if key != () else "")
            mine[key] = self._combined(mine[key], state, where) if key in mine else state
        return mine

    def _combined(self, first: Any, second: Any, where: str) -> Any:
        both = self._functions.call("combine", self._reduction.combine, where, first, second)
        if both is None:
            self._functions.fail("combine", where, "returned None; expected a state")
        return both
