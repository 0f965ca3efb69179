"""The plan of a coadd: figures of what it will take, in words and as JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ..model import Cluster, Forecast, Work
from ..progress.wording import in_words
from .checkpointing import EVERY_S
from .estimating import duration
from .plannedwork import PlannedCoadds
from .sampling import Sample

_LEAST_LIMIT_S, _LIMIT_STEP_S = 600, 300

_SHOWN = 4  # coadds, in words


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
    coadds : list of PlannedCoadds
        What is made of them.
    checkpoints : bool
        Whether there are checkpoints.
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
    coadds: list[PlannedCoadds]
    checkpoints: bool
    work: Work
    cluster: Cluster
    chosen: Forecast
    others: list[Forecast]
    fewer: list[Forecast]

    @property
    def checkpoint_bytes(self) -> float:
        """Bytes of a set of checkpoints, at most, of which two are kept; 0 if there are none."""
        return (
            self.checkpoints
            * self.chosen.ranks
            * min(self.work.union, self.work.held_after(self.n_files / self.chosen.ranks))
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
            "Checkpoints: "
            + (
                f"every {duration(EVERY_S)}; a set has up to {in_words(self.checkpoint_bytes)} on "
                "the disk, and two are kept"
                if self.checkpoints
                else "none"
            ),
        ]
        if self.n_coadds + self.n_flips > 1:
            lines.insert(1, f"Coadds:      {self._coadds_in_words()}")
        if self.fewer:
            told = (f"{each.nodes}: {duration(each.seconds)}" for each in self.fewer)
            lines.append(f"Fewer nodes: {', '.join(told)}")
        return lines

    @property
    def n_coadds(self) -> int:
        """How many coadds there are, without the realisations of any."""
        return sum(one.number for one in self.coadds)

    @property
    def n_flips(self) -> int:
        """How many sign-flip realisations there are of all of them."""
        return sum(one.number * one.flips for one in self.coadds)

    def _coadds_in_words(self) -> str:
        told = [
            ("" if one.number == 1 else f"{one.number} times ")
            + f"{one.name} of {_counted(round(one.maps), 'map')}"
            for one in self.coadds[:_SHOWN]
        ]
        told += ["..."] * (len(self.coadds) > _SHOWN)
        flips = f" and {_counted(self.n_flips, 'sign flip')} of them" if self.n_flips else ""
        return f"{self.n_coadds}{flips}: {', '.join(told)}"

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
            "coadds": [each._asdict() for each in self.coadds],
            "checkpoints": self.checkpoints,
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


def _as_data(one: Forecast) -> dict[str, Any]:
    return {**dataclasses.asdict(one), "ranks": one.ranks, "seconds": one.seconds}


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _were(number: int) -> str:
    return f"{number} of them {'was' if number == 1 else 'were'}"
