"""Starting a command on several ranks, from a process that has no MPI itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence


def find_mpirun() -> str | None:
    """The mpirun of this Python environment, else the one on the PATH, else None."""
    here = os.path.dirname(sys.executable)
    return shutil.which("mpirun", path=here) or shutil.which("mpirun") or shutil.which("mpiexec")


def mpirun_command(n_ranks: int, command: Sequence[str]) -> list[str]:
    """The command line that starts `command` on `n_ranks` ranks, also on fewer cores.

    Raises
    ------
    FileNotFoundError
        If there is no mpirun.
    """
    mpirun = find_mpirun()
    if mpirun is None:
        raise FileNotFoundError(
            "There is no mpirun, neither beside this Python nor on the PATH. Install an MPI: "
            "pip install mpich brings one."
        )
    options = ["--oversubscribe"] if is_open_mpi(mpirun) else []
    return [mpirun, *options, "-n", str(n_ranks), *command]


def mpirun_environment() -> dict[str, str]:
    """The environment for `mpirun_command`."""
    environment = dict(os.environ)
    if os.geteuid() == 0:  # as in a container; Open MPI refuses it unless told twice
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    # On one machine UCX is of no use, and Open MPI complains of not finding it.
    environment.setdefault("OMPI_MCA_osc", "^ucx")
    return environment


def library_of_mpi4py() -> str | None:
    """The name and version of the MPI library that mpi4py finds; None if there is none.

    MPI is not started: on the login nodes of some sites it cannot be.
    """
    code = (
        "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; "
        "print(MPI.Get_library_version())"
    )
    try:
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None


def is_open_mpi(mpirun: str) -> bool:
    """Whether this is the mpirun of Open MPI."""
    version = subprocess.run(
        [mpirun, "--version"], capture_output=True, text=True, env=mpirun_environment()
    )
    return "Open MPI" in version.stdout or "PRRTE" in version.stdout
