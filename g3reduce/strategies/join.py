"""One reduction over all ranks: choose a strategy, carry it out, and account for what it did."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..arrays.blocks import Blocks
from ..arrays.reduction import Reduction
from ..choices import ReadyStrategy, Result
from ..errors import UsageError
from ..limits import LIMITS
from ..mpi import communicators, meetings, waiting
from ..mpi.communicators import Comm, OneProcess
from ..spt3glog import unit_logger
from .costs import WORTH_MEASURING, Machine, Profile
from .nodes import Nodes, nodes_of
from .onnode import OnNode
from .registry import AUTO, check_strategy, predict, strategy_of
from .rows import union_of_rows
from .traffic import NAMED, ON_NODE, Statistics, Traffic

logger = unit_logger(__name__)


class Reduced(NamedTuple):
    """The result of a reduction on this rank (None where there is none) and its statistics."""

    blocks: Blocks | None
    statistics: Statistics


def reduce(
    comm: Comm,
    blocks: Blocks,
    reduction: Reduction,
    strategy: ReadyStrategy | str = AUTO,
    *,
    result: Result = "root",
    root: int = 0,
    machine: Machine | None = None,
) -> Reduced:
    """Join the blocks of all ranks by a strategy. Collective over `comm`.

    Ranks of a node join what they hold in each other's memory first, if that is worth it and
    possible. Then one rank of each node goes on by the strategy.

    Parameters
    ----------
    comm : communicator
    blocks : Blocks
        What this rank holds: the same planes on every rank, any rows. It must not be used
        afterwards.
    reduction : Reduction
        An elementwise one.
    strategy : str
        ``"auto"``, or the name of a strategy: see `g3reduce.strategies.names`.
    result : {"root", "all", "sharded"}
        Where the result goes.
    root : int
        The rank that gets it, if one does.
    machine : Machine, optional
        How fast the machine is. Default: measured once for each communicator, as soon as
        ``"auto"`` has to choose for more than a little.

    Returns
    -------
    Reduced
        The blocks, their rows in any order, and the statistics.

    Raises
    ------
    UsageError
        If the reduction is not elementwise, or if the strategy cannot do what is asked for.
    """
    if not reduction.elementwise:
        raise UsageError(
            f"The reduction {reduction.name!r} is not elementwise, so it cannot be done on blocks."
        )
    check_strategy(strategy, result)
    comm = communicators.private(comm)
    if isinstance(comm, OneProcess):
        return Reduced(blocks, Statistics())
    nodes = nodes_of(comm)
    waiting.meet(comm, "the reduction")
    # inf - inf is NaN, as it should be.
    with meetings.counted_on(comm, "the reduction"), np.errstate(invalid="ignore", over="ignore"):
        return _reduce(nodes, blocks, reduction, strategy, result, root, machine)


def _reduce(
    nodes: Nodes,
    blocks: Blocks,
    reduction: Reduction,
    strategy: str,
    result: Result,
    root: int,
    machine: Machine | None,
) -> Reduced:
    traffic = Traffic(nodes.comm)
    profile, on_node = _survey(traffic, nodes, blocks, result, root)
    profile = replace(profile, machine=_machine(nodes, profile, strategy, machine))
    chosen, why, predicted = _pick(strategy, profile)
    if traffic.rank == root:
        logger.info("strategy %s: %s", chosen, why)
    start = time.perf_counter()
    mine: Blocks | None = blocks
    if on_node is None:
        blocks.sort()
        mine = strategy_of(chosen).reduce(traffic, blocks, reduction, result=result, root=root)
    elif chosen == ON_NODE:
        mine = on_node.sum_up(reduction, result=result)
    else:
        mine = on_node.sum_up(reduction, result="root")
        first_ranks = nodes.first_ranks(root)
        if first_ranks is not None and mine is not None:
            mine.sort()
            traffic = Traffic(first_ranks)
            mine = strategy_of(chosen).reduce(
                traffic, mine, reduction, result=result, root=nodes.numbers[root]
            )
        if result != "root":
            mine = on_node.spread(mine, result=result)
    statistics = Statistics(
        strategy=chosen,
        why=why,
        ranks=nodes.comm.size,
        nodes=nodes.count,
        direct=on_node is not None,
        bytes_sent=traffic.bytes_sent,
        bytes_received=traffic.bytes_received,
        messages=traffic.messages,
        bytes_direct=0 if on_node is None else on_node.bytes_direct,
        seconds=time.perf_counter() - start,
        predicted=predicted,
    )
    logger.log(logging.INFO if nodes.comm.rank == root else logging.DEBUG, "%s", statistics)
    return Reduced(mine, statistics)


def _survey(
    traffic: Traffic, nodes: Nodes, blocks: Blocks, result: Result, root: int
) -> tuple[Profile, OnNode | None]:
    """The profile of what all ranks hold, and the work on the node if there is any. Collective."""
    on_node = OnNode(nodes, blocks, nodes.first_rank(root)) if nodes.direct else None
    of_node = 0 if on_node is None else len(on_node.union)
    if on_node is not None and nodes.count == 1:  # then all is known already
        union, everywhere = of_node, np.array([(len(held), of_node) for held in on_node.held])
    else:
        union = len(union_of_rows(traffic, blocks))
        everywhere = np.array(traffic.comm.allgather((len(blocks.rows), of_node)))
    everywhere *= blocks.row_nbytes
    largest, node_union = everywhere.max(axis=0).tolist()
    if union * blocks.row_nbytes < LIMITS.smallest_direct:
        on_node = None
    profile = Profile(
        ranks=traffic.size,
        ranks_per_node=max(Counter(nodes.numbers).values()),
        held=float(everywhere[:, 0].mean()),
        largest=largest,
        union=union * blocks.row_nbytes,
        result=result,
        direct=on_node is not None,
        node_union=node_union if on_node is not None else None,
        planes=len(blocks.planes),
    )
    return profile, on_node


def _machine(nodes: Nodes, profile: Profile, strategy: str, given: Machine | None) -> Machine:
    """The figures of the machine, measured if they matter for the choice. Collective."""
    if given is not None:
        return given
    entries = communicators.cache_of(nodes.comm).entries
    done_on_node = profile.direct and profile.nodes == 1
    to_choose = strategy == AUTO and not done_on_node
    large = profile.union >= WORTH_MEASURING * profile.ranks
    if "machine" not in entries and to_choose and large:
        from .measure import measure  # which a process alone does not need

        entries["machine"] = measure(nodes)
    machine: Machine = entries.get("machine", Machine())
    return machine


def _pick(strategy: str, profile: Profile) -> tuple[str, str, float]:
    """The strategy to use, why, and its predicted seconds. The same on all ranks."""
    if profile.direct and profile.nodes == 1:
        why = "all ranks are on one node and use each other's memory, so there is no more to do"
        return ON_NODE, why, profile.cost_on_node()
    seconds = predict(profile)
    if strategy != AUTO:
        return strategy, NAMED, seconds[strategy]
    chosen = next(iter(seconds))
    listed = ", ".join(f"{name} {cost:.2g} s" for name, cost in seconds.items())
    why = (
        f"the least that is predicted ({listed}), with the result on {profile.result!r}, for "
        f"{profile.union / 1e6:.3g} MB, of which a rank holds {profile.held / 1e6:.3g} MB, on "
        f"{profile.ranks} ranks of {profile.nodes} node{'s' if profile.nodes > 1 else ''}"
    )
    return chosen, why, seconds[chosen]
