"""The launcher among the parents of this process, and where its messages go.

A launcher takes what ranks print from pipes, and passes it on when it likes: Open MPI's mpirun only
whole lines, and none at all once it is asked to end.
"""

from __future__ import annotations

import os

from .launchers import launched

# Processes between a rank and the shell: these pass on what ranks print.
_NAMES = ("mpirun", "mpiexec", "hydra", "prte", "orte", "orted", "srun")
_GENERATIONS = 8


def standard_error_of_launcher() -> str | None:
    """The name in ``/proc`` of the standard error of the outermost launcher.

    Returns
    -------
    str or None
        None where no launcher started this process, or not on this host.
    """
    if launched() is None:
        return None
    found, pid = None, os.getppid()
    for _ in range(_GENERATIONS):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                name, rest = stat.read().split("(", 1)[1].rsplit(")", 1)
            if any(word in name for word in _NAMES):
                found = pid
            pid = int(rest.split()[1])
        except (OSError, IndexError, ValueError):
            break
        if pid <= 1:
            break
    return None if found is None else f"/proc/{found}/fd/2"
