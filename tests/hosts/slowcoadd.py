"""On ranks: a coadd with checkpoints inside of a guard, each frame of which takes a while.

    slowcoadd.py FOLDER SECONDS STALL

Of the files ``FOLDER/obs_*.g3``, into ``FOLDER/coadd.g3``. Each rank that has begun leaves a file
``begun-RANK`` there. Says ``complete`` on rank 0 when the output is there.
"""

import sys
import time
from pathlib import Path

from mpi4py import MPI

import g3reduce

folder, seconds, stall = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
comm = MPI.COMM_WORLD


def slowly(frame):
    (folder / f"begun-{comm.rank}").touch()
    time.sleep(seconds)
    return {"all": 1}


with g3reduce.guard(comm, stall=stall, patience=2):
    coadds = g3reduce.coadd_files(
        str(folder / "obs_*.g3"),
        folder / "coadd.g3",
        mpicomm=comm,
        assign=slowly,
        checkpoint=folder / "checkpoint",
        checkpoint_every=0.5,
        resume=True,
        reproducible=True,
    )
if comm.rank == 0:
    print(f"complete {coadds.statistics.nodes}")
