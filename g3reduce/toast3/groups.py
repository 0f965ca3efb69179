"""TOAST's ranks and groups of ranks, and which group gets which observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import UsageError
from ..mpi import communicators, foreign
from ..mpi.agreement import collectively
from .importing import load_toast


def toast_ranks(
    mpicomm: communicators.Comm | None, toastcomm: Any
) -> tuple[communicators.Comm, Any]:
    """The communicator and the `toast.Comm` to work with.

    Collective over all ranks, if a `toast.Comm` has to be made.

    Parameters
    ----------
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world of `toastcomm`; if that is None, too, as everywhere in g3reduce.
    toastcomm : toast.Comm or None
        None: one group of all ranks.

    Raises
    ------
    UsageError
        If they are not of the same ranks, or TOAST has no MPI.
    """
    if toastcomm is None:
        comm = communicators.resolve(mpicomm)
        ours = communicators.private(comm)
        toast = collectively(ours, load_toast)
        if isinstance(comm, communicators.OneProcess) or comm.size == 1:
            # For TOAST, one process alone is COMM_SELF; None would be the world.
            alone = toast.mpi.MPI.COMM_SELF if toast.mpi.use_mpi else None
            return comm, toast.Comm(world=alone)
        if not toast.mpi.use_mpi:
            raise UsageError(
                f"mpicomm has {comm.size} ranks, but TOAST was imported without MPI. Unset "
                "MPI_DISABLE in the environment; on a login node of NERSC start a job."
            )
        made = foreign.together(ours, "the making of a toast.Comm", lambda: toast.Comm(world=comm))
        return comm, made
    toast = load_toast()
    if not isinstance(toastcomm, toast.Comm):
        raise UsageError(
            f"toastcomm is {toastcomm!r} ({type(toastcomm).__name__}); expected a toast.Comm, such "
            "as toast.Comm(world=MPI.COMM_WORLD, groupsize=4), or None."
        )
    world = toastcomm.comm_world or communicators.OneProcess()
    if mpicomm is None and world.size > 1:
        return world, toastcomm
    # Without MPI, TOAST makes every rank a process alone: refuse that if there are several.
    comm = communicators.resolve(mpicomm)
    if not _same_ranks(comm, world):
        raise UsageError(
            f"mpicomm has {comm.size} ranks and the world of toastcomm {world.size}; they must be "
            "the same ranks in the same order. Give toast.Comm(world=mpicomm, groupsize=...), and "
            "do not set MPI_DISABLE."
        )
    return world, toastcomm


def _same_ranks(comm: communicators.Comm, other: communicators.Comm) -> bool:
    if comm.size == 1 or other.size == 1:
        return comm.size == other.size
    from mpi4py import MPI

    same = (MPI.IDENT, MPI.CONGRUENT)
    return MPI.Comm.Compare(comm, other) in same  # type: ignore[arg-type]


def deal(sizes: Sequence[int], n_groups: int) -> list[int]:
    """Assign observations to groups of ranks, so that all groups have about the same work.

    The largest first, each to the group with the least so far: no group has more than a third above
    the least possible. The result is the same on all ranks.

    Parameters
    ----------
    sizes : sequence of int
        Of each observation, samples times detectors.
    n_groups : int

    Returns
    -------
    list of int
        The group of each observation.
    """
    groups = [0] * len(sizes)
    loads = [0] * n_groups
    for number in sorted(range(len(sizes)), key=lambda number: (-sizes[number], number)):
        groups[number] = int(np.argmin(loads))  # the first, if several have the least
        loads[groups[number]] += sizes[number]
    return groups
