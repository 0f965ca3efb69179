"""On ranks: the first so many read files of scans, and the others take them.

    distributing.py N_IO FILE...

Tells, for each rank, its host and the numbers of the scans that it took.
"""

import json
import os
import sys

from mpi4py import MPI
from spt3g import core

import g3reduce

comm = MPI.COMM_WORLD
taken = []


def take(frame):
    if frame.type == core.G3FrameType.Scan:
        assert len(frame["Samples"]) == 50_000
        taken.append(frame["Number"])


pipe = core.G3Pipeline()
pipe.Add(g3reduce.MPIIODistributor, mpicomm=comm, n_io=int(sys.argv[1]), files=[sys.argv[2:]])
pipe.Add(take)
pipe.Run()
told = comm.gather((os.uname().nodename, taken))
if comm.rank == 0:
    print(json.dumps(told))
