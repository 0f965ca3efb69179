"""A plan for a coadd of many files on several nodes, made from a look at a few of them."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..choices import InputCoord, Nonfinite, PolConv, ReadyStrategy
from ..coadd.coadder import MPIMapCoadder
from ..errors import UsageError
from ..kernels import choice as kernels
from ..maps.assumed import Assumed
from ..model import Cluster, Forecast, Work, best, forecasts
from ..mpi import communicators
from ..progress.wording import in_words
from ..spt3gmarks import useful
from ..strategies.registry import check_strategy
from .checkpointing import EVERY_S
from .estimating import base_of, duration
from .inputs import Atomic, as_names, names_of
from .sampling import Sample, add_some, sizes_of, spread

# Until all ranks are ready, where the environment comes from a local disk: see docs/cluster.md.
_START_S = 0.5

# More than clusters have: forecasts of so many ranks take long by themselves.
_MOST = {"nodes": 20_000, "cores_per_node": 10_000}

_LEAST_LIMIT_S, _LIMIT_STEP_S = 600, 300


@dataclass(frozen=True)
class CoaddPlan:
    """What is expected of a coadd of many files, and on what it should run.

    Attributes
    ----------
    n_files : int
    n_bytes : float
        How many files the coadd is of, and their bytes.
    sample : Sample
        The files that were added here.
    work : g3reduce.model.Work
    cluster : g3reduce.model.Cluster
        The figures that the forecasts are made of.
    chosen : g3reduce.model.Forecast
        With the number of ranks on each node that is done first.
    others : list of Forecast
        With 1, 2, 4 and so on ranks on each node.
    fewer : list of Forecast
        The best on 1, 2, 4 and so on nodes, below those that there are.
    """

    n_files: int
    n_bytes: float
    sample: Sample
    work: Work
    cluster: Cluster
    chosen: Forecast
    others: list[Forecast]
    fewer: list[Forecast]

    @property
    def checkpoint_bytes(self) -> float:
        """Bytes of a set of checkpoints, at most, of which two are kept."""
        return self.chosen.ranks * min(
            self.work.union, self.work.held_after(self.n_files / self.chosen.ranks)
        )

    @property
    def memory_limit(self) -> float:
        """Bytes of a node to ask for: a quarter more than is expected."""
        return min(self.cluster.memory, 1.25 * self.chosen.memory_node)

    @property
    def time_limit(self) -> int:
        """Seconds to ask for: twice what is expected, in steps of five minutes, ten at least."""
        wanted = max(_LEAST_LIMIT_S, 2 * self.chosen.seconds)
        return math.ceil(wanted / _LIMIT_STEP_S) * _LIMIT_STEP_S

    def lines(self) -> list[str]:
        """The plan in words."""
        sample, one, cluster = self.sample, self.chosen, self.cluster
        nodes = f"each of {one.nodes} nodes" if one.nodes > 1 else "one node"
        parts = {
            "start": one.starting,
            "reading and adding": one.reading,
            "waiting for the last": one.waiting,
            "joining": one.joining,
            "writing": one.writing,
        }
        spent = ", ".join(f"{what} {duration(s)}" for what, s in parts.items() if s >= 0.05)
        lines = [
            f"Files:       {self.n_files}, {in_words(self.n_bytes)}; {_were(len(sample.names))} "
            f"added here, at {in_words(sample.rate)}/s",
            f"Sums:        {in_words(self.work.held)} of one file, "
            f"{in_words(self.work.union)} of all, at most",
            f"Ranks:       {one.ranks}, {one.ranks_per_node} on {nodes} "
            f"(of {_counted(cluster.cores, 'core')})",
            f"Memory:      up to {in_words(one.memory_rank)} on a rank, "
            f"{in_words(one.memory_root)} on the first, {in_words(one.memory_node)} on its node "
            f"(of {in_words(cluster.memory)})",
            f"Joined:      {_JOINED.get(one.strategy, f'by {one.strategy}')}",
            f"Time:        about {duration(one.seconds)}: {spent}",
            f"Bound by:    {one.limit}",
            f"Checkpoints: every {duration(EVERY_S)}; a set has up to "
            f"{in_words(self.checkpoint_bytes)} on the disk, and two are kept",
        ]
        if self.fewer:
            told = (f"{each.nodes}: {duration(each.seconds)}" for each in self.fewer)
            lines.append(f"Fewer nodes: {', '.join(told)}")
        return lines

    def summary(self) -> str:
        """The plan in one line."""
        one = self.chosen
        return (
            f"{_counted(self.n_files, 'file')}, {in_words(self.n_bytes)}: about "
            f"{duration(one.seconds)} on {_counted(one.ranks, 'rank')}, "
            f"{in_words(one.memory_node)} on a node"
        )

    def as_data(self) -> dict[str, Any]:
        """All of it, as JSON can hold it. Sizes are in bytes, times in seconds."""
        return {
            "files": self.n_files,
            "bytes": self.n_bytes,
            "sample": self.sample.names,
            "rate": self.sample.rate,
            "sums_of_one_file": self.work.held,
            "sums_of_all": self.work.union,
            "cores_per_node": self.cluster.cores,
            "memory_per_node": self.cluster.memory,
            "checkpoint_bytes": self.checkpoint_bytes,
            "memory_limit": self.memory_limit,
            "time_limit": self.time_limit,
            "plan": _as_data(self.chosen),
            "ranks_per_node": [_as_data(each) for each in self.others],
            "fewer_nodes": [_as_data(each) for each in self.fewer],
        }


_JOINED = {
    "on-node": "in the memory of the node",
    "none": "not at all, by one rank",
}


@useful
def plan_coadd(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    nodes: int = 1,
    cores_per_node: int = 64,
    memory_per_node: float = 256e9,
    files_total: int | None = None,
    sample: int = 6,
    read_rate: float = 100e9,
    read_rate_node: float = 10e9,
    write_rate: float = 1e9,
    strategy: ReadyStrategy | str = "auto",
    map_ids: str | Sequence[str] | None = None,
    collate: bool = False,
    weighted: bool = True,
    ignore_missing_weights: bool = False,
    pol_conv: Any = None,
    input_pol_conv: PolConv | None = None,
    input_coord: InputCoord | None = None,
    input_units: str | None = None,
    nonfinite: Nonfinite = "keep",
    reproducible: bool = False,
    atomic: str | os.PathLike[str] | None = None,
    where: str | None = None,
) -> CoaddPlan:
    """Plan a coadd on several nodes from a look at a few of its files. Not collective.

    The sizes of all files are looked up, and some of the files are added by this process, so that
    it is measured how fast that is, and how the sums grow from file to file. What this process
    measures holds for nodes like this one.

    Parameters
    ----------
    files : str, path, or list of these
        As in `coadd_files`: all files of the coadd, or some that are like them.
    nodes, cores_per_node : int
        How many nodes there are, and the most ranks on each.
    memory_per_node : float
        Bytes that the ranks of a node may take.
    files_total : int, optional
        How many files the coadd will be of, if not all are given. Default: those that are.
    sample : int
        How many of them are added here, at most.
    read_rate, read_rate_node : float
        Bytes per second that the file system gives to all nodes together, and to one. The defaults,
        as those of `write_rate`, are round figures of a large cluster: ask your site for its own.
    write_rate : float
        Bytes per second that one rank writes.
    strategy : str
        As in `coadd_files`.
    map_ids, collate, weighted, ignore_missing_weights, pol_conv, input_pol_conv, input_coord, \
input_units, nonfinite, reproducible, atomic, where
        As in `coadd_files`, for the coadd that is meant.

    Returns
    -------
    CoaddPlan
        Its `chosen` says how many ranks to take; its `lines()` are the plan in words.

    Raises
    ------
    InputError
        If a pattern matches nothing, or a file of the sample cannot be added.
    UsageError
        If an argument cannot be used, or the nodes have not the memory.

    Examples
    --------
    >>> plan = plan_coadd("obs*.g3", nodes=4, collate=True)  # doctest: +SKIP
    >>> plan.chosen.ranks_per_node, plan.chosen.seconds  # doctest: +SKIP
    (32, 41.7)
    """
    _require_numbers(
        *(numbers.Integral, "a whole number"),
        nodes=nodes,
        cores_per_node=cores_per_node,
        sample=sample,
        files_total=1 if files_total is None else files_total,
    )
    _require_numbers(
        *(numbers.Real, "a number of bytes, such as 256e9,"),
        memory_per_node=memory_per_node,
        read_rate=read_rate,
        read_rate_node=read_rate_node,
        write_rate=write_rate,
    )
    check_strategy(strategy, "root")
    coadder = MPIMapCoadder(
        communicators.OneProcess(),
        map_ids=map_ids,
        collate=collate,
        weighted=weighted,
        ignore_missing_weights=ignore_missing_weights,
        pol_conv=pol_conv,
        nonfinite=nonfinite,
        reproducible=reproducible,
        on_duplicate="sum",  # what is there twice `check_files` tells
        same_observation="sum",
        keep_outputs=False,
    )
    rows = Atomic(atomic, where)
    rows.verify()
    names, named = names_of(as_names(files), rows)
    assumed = Assumed(input_pol_conv, input_coord, input_units).checked("input_")
    coadder.assume(assumed._replace(named=named))
    sizes = dict(zip(names, sizes_of(names), strict=True))
    mean = sum(sizes.values()) / len(sizes)
    n_files = files_total or len(names)
    if n_files < len(names):
        raise UsageError(
            f"files_total is {n_files}, but {len(names)} files were named. Name only those that "
            "are to be added, or leave it out."
        )
    on_each = n_files * mean / (nodes * cores_per_node)
    kernels.expect(on_each)
    seen = add_some(spread(names, sample), coadder, sizes, limbs=3 if reproducible else 1)
    plain = seen.names[0].endswith(".g3")
    work = Work(
        files=n_files,
        file_bytes=mean,
        held=seen.held,
        union=max(seen.held, seen.union(n_files)),
        # What is compressed is not shared out in parts.
        frame_bytes=(seen.frame or None) if plain else mean,
        slowest=max(sizes.values()) / mean,
    )
    cluster = Cluster(
        nodes=nodes,
        cores=cores_per_node,
        memory=memory_per_node,
        files_total=read_rate,
        files_node=read_rate_node,
        files_rank=seen.rate,
        writing=write_rate,
        base=base_of(on_each) + (0 if plain else seen.held),  # maps that are read as objects
        starting=_START_S,
    )
    return CoaddPlan(
        n_files=n_files,
        n_bytes=n_files * mean,
        sample=seen,
        work=work,
        cluster=cluster,
        chosen=best(work, cluster, strategy),
        others=forecasts(work, cluster, strategy),
        fewer=_on_fewer_nodes(work, cluster, strategy),
    )


def _require_numbers(kind: Any, expected: str, **given: Any) -> None:
    for name, number in given.items():
        most = _MOST.get(name, math.inf)
        if isinstance(number, bool) or not isinstance(number, kind) or not 1 <= number <= most:
            to = f"to {most}" if most < math.inf else "on"
            raise UsageError(f"{name} is {number!r}; expected {expected} from 1 {to}.")


def _on_fewer_nodes(work: Work, cluster: Cluster, strategy: str) -> list[Forecast]:
    """The best on 1, 2, 4 and so on nodes, where the memory is enough for it."""
    found = []
    for power in range((cluster.nodes - 1).bit_length()):
        try:
            found.append(best(work, dataclasses.replace(cluster, nodes=2**power), strategy))
        except UsageError:  # they have not the memory
            continue
    return found


def _as_data(one: Forecast) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "ranks": one.ranks, "seconds": one.seconds}


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _were(number: int) -> str:
    return f"{number} of them {'was' if number == 1 else 'were'}"
