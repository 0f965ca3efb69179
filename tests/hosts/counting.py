"""On ranks: rank 0 computes until all others have taken their numbers of a shared counter.

It gives up after so many seconds. Tells, for each rank, how many it took, and whether it had taken
all of them while rank 0 was at work.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

from g3reduce.mpi import communicators
from g3reduce.mpi.counter import SharedCounter

folder, each, patience = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
comm = communicators.private(MPI.COMM_WORLD)
counter = SharedCounter(comm)
comm.Barrier()
over = folder / "over"
taken = []
if comm.rank == 0:
    values = np.random.default_rng(1).random(100_000)
    give_up = time.monotonic() + patience
    while len(list(folder.glob("done-*"))) < comm.size - 1 and time.monotonic() < give_up:
        np.sort(values)
    over.touch()
    meanwhile = True
else:
    while len(taken) < each:
        taken.append(counter.next())
    meanwhile = not over.exists()
    (folder / f"done-{comm.rank}").touch()
told = comm.gather((taken, meanwhile))
if comm.rank == 0:
    print(json.dumps(told))
