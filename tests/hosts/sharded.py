"""On ranks: coadds files of one folder into a sharded output and into that of the first rank."""

import json
import os
import sys

from mpi4py import MPI

import g3reduce

comm = MPI.COMM_WORLD
folder = sys.argv[1]
files = sorted(os.path.join(folder, name) for name in os.listdir(folder) if "obs_" in name)
for result in ("root", "sharded"):
    output = os.path.join(folder, f"{result}.g3")
    g3reduce.coadd_files(files, output, mpicomm=comm, collate=True, result=result, keep_maps=False)
hosts = comm.gather(os.uname().nodename)
if comm.rank == 0:
    print(json.dumps(hosts))
