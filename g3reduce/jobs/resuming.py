"""Taking up what an earlier run of the same job has left in its folder of checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TypeAlias, cast

from ..coadd.coadder import MPIMapCoadder
from ..coadd.joining import Coadd
from ..errors import InputError
from ..mpi.agreement import collectively, from_rank, raise_together
from ..mpi.communicators import Comm
from ..spt3glog import unit_logger
from .checkpointfile import read_member
from .checkpointfolder import CheckpointFolder
from .checkpointset import Job, Manifest, Member, Unusable
from .work import Earlier

logger = unit_logger(__name__, "coadd_files")

_Found: TypeAlias = "tuple[Manifest, list[tuple[Member, dict[str, Coadd]]]]"


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
    numbers = from_rank(comm, 0, folder.sets)
    reasons: list[str] = []
    for number in numbers:
        found = _read(comm, folder, number, job)
        if isinstance(found, str):
            reasons.append(f"set {number} cannot be used: {found}")
            continue
        earlier = collectively(comm, functools.partial(_absorb, coadder, *found))
        earlier.units = set().union(*comm.allgather(earlier.units))
        told = f"going on from {found[0]}"
        bad = dict(zip(numbers, reasons, strict=False))
        collectively(comm, functools.partial(_tidy, folder, job, told, bad))
        return earlier
    if reasons:
        listed = "; ".join(reasons)
        error = InputError(
            f"{folder.given}: there is no checkpoint from which to go on: {listed}. To begin from "
            "nothing, remove this folder or name another one."
        )
        raise_together(comm, error)
    told = "there is no checkpoint yet, so the work begins from nothing"
    collectively(comm, functools.partial(_tidy, folder, job, told, {}))
    return Earlier()


def _read(comm: Comm, folder: CheckpointFolder, number: int, job: Job | None) -> _Found | str:
    """A set, and what this rank takes up of it; or the reason why it is of no use. Collective."""

    def read_manifest() -> Manifest | str:
        try:
            manifest = folder.manifest(number)
            cast(Job, job).require_same(manifest.job)
            return manifest
        except Unusable as unusable:
            return str(unusable)

    manifest = from_rank(comm, 0, read_manifest)
    if isinstance(manifest, str):
        return manifest

    def read_members() -> list[tuple[Member, dict[str, Coadd]]] | str:
        try:
            mine = manifest.members[comm.rank :: comm.size]
            return [(member, read_member(folder, member)) for member in mine]
        except Unusable as unusable:
            return str(unusable)

    read = collectively(comm, read_members)
    reasons = comm.allgather(read if isinstance(read, str) else "")
    return next(filter(None, reasons), "") or (manifest, read)  # type: ignore[return-value]


def _absorb(
    coadder: MPIMapCoadder, manifest: Manifest, members: list[tuple[Member, dict[str, Coadd]]]
) -> Earlier:
    """Take up sums; of files that were not read to their ends, the frames that are in these."""
    earlier = Earlier()
    for member in manifest.members:
        earlier.done |= member.done_files.keys()
    for member, coadds in members:
        earlier.mine |= member.done_files
        coadder.take_up(coadds, member.notes)
    earlier.units = {
        (unit.position, unit.index)
        for coadd in coadder.states().values()
        for unit in coadd.ledger.units()
        if unit.position not in earlier.done
    }
    return earlier


def _tidy(folder: CheckpointFolder, job: Job | None, told: str, bad: Mapping[int, str]) -> None:
    """Say from where the work goes on; remove sets that are bad, and what no set names."""
    if job is None:
        return
    for number, reason in bad.items():
        logger.warning("%s: %s.", folder.given, reason)
        folder.drop(number)
    folder.tidy()
    logger.warning("%s: %s.", folder.given, told)
