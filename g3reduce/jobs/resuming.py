"""Taking up what an earlier run of the same job has left in its folder of checkpoints."""

from __future__ import annotations

import functools
from typing import Any

from ..coadd.coadder import MPIMapCoadder
from ..errors import InputError
from ..mpi.agreement import collectively
from ..mpi.communicators import Comm
from ..spt3glog import unit_logger
from .checkpointfile import read_member
from .checkpointfolder import CheckpointFolder
from .checkpointset import Job, Manifest, Member, Unusable
from .work import Earlier

logger = unit_logger(__name__, "coadd_files")


def take_up(
    comm: Comm, folder: CheckpointFolder, job: Job | None, coadder: MPIMapCoadder
) -> Earlier:
    """Take up the newest set that is good; its sums go to the ranks there are. Collective.

    Parameters
    ----------
    comm : communicator
    folder : CheckpointFolder
    job : Job or None
        On rank 0, that of this run.
    coadder : MPIMapCoadder
        Without anything in it.

    Raises
    ------
    InputError
        On all ranks, if there are sets but none is good. It says why, for each.
    """
    numbers = comm.bcast(folder.sets() if comm.rank == 0 else [], 0)
    reasons: list[str] = []
    for number in numbers:
        found = _read(comm, folder, number, job)
        if isinstance(found, str):
            reasons.append(f"set {number} cannot be used: {found}")
            continue
        manifest, members = found
        earlier = collectively(comm, functools.partial(_absorb, coadder, members))
        _share(comm, manifest, earlier, coadder)
        if comm.rank == 0:
            for bad, reason in zip(numbers, reasons, strict=False):
                logger.warning("%s: %s.", folder.given, reason)
                folder.drop(bad)
            folder.tidy()
            logger.warning("%s: going on from %s.", folder.given, manifest)
        return earlier
    if reasons:
        listed = "; ".join(reasons)
        error = InputError(
            f"{folder.given}: there is no checkpoint from which to go on: {listed}. To begin from "
            "nothing, remove this folder or name another one."
        )
        collectively(comm, functools.partial(_fail, error))
    if comm.rank == 0:
        folder.tidy()
        logger.warning(
            "%s: there is no checkpoint yet, so the work begins from nothing.", folder.given
        )
    return Earlier()


def _read(
    comm: Comm, folder: CheckpointFolder, number: int, job: Job | None
) -> tuple[Manifest, list[tuple[Member, dict[str, Any]]]] | str:
    """A set, and what this rank takes up of it; or the reason why it is of no use. Collective."""
    manifest, reason = None, ""
    if job is not None:
        try:
            manifest = folder.manifest(number)
            job.require_same(manifest.job)
        except Unusable as unusable:
            reason = str(unusable)
    manifest, reason = comm.bcast((manifest, reason), 0)
    if reason or manifest is None:
        return reason
    mine = manifest.members[comm.rank :: comm.size]
    read = []
    try:
        read = [(member, read_member(folder, member)) for member in mine]
    except Unusable as unusable:
        reason = str(unusable)
    reason = next(filter(None, comm.allgather(reason)), "")
    return reason or (manifest, read)


def _absorb(coadder: MPIMapCoadder, members: list[tuple[Member, dict[str, Any]]]) -> Earlier:
    earlier = Earlier()
    for member, coadds in members:
        earlier.mine |= member.done_files
        coadder.take_up(coadds, member.notes)
    return earlier


def _share(comm: Comm, manifest: Manifest, earlier: Earlier, coadder: MPIMapCoadder) -> None:
    """Let all ranks know which frames any of them has taken up. Collective."""
    for member in manifest.members:
        earlier.done |= member.done_files.keys()
    mine = {
        (unit.position, unit.index)
        for coadd in coadder.states().values()
        for unit in coadd.ledger.units()
        if unit.position not in earlier.done
    }
    earlier.units = set().union(*comm.allgather(mine))


def _fail(error: Exception) -> None:
    raise error
