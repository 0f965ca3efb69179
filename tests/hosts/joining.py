"""On ranks: joins the same rows of all ranks by every strategy, and counts what hosts send.

    joining.py NBYTES [STRATEGY...]

Tells for each strategy and result: these two, whether the sums are right where they should be,
whether ranks of a host used each other's memory, the bytes that all ranks say they have sent, and
those that the network interfaces of all hosts have sent.
"""

import json
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

from g3reduce import arrays, strategies
from g3reduce.arrays.blocks import Blocks
from g3reduce.mpi import communicators
from g3reduce.strategies.nodes import nodes_of

LENGTH = 1024
comm = communicators.private(MPI.COMM_WORLD)
n_rows = int(sys.argv[1]) // 8 // LENGTH
total = comm.size * (comm.size + 1) // 2
first_of_host = nodes_of(comm).node.rank == 0


def sent_by_host():
    """Bytes that the interface of this host has sent."""
    (line,) = (x for x in Path("/proc/self/net/dev").read_text().splitlines() if "eth0:" in x)
    return int(line.split()[9])


def join(strategy, result):
    """What the strategy has done, over all ranks."""
    blocks = Blocks(n_rows, LENGTH, {"T": "f8"})
    blocks.insert(np.arange(n_rows))
    blocks.planes["T"][:] = comm.rank + 1
    comm.Barrier()
    before = sent_by_host()
    joined = strategies.reduce(comm, blocks, arrays.SUM, strategy, result=result)
    comm.Barrier()
    sent = sent_by_host() - before
    has = joined.blocks is not None
    right = not has or bool((joined.blocks.planes["T"] == total).all())
    told = (len(joined.blocks.rows) if has else 0, right, joined.statistics, sent)
    rows, rights, statistics, wire = zip(*comm.allgather(told), strict=True)
    expected = {"root": n_rows, "all": n_rows * comm.size, "sharded": n_rows}[result]
    firsts = comm.allgather(first_of_host)
    return (
        all(rights) and sum(rows) == expected,
        statistics[0].direct,
        sum(one.bytes_sent for one in statistics),
        sum(count for count, first in zip(wire, firsts, strict=True) if first),
    )


found = [
    (strategy, result, *join(strategy, result))
    for result in ("root", "all", "sharded")
    for strategy in strategies.names(result)
    if strategy in sys.argv[2:] or len(sys.argv) == 2
]
if comm.rank == 0:
    print(json.dumps(found))
