"""The strategies' own code on simulated ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from g3reduce.arrays import SUM
from g3reduce.strategies.costs import Machine
from g3reduce.strategies.registry import strategy_of
from g3reduce.strategies.rows import union_of_rows

from .miniature import Bill, billed, planes
from .ranks import Ranks
from .traffic import Exchange, SimulatedTraffic
from .wires import Wires

Rows = NDArray[np.int64]


class Simulated(NamedTuple):
    """What joining took on simulated ranks.

    Attributes
    ----------
    seconds : float
        Until the last rank was done.
    sent, messages : list of int
        Bytes and messages of each rank, as `g3reduce.strategies.Traffic` counts them.
    between : int
        Bytes of messages from one rank to another one on another node.
    held : list of float
        Bytes of rows that each rank has in the end.
    """

    seconds: float
    sent: list[int]
    messages: list[int]
    between: int
    held: list[float]


def simulate(
    strategy: str,
    held: Sequence[Rows],
    n_rows: int,
    row_bytes: int,
    machine: Machine,
    *,
    n_planes: int = 1,
    result: str = "root",
    nodes: Sequence[int] | None = None,
    late: Sequence[float] | None = None,
) -> Simulated:
    """Let simulated ranks join what they hold.

    Parameters
    ----------
    strategy : str
    held : list of int64 array
        The rows that each rank holds.
    n_rows : int
        How many rows there are.
    row_bytes : int
        Bytes of a row in one plane.
    machine : Machine
    n_planes : int, optional
    result : str, optional
    nodes : list of int, optional
        The node of each rank. Default: all on one.
    late : list of float, optional
        Seconds after which each rank comes.

    Returns
    -------
    Simulated

    Raises
    ------
    ArithmeticError
        If the sums are wrong: the simulation carries numbers, too.
    """
    ranks = Ranks(len(held))
    wires = Wires(machine, [0] * ranks.size if nodes is None else list(nodes))
    bill = Bill(ranks, machine, row_bytes)
    exchange = Exchange(ranks, wires, bill)
    traffics = [SimulatedTraffic(exchange, rank) for rank in range(ranks.size)]
    names = [f"plane {number}" for number in range(n_planes)]
    everything = [planes(bill, n_rows, names) for _ in held]
    for blocks, rows in zip(everything, held, strict=True):
        blocks.insert(np.sort(rows))
        for plane in blocks.planes.values():
            plane.view(np.ndarray)[:] = 1
    ranks.clocks[:] = list(late or [0.0] * ranks.size)
    way = strategy_of(strategy)

    def work(rank: int) -> float:
        # As `g3reduce.strategies.reduce` does before it chooses.
        union_of_rows(traffics[rank], everything[rank])
        traffics[rank].comm.allgather(len(held[rank]))
        blocks = way.reduce(traffics[rank], everything[rank], SUM, result=result, root=0)
        if blocks is None:
            return 0.0
        for plane in blocks.planes.values():
            if not np.array_equal(plane[:, 0], expected[blocks.rows]):
                raise ArithmeticError(f"{strategy}: the sums on rank {rank} are wrong")
        return float(blocks.nbytes * row_bytes)

    expected = np.zeros(n_rows, np.int8)
    for rows in held:
        expected[rows] += 1  # as a miniature does, past 127
    with billed(bill), np.errstate(over="ignore"):
        there = ranks.run(work)
    return Simulated(
        seconds=max(ranks.clocks),
        sent=[traffic.bytes_sent for traffic in traffics],
        messages=[traffic.messages for traffic in traffics],
        between=wires.sent_between,
        held=there,
    )


def footprints(ranks: int, held: int, union: int) -> list[Rows]:
    """Rows of ranks whose footprints shift from rank to rank, all together a union.

    Parameters
    ----------
    ranks : int
    held, union : int
        Rows of each, and of all.
    """
    step = (union - held) / max(1, ranks - 1)
    return [np.arange(held) + math.floor(rank * step) for rank in range(ranks)]
