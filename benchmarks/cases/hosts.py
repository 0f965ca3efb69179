"""Joining sums over three hosts with a network between them, beside the bare MPI library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread
from ..harness.onhosts import rows_from_hosts, why_no_hosts
from ..harness.onranks import timed_on_all
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from .joining import Joining, strategies_of

BARE = "bare MPI"
ON_NODES, MESSAGES = "nodes first", "messages"
PLANES = ("T",)
LENGTH = 1024
LINKS = {"200 Mbit/s": "200mbit", "not slowed down": None}
SLOTS = {"h1": 2, "h2": 2, "h3": 2}
ORDERS = ("by host", "round robin")
RESULTS = ("root", "all")


def measure(settings: Settings) -> list[Row]:
    """All strategies, on fast and slow links; nothing where there can be no hosts."""
    if why_no_hosts():
        return []
    sizes = {"megabytes": settings.megabytes, "rounds": settings.rounds}
    return [
        {"link": link} | row
        for link, rate in LINKS.items()
        for row in rows_from_hosts(SLOTS, rate, on_ranks, **sizes)
    ]


def on_ranks(world: Any, megabytes: float, rounds: int) -> list[Row]:
    """Run by each rank."""
    rows: list[Row] = []
    for order in ORDERS:
        comm = ordered(world, order)
        for result in RESULTS:
            found = _measure(comm, result, max(1, round(megabytes * 1e6 / 8 / LENGTH)), rounds)
            rows += [{"order": order, "result": result} | row for row in found]
        comm.Free()
    return rows


def ordered(world: Any, order: str) -> Any:
    """A communicator of all ranks: those of a host are neighbours, or as far apart as they can."""
    from mpi4py import MPI

    if order == "by host":
        return world.Dup()
    host = world.Split_type(MPI.COMM_TYPE_SHARED, world.rank)
    key = host.rank
    host.Free()
    return world.Split(0, key)


def _measure(comm: Any, result: str, n_rows: int, rounds: int) -> list[Row]:
    joining = Joining(comm)
    accounts: dict[tuple[str, str], Row] = {}
    ways = [(way, how) for way in ("auto", *strategies_of(result)) for how in (ON_NODES, MESSAGES)]
    ours = {way: _run_of_ours(comm, joining, way, result, n_rows, accounts) for way in ways}
    runs = {str(way): run for way, run in ours.items()}
    seconds = in_turn(runs | {BARE: _bare(comm, result, n_rows)}, rounds)
    joining.free()
    rows = []
    for way, how in ways:
        mine, messages = seconds[str((way, how))], seconds[str((way, MESSAGES))]
        row: Row = {"strategy": way, "how": how, "MB per rank": n_rows * LENGTH * 8 / 1e6}
        row |= accounts[way, how]
        row["ms"] = spread([1e3 * s for s in mine])
        row["time over bare MPI"] = ratio(mine, seconds[BARE])
        if how == ON_NODES:
            row["messages over this"] = ratio(messages, mine)
        rows.append(row)
    return rows


def _run_of_ours(
    comm: Any,
    joining: Joining,
    way: tuple[str, str],
    result: str,
    n_rows: int,
    accounts: dict[tuple[str, str], Row],
) -> Run:
    crossed: list[int] = []

    def prepare() -> tuple[Any, ...]:
        blocks = joining.hold(n_rows, LENGTH, PLANES)
        blocks.insert(np.arange(n_rows))
        for plane in blocks.planes.values():
            plane[:] = comm.rank + 1
        crossed[:] = [sent_by_host()]
        strategy, how = way
        return strategy, how == ON_NODES, blocks, result

    def check(joined: Any) -> None:
        crossed.append(sent_by_host())
        accounts[way] = joining.account_of(joined, comm)
        # Each host was counted by each of its ranks.
        by_host = dict(comm.allgather((host_name(), crossed[1] - crossed[0])))
        accounts[way]["MB on the wire"] = sum(by_host.values()) / 1e6
        accounts[way]["MB sent"] = comm.allreduce(joined.statistics.bytes_sent) / 1e6
        blocks = joining.blocks_of(joined)
        expected = comm.size * (comm.size + 1) // 2
        for plane in blocks.planes.values() if blocks is not None else ():
            if not np.all(plane == expected):
                raise RuntimeError(f"{way}: wrong sums with the result on {result!r}")

    return timed_on_all(comm, joining.join_so, prepare, check)


def _bare(comm: Any, result: str, n_rows: int) -> Run:
    """MPI's own reduction of as many bytes, from and into memory that was touched before."""
    mine = np.full(n_rows * LENGTH, comm.rank + 1.0)
    received = np.ones(len(mine))
    if result == "all":
        return timed_on_all(comm, lambda: comm.Allreduce(mine, received))
    return timed_on_all(comm, lambda: comm.Reduce(mine, received if comm.rank == 0 else None))


def host_name() -> str:
    """The name of this host."""
    return Path("/proc/sys/kernel/hostname").read_text().strip()


def sent_by_host() -> int:
    """Bytes that the network interface of this host has sent to others."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "eth0":
            return int(counts.split()[8])
    raise RuntimeError("This host has no interface eth0.")


def _table(title: str, value: str, only: str | None = None) -> Table:
    return Table(
        title=title,
        index={"order": "order of ranks", "result": "result on", "strategy": "strategy"},
        values={value: ""},
        across=("mpi", "link") if only else ("mpi", "link", "how"),
        where=lambda row: only in (None, row["how"]),
    )


BENCHMARK = Benchmark(
    title="Joining sums over hosts",
    measure=measure,
    reading=(
        "Three hosts with two ranks each are made of this machine, with a network between them. "
        "All ranks hold the same pixels. By default the ranks of a host join what they have in its "
        "memory, and one of them goes on by the strategy (nodes first); with "
        "`G3REDUCE_DIRECT_MEMORY=0` all exchange messages. Bare MPI is `MPI.Reduce` or "
        "`MPI.Allreduce` of as many bytes. What crossed the network was counted "
        "by the interfaces of the hosts. Links of 200 Mbit/s are "
        "what takes the time there. The others are not slowed down, so that the cores of this "
        "machine, which all hosts share, are what takes the time."
    ),
    tables=(
        _table("Time over that of bare MPI", "time over bare MPI"),
        _table("Times as fast as by messages only", "messages over this", ON_NODES),
        _table("MB that crossed the network", "MB on the wire"),
        _table("Predicted ms", "predicted ms"),
        _table("Measured ms", "ms"),
    ),
    draw=lambda rows: pictures.lines(
        [row for row in rows if row["how"] == ON_NODES and row["result"] == "root"],
        x="order",
        y={"messages over this": "{}"},
        panel=("mpi", "link"),
        by="strategy",
        x_label="order of ranks",
        y_label="times as fast as by messages only",
    ),
)
