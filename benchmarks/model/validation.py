"""Strategies on real ranks beside the simulation of them."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from g3reduce.choices import Result, choices_of

from ..cases import joining as interface
from ..harness.inturn import in_turn, spread
from ..harness.onhosts import rows_from_hosts, why_no_hosts
from ..harness.onranks import rows_from_ranks, timed_on_all
from ..harness.rows import Row
from .joining import Rows, footprints, simulate

ROW_BYTES = 8192  # of a row in each plane
PLANES = ("T", "Q", "U")
OVERLAPS = {"identical": 1.0, "half overlapping": 0.5, "disjoint": 0.0}
RANKS = (2, 3, 4, 5)
HOSTS: Mapping[str, tuple[dict[str, int], str | None]] = {
    "3 hosts of 1 rank, 200 Mbit/s": ({"h1": 1, "h2": 1, "h3": 1}, "200mbit"),
    "3 hosts of 2 ranks, 200 Mbit/s": ({"h1": 2, "h2": 2, "h3": 2}, "200mbit"),
    "3 hosts of 1 rank": ({"h1": 1, "h2": 1, "h3": 1}, None),
}


def on_ranks(comm: Any, megabytes: float, rounds: int, where: str) -> list[Row]:
    """Measure and simulate all strategies, footprints and results on these ranks."""
    from mpi4py import MPI

    joining = interface.Joining(comm)
    machine = joining.machine_of(interface.BY_MESSAGES)
    nodes = joining.nodes_of(interface.BY_MESSAGES)
    held = max(1, round(megabytes * 1e6 / ROW_BYTES / len(PLANES)))
    rows: list[Row] = []
    for overlap, same in OVERLAPS.items():
        union = round(held * (1 + (comm.size - 1) * (1 - same)))
        everyone = footprints(comm.size, held, union)
        for result in choices_of(Result):
            runs, accounts = {}, {}
            for way in [interface.BY_MESSAGES, *interface.strategies_of(result)]:
                accounts[way] = Row()
                runs[way] = _run(comm, joining, way, everyone, union, result, accounts[way])
            seconds = in_turn(runs, rounds)
            taken = accounts.pop(interface.BY_MESSAGES)["taken"]
            best = {at: min(at(seconds[way]) for way in accounts) for at in (median, min)}
            for way, account in accounts.items():
                simulated = simulate(
                    way,
                    everyone,
                    union,
                    ROW_BYTES,
                    machine,
                    n_planes=len(PLANES),
                    result=result,
                    nodes=nodes,
                )
                measured = spread([1e3 * s for s in seconds[way]])
                rows.append(
                    {
                        "where": f"{where}, {MPI.get_vendor()[0]}",
                        "ranks": comm.size,
                        "hosts": len(set(nodes)),
                        "footprints": overlap,
                        "result": result,
                        "strategy": way,
                        "measured ms": measured,
                        "least ms": 1e3 * min(seconds[way]),
                        "simulated ms": 1e3 * simulated.seconds,
                        "predicted ms": account["predicted ms"],
                        "machine": vars(machine),
                        "taken": way == taken,
                        "over the best": median(seconds[way]) / best[median],
                        "least over the best": min(seconds[way]) / best[min],
                        "MB simulated": sum(simulated.sent) / 1e6,
                        "MB sent": account["MB moved"],
                        "messages simulated": sum(simulated.messages),
                        "messages": account["messages"],
                    }
                )
    joining.free()
    return rows


def _run(
    comm: Any,
    joining: Any,
    way: str,
    held: list[Rows],
    union: int,
    result: str,
    account: Row,
) -> Any:
    def prepare() -> tuple[Any, ...]:
        blocks = joining.hold(union, ROW_BYTES // 8, PLANES)
        blocks.insert(held[comm.rank])
        for plane in blocks.planes.values():
            plane[:] = 1
        return way, blocks, result

    def check(joined: Any) -> None:
        account.update(joining.account_of(joined, comm))

    return timed_on_all(comm, joining.join, prepare, check)


def measure(megabytes: float, rounds: int) -> list[Row]:
    """Rows of this machine, and of hosts where there can be any.

    Parameters
    ----------
    megabytes : float
        That each rank holds.
    rounds : int
        How often each strategy joins.
    """
    sizes: dict[str, Any] = {"megabytes": megabytes, "rounds": rounds}
    few = sizes | {"rounds": max(1, rounds // 2)}  # what the wire does, it does each time
    rows = [
        row
        for ranks in RANKS
        for row in rows_from_ranks(ranks, on_ranks, where="one machine", **sizes)
    ]
    if why_no_hosts():
        return rows
    return rows + [
        row
        for name, (slots, rate) in HOSTS.items()
        for row in rows_from_hosts(slots, rate, on_ranks, where=name, **(few if rate else sizes))
    ]
