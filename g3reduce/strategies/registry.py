"""The strategies that there are, by name, and what each can do."""

from __future__ import annotations

from typing import Protocol

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from ..choices import Result, choices_of
from ..errors import UsageError, require_choice
from .collective import Allreduce, ReduceScatter
from .costs import Profile
from .owner import Owner
from .pairwise import Gather, Tree
from .traffic import Traffic

AUTO = "auto"


class Strategy(Protocol):
    """A way of joining blocks over ranks, whatever the numbers in them mean.

    Its `name` and `results` may be plain attributes.
    """

    @property
    def name(self) -> str:
        """The name by which users choose it."""
        ...

    @property
    def results(self) -> tuple[str, ...]:
        """Where it can put the result, of ``"root"``, ``"all"`` and ``"sharded"``.

        That is, on one rank, on all of them, or on each rank a shard of the rows.
        """
        ...

    def cost(self, profile: Profile) -> float:
        """The seconds that `reduce` will take, approximately."""
        ...

    def reduce(
        self, traffic: Traffic, blocks: Blocks, reduction: Reduction, *, result: str, root: int
    ) -> Blocks | None:
        """Join the blocks of all ranks. Collective.

        Parameters
        ----------
        traffic : Traffic
            A communicator of two ranks or more, which counts what goes through it.
        blocks : Blocks
            What this rank holds: the same planes on every rank, any rows. It may be changed and
            must not be used afterwards.
        reduction : Reduction
            An elementwise one.
        result : {"root", "all", "sharded"}
            Where the result goes; one of `results`.
        root : int
            The rank that gets it, if one does.

        Returns
        -------
        Blocks or None
            On the ranks that get the result, the rows that any rank held; or, sharded, an even
            and contiguous shard of these.
        """
        ...


_STRATEGIES: dict[str, Strategy] = {}


def register_strategy(strategy: Strategy) -> None:
    """Make a strategy of your own known, by its name, to be chosen by users and by ``"auto"``.

    Call it on all ranks, before modules are made.

    Parameters
    ----------
    strategy : object
        With ``name``, ``results``, ``cost`` and ``reduce``, as
        `g3reduce.strategies.Strategy` describes.

    Raises
    ------
    UsageError
        If there is another one of this name, or if it lacks any of these.
    """
    for what in ("name", "results", "cost", "reduce"):
        if not hasattr(strategy, what):
            raise UsageError(
                f"A strategy has name, results, cost and reduce, but {strategy!r} has no {what}."
            )
    if not set(strategy.results) <= set(choices_of(Result)):  # of a string, its letters
        raise UsageError(
            f"The strategy {strategy.name!r} has results={strategy.results!r}; expected a tuple of "
            f"some of {', '.join(choices_of(Result))}."
        )
    if strategy.name == AUTO or strategy.name in _STRATEGIES:
        raise UsageError(f"There is a strategy of the name {strategy.name!r} already.")
    _STRATEGIES[strategy.name] = strategy


for _strategy in (Gather(), Tree(), Allreduce(), ReduceScatter(), Owner()):
    register_strategy(_strategy)


def names(result: str) -> list[str]:
    """The names of the strategies that can put the result there."""
    return [name for name, strategy in _STRATEGIES.items() if result in strategy.results]


def strategy_of(name: str) -> Strategy:
    """The strategy of a name for which `check_strategy` raised nothing."""
    return _STRATEGIES[name]


def check_names(strategy: str, result: str) -> None:
    """Check the names of a strategy and of where the result goes.

    Raises
    ------
    UsageError
        With the list of those that there are.
    """
    require_choice("result", result, Result)
    known = [AUTO, *_STRATEGIES]
    if strategy not in known:
        raise UsageError(f"strategy is {strategy!r}; expected one of {', '.join(known)}.")


def check_strategy(strategy: str, result: str) -> None:
    """Check that a strategy exists and can put the result where a user wants it.

    Raises
    ------
    UsageError
        If not, with the list of what can be chosen.
    """
    check_names(strategy, result)
    if strategy != AUTO and result not in _STRATEGIES[strategy].results:
        raise UsageError(
            f"The strategy {strategy!r} cannot put the result on {result!r} "
            f"(result={result!r}); these can: {', '.join([AUTO, *names(result)])}."
        )


def predict(profile: Profile) -> dict[str, float]:
    """Predicted seconds of each strategy that can put the result there, the fastest first."""
    first = profile.cost_on_node() if profile.direct else 0.0
    profile = profile.of_first_ranks() if profile.direct else profile
    seconds = {
        name: first + (strategy_of(name).cost(profile) if profile.ranks > 1 else 0.0)
        for name in names(profile.result)
    }
    return dict(sorted(seconds.items(), key=lambda item: item[1]))
