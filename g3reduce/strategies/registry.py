"""Which strategies there are, what each can do, and which one ``"auto"`` takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .. import waiting
from ..blocks import Blocks
from ..comm import Comm, OneProcess
from ..errors import UsageError
from ..reductions import Reduction
from .allreduce import Allreduce
from .gather import Gather
from .tree import Tree

if TYPE_CHECKING:
    from mpi4py import MPI

logger = logging.getLogger(__name__)

AUTO = "auto"
RESULTS = ("root", "all")


class Strategy(Protocol):
    """A way of joining blocks over ranks. It never knows what they mean.

    Attributes
    ----------
    name : str
        By which users choose it.
    results : tuple of str
        Where it can put the result: on one ``"root"``, on ``"all"`` ranks.
    """

    name: str
    results: tuple[str, ...]

    def reduce(
        self, comm: MPI.Intracomm, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """Join the blocks of all ranks. Collective over `comm`.

        Parameters
        ----------
        comm : mpi4py.MPI.Intracomm
            Of two ranks or more.
        blocks : Blocks
            What this rank holds: the same planes on every rank, any rows. It may be changed and
            must not be used afterwards.
        reduction : Reduction
            An elementwise one.
        result : {"root", "all"}
            Where the result goes; one of `results`.
        root : int
            The rank that gets it, if one does.

        Returns
        -------
        Blocks or None
            On the ranks that get the result, the rows that any rank held.
        """
        ...


_ALL: tuple[Strategy, ...] = (Gather(), Tree(), Allreduce())
_STRATEGIES: Mapping[str, Strategy] = {strategy.name: strategy for strategy in _ALL}


def names(result: str) -> list[str]:
    """The strategies that can put the result there."""
    return [name for name, strategy in _STRATEGIES.items() if result in strategy.results]


def choose(strategy: str, result: str) -> Strategy:
    """The strategy that a user's choice stands for.

    Raises
    ------
    UsageError
        If there is no such strategy or result, or if the one cannot put the other there; with
        the list of what can be chosen.
    """
    if result not in RESULTS:
        raise UsageError(f"result is {result!r}; expected one of {', '.join(RESULTS)}.")
    if strategy == AUTO:
        chosen, why = _choose_for(result)
        logger.info("strategy %s: %s", chosen, why)
        return _STRATEGIES[chosen]
    if strategy not in _STRATEGIES:
        known = ", ".join([AUTO, *_STRATEGIES])
        raise UsageError(f"strategy is {strategy!r}; expected one of {known}.")
    if result not in _STRATEGIES[strategy].results:
        raise UsageError(
            f"The strategy {strategy!r} cannot put the result on {result!r} "
            f"(result={result!r}); these can: {', '.join([AUTO, *names(result)])}."
        )
    return _STRATEGIES[strategy]


def _choose_for(result: str) -> tuple[str, str]:
    if result == "all":
        return Allreduce.name, "the result goes to all ranks"
    return Tree.name, "the result goes to one rank, and only submaps that were hit need travel"


def reduce(
    comm: Comm,
    blocks: Blocks,
    reduction: Reduction,
    strategy: Strategy,
    *,
    result: str = "root",
    root: int = 0,
) -> Blocks | None:
    """Join the blocks of all ranks by a strategy. Collective over `comm`.

    See `Strategy.reduce`. With one rank there is nothing to do.
    """
    if not reduction.elementwise:
        raise UsageError(
            f"The reduction {reduction.name!r} is not elementwise, so it cannot be done on blocks."
        )
    if isinstance(comm, OneProcess):
        return blocks
    waiting.meet(comm, "the reduction")
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
        return strategy.reduce(comm, blocks, reduction, result=result, root=root)
