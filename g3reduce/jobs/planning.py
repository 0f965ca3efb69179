"""A plan for a coadd of many files on several nodes, made from a look at a few of them."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

from ..choices import InputCoord, Nonfinite, PolConv, ReadyStrategy, Result
from ..coadd.coadder import MPIMapCoadder
from ..coadd.membership import Assign
from ..coadd.settings import Terms
from ..errors import UsageError
from ..kernels import choice as kernels
from ..maps.assumed import Assumed
from ..model import Cluster, Forecast, Work, best, forecasts
from ..mpi import communicators
from ..pipeline.arguments import check_flags
from ..splits import Splitting
from ..spt3gmarks import useful
from .coaddplan import CoaddPlan
from .estimating import base_of
from .inputs import Atomic, as_names, names_of
from .plannedwork import Planned
from .sampledsplits import SampledSplits
from .sampling import add_some, sizes_of, spread, stretch, time_more_sums
from .splitting import Planner, for_the_look

# Until all ranks are ready, where the environment comes from a local disk: see docs/cluster.md.
_START_S = 0.5

# More than clusters have: forecasts of so many ranks take long by themselves.
_MOST = {"nodes": 20_000, "cores_per_node": 10_000}


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
    result: Result = "root",
    checkpoints: bool = True,
    map_ids: str | Sequence[str] | None = None,
    collate: bool = False,
    weighted: bool = True,
    ignore_missing_weights: bool = False,
    assign: Assign | None = None,
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
    checkpoints : bool
        Whether there are to be checkpoints, which ``result="sharded"`` never has. With them each
        sign flip has weights of its own in memory.
    strategy, result, map_ids, collate, weighted, ignore_missing_weights, assign, pol_conv, \
input_pol_conv, input_coord, input_units, nonfinite, reproducible, atomic, where
        As in `coadd_files`, for the coadd that is meant. Of a splitting as `assign`, rules decide
        of the maps of the sample; its bundles and sign flips count by their numbers.

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
    check_flags(checkpoints=checkpoints)
    coadder = MPIMapCoadder(
        communicators.OneProcess(),
        map_ids=map_ids,
        collate=collate,
        weighted=weighted,
        ignore_missing_weights=ignore_missing_weights,
        assign=for_the_look(assign),
        strategy=strategy,
        result=result,
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
    limbs = 3 if reproducible else 1
    checkpoints = checkpoints and result != "sharded"
    chosen, splits = spread(names, sample), None
    if isinstance(assign, Splitting):
        splits = _sampled(assign, chosen, coadder.terms, len(names), n_files)
        coadder.follow(splits.plan(), "", flips_at_once=True)
    seen = add_some(chosen, coadder, sizes, limbs=limbs)
    at_once = not checkpoints and not reproducible
    planned = Planned(seen, splits, n_files=n_files, limbs=limbs, at_once=at_once)
    if splits is not None:
        time_more_sums(seen, coadder, splits, planned.more())
    coadder.discard()
    plain = seen.names[0].endswith(".g3")
    work = planned.work(
        file_bytes=mean,
        # What is compressed is not shared out in parts.
        frame_bytes=(seen.frame or None) if plain else mean,
        slowest=max(sizes.values()) / mean,
        result=result,
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
        coadds=planned.coadds(),
        checkpoints=checkpoints,
        work=work,
        cluster=cluster,
        chosen=best(work, cluster, strategy),
        others=forecasts(work, cluster, strategy),
        fewer=_on_fewer_nodes(work, cluster, strategy),
    )


def _sampled(
    splitting: Splitting, names: list[str], terms: Terms, n_names: int, n_files: int
) -> SampledSplits:
    """What the maps of a sample tell of a splitting."""
    planner = Planner(communicators.OneProcess(), splitting, terms, None)
    return SampledSplits(
        splitting,
        planner.facts_of(names),
        planner.sizes,
        part=len(names) / n_files,
        reach=stretch(n_names, len(names), n_files),
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
