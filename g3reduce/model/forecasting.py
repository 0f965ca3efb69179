"""Forecasts of a coadd: how long it takes on so many ranks, with which strategy, in what memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import UsageError
from ..limits import LIMITS
from ..strategies.costs import Profile
from ..strategies.registry import AUTO, check_strategy, predict
from ..strategies.traffic import ON_NODE, ONE_RANK
from .figures import Cluster, Work
from .memory import Held, while_joined


@dataclass(frozen=True)
class Forecast:
    """What a coadd is expected to take. A model, not a measurement.

    Attributes
    ----------
    nodes, ranks_per_node : int
    strategy : str
        How the sums are joined: ``"none"`` with one rank, ``"on-node"`` with one node whose ranks
        use each other's memory.
    by_strategy : dict of str to float
        Seconds that each strategy would take to join them, the fastest first.
    starting, reading, waiting, joining, writing : float
        Seconds until all ranks are ready; in which the mean rank reads and adds; in which it then
        waits for the last one; in which sums are joined; in which the output is written.
    read, sent : float
        Bytes that come from files, and that leave a node while sums are joined, at most.
    memory_rank, memory_root, memory_node : float
        The most bytes of a rank, of the one that gets the result, and those that the fullest node
        must have.
    fits : bool
        Whether a node has that memory.
    limit : str
        What the time is spent on, most of all.
    """

    nodes: int
    ranks_per_node: int
    strategy: str
    by_strategy: dict[str, float]
    starting: float
    reading: float
    waiting: float
    joining: float
    writing: float
    read: float
    sent: float
    memory_rank: float
    memory_root: float
    memory_node: float
    fits: bool
    limit: str

    @property
    def ranks(self) -> int:
        """The number of ranks."""
        return self.nodes * self.ranks_per_node

    @property
    def seconds(self) -> float:
        """Seconds from the beginning to the end."""
        return self.starting + self.reading + self.waiting + self.joining + self.writing


def forecast(work: Work, cluster: Cluster, ranks_per_node: int, strategy: str = AUTO) -> Forecast:
    """What a coadd takes on all nodes of a cluster.

    Parameters
    ----------
    work : Work
    cluster : Cluster
    ranks_per_node : int
    strategy : str
        ``"auto"``, or the name of a strategy.

    Returns
    -------
    Forecast

    Raises
    ------
    UsageError
        If there are more ranks than cores, or if the strategy cannot put the result there.

    Examples
    --------
    >>> work = Work(files=1000, file_bytes=300e6, held=240e6, union=240e6)
    >>> told = forecast(work, Cluster(nodes=4), 16)
    >>> told.ranks, told.fits, told.limit
    (64, True, "reading through the nodes' links")
    """
    if not 1 <= ranks_per_node <= cluster.cores:
        raise UsageError(
            f"{ranks_per_node} ranks on each node; expected from 1 to {cluster.cores}, its cores."
        )
    check_strategy(strategy, work.result)
    ranks = cluster.nodes * ranks_per_node
    reading, waiting, bound = _reading(work, cluster, ranks)
    profile = _profile(work, cluster, ranks, ranks_per_node)
    chosen, seconds = _joining(profile, strategy)
    parts = {
        "the start": cluster.starting,
        bound: reading,
        "waiting for the last files": waiting,
        "joining the sums": seconds.get(chosen, 0.0),
        "writing the output": _writing(work, cluster, ranks_per_node),
    }
    starting, _, _, joining, writing = parts.values()
    held = while_joined(profile, chosen, work.coadds)
    held = Held(*(max(one, profile.largest * (1 + work.beside)) for one in held))
    fullest = max(held.root + (ranks_per_node - 1) * held.other, ranks_per_node * work.asked)
    fullest += ranks_per_node * cluster.base
    return Forecast(
        nodes=cluster.nodes,
        ranks_per_node=ranks_per_node,
        strategy=chosen,
        by_strategy=seconds,
        starting=starting,
        reading=reading,
        waiting=waiting,
        joining=joining,
        writing=writing,
        read=work.read,
        sent=_sent(profile, chosen),
        memory_rank=cluster.base + max(held.other, held.first),
        memory_root=cluster.base + held.root,
        memory_node=fullest,
        fits=fullest <= cluster.memory,
        limit=max(parts, key=lambda what: parts[what]),
    )


def forecasts(work: Work, cluster: Cluster, strategy: str = AUTO) -> list[Forecast]:
    """Forecasts for 1, 2, 4 and so on ranks on each node, up to its cores."""
    numbers = {2**power for power in range(cluster.cores.bit_length())} | {cluster.cores}
    return [forecast(work, cluster, number, strategy) for number in sorted(numbers)]


def best(work: Work, cluster: Cluster, strategy: str = AUTO) -> Forecast:
    """The forecast that is done first, of those whose memory a node has.

    Raises
    ------
    UsageError
        If not even one rank on each node fits.
    """
    found = forecasts(work, cluster, strategy)
    fitting = [one for one in found if one.fits]
    if not fitting:
        least = min(found, key=lambda one: one.memory_node)
        shards = ", or leave the sum in shards (result='sharded', g3reduce coadd --result sharded)"
        shards = "" if work.result == "sharded" else shards
        raise UsageError(
            f"The sums need {least.memory_node / 1e9:.3g} GB of a node with {least.ranks_per_node} "
            f"rank on it, but a node has {cluster.memory / 1e9:.3g} GB. Take nodes with more "
            f"memory, make fewer coadds at once{shards}."
        )
    # Of those that are as good as the fastest, the one with the fewest ranks.
    limit = 1.02 * min(one.seconds for one in fitting)
    return next(one for one in fitting if one.seconds <= limit)


def _reading(work: Work, cluster: Cluster, ranks: int) -> tuple[float, float, str]:
    """Seconds to read and add, seconds to wait for the last rank, and what sets the pace."""
    busy = min(ranks, work.units)
    seconds = {
        "reading and adding on the ranks": work.read / (busy * cluster.files_rank),
        "reading through the nodes' links": work.read / (cluster.nodes * cluster.files_node),
        "reading from the file system": work.read / cluster.files_total,
    }
    bound = max(seconds, key=lambda what: seconds[what])
    each = work.read / work.units / cluster.files_rank  # seconds of a unit, at the least
    # Where files come too slowly for all ranks, those that are left at the end get more of them.
    last = max(seconds[bound], math.ceil(work.units / busy) * each) + (work.slowest - 1) * each
    return seconds[bound], last - seconds[bound], bound


def _profile(work: Work, cluster: Cluster, ranks: int, ranks_per_node: int) -> Profile:
    """What ranks hold when all is read."""
    files = math.ceil(work.units / ranks) * work.files / work.units
    most = work.held_after(files)
    mean = min(1.0, work.units / ranks) * most
    return Profile(
        ranks=ranks,
        ranks_per_node=ranks_per_node,
        held=mean,
        largest=most,
        union=work.union,
        result=work.result,
        direct=ranks_per_node > 1 and work.union / work.coadds >= LIMITS.smallest_direct,
        node_union=work.held_after(files * min(ranks_per_node, work.units)),
        planes=max(1, round(work.coadds)),
        machine=cluster.machine,
    )


def _joining(profile: Profile, strategy: str) -> tuple[str, dict[str, float]]:
    """The strategy, and the seconds of those that there are."""
    if profile.ranks == 1:
        return ONE_RANK, {ONE_RANK: 0.0}
    if profile.direct and profile.nodes == 1:
        return ON_NODE, {ON_NODE: profile.cost_on_node()}
    seconds = predict(profile)
    return (next(iter(seconds)) if strategy == AUTO else strategy), seconds


def _writing(work: Work, cluster: Cluster, ranks_per_node: int) -> float:
    if work.result != "sharded":
        return work.output / cluster.writing
    of_node = min(cluster.files_node, ranks_per_node * cluster.writing)
    return work.output / min(cluster.files_total, cluster.nodes * of_node)


def _sent(profile: Profile, strategy: str) -> float:
    """Bytes that leave the node that sends the most, or come to the root."""
    if profile.nodes == 1 or strategy in (ON_NODE, ONE_RANK):
        return 0.0
    between = profile.of_first_ranks() if profile.direct else profile
    shard = between.union / between.ranks
    if strategy == "gather":
        return between.held
    if strategy == "tree":
        return between.union_of(-(-between.ranks // 2))
    if strategy == "allreduce":
        return 2 * (1 - 1 / between.ranks) * between.union
    first = between.held if strategy == "owner" else between.union
    last = {"root": shard, "all": (between.ranks - 1) * shard, "sharded": 0.0}[profile.result]
    return first + last
