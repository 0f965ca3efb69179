"""Strategies on real ranks beside the simulation of them.

Run it on ranks: ``mpirun -n 4 python -m mpi4py -m benchmarks.model.validation MEGABYTES ROUNDS
FILE NAME``. Rank 0 writes rows to the file; the name says where it was measured.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from g3reduce.choices import Result, choices_of

from ..cases import joining as interface
from ..harness.inturn import in_turn, spread
from ..harness.onranks import timed_on_all
from ..harness.rows import Row
from .joining import Rows, footprints, simulate

ROW_BYTES = 8192  # of a row in each plane
PLANES = ("T", "Q", "U")
OVERLAPS = {"identical": 1.0, "half overlapping": 0.5, "disjoint": 0.0}


def on_ranks(comm: Any, megabytes: float, rounds: int, where: str = "") -> list[Row]:
    """Measure and simulate all strategies, footprints and results on these ranks."""
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
                        "where": where,
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


def main(arguments: list[str]) -> None:
    """Run by each rank."""
    from mpi4py import MPI

    megabytes, rounds, file, where = arguments
    np.seterr(all="ignore")
    rows = on_ranks(MPI.COMM_WORLD, float(megabytes), int(rounds), where)
    if MPI.COMM_WORLD.rank == 0:
        Path(file).write_text(json.dumps(rows, indent=1) + "\n")
        print(os.path.getsize(file), "bytes written")


if __name__ == "__main__":
    main(sys.argv[1:])
