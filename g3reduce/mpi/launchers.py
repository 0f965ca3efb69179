"""The rank and number of ranks that launchers write into the environment of a process.

MPI is not touched here, because it must not start everywhere.

Launchers stand inside of each other, and a process sees the variables of all: mpirun in the shell
of an interactive ``srun``, or mpirun that starts its daemons by ``srun``, one on each node. Nothing
in them says which is the innermost. So if any says "several", MPI is asked, and its answer must be
that of one of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..errors import UsageError

# The choice of the user, which overrides launchers.
CHOICE = "G3REDUCE_MPI"

# Names of rank and number of ranks. Of two that say "several" the first is taken for the inner one.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, MVAPICH, srun --mpi=pmi2
    ("PALS_RANKID", "PALS_SIZE"),
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE"),
    # Not SLURM_NTASKS: a batch script has it, too, and is one process.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)

# Ranks without their number, and where else that may be: of prterun (which is Open MPI's mpirun),
# srun --mpi=pmix, and older PALS.
_RANKS_ALONE = {"PMIX_RANK": {"OMPI_COMM_WORLD_SIZE"}, "PALS_RANKID": {"PALS_SIZE", "PMI_SIZE"}}

# What srun has to speak to a library, by the name that the library gives itself. The first counts.
_SRUN_SPEAKS = (
    ("CRAY", "cray_shasta"),
    ("Open MPI", "pmix"),
    ("MPICH", "pmi2"),
    ("MVAPICH", "pmi2"),
    ("Intel", "pmi2"),
)

# One of several steps of Slurm that are one world of MPI: it knows its own tasks only.
_PART_OF_MORE = ("SLURM_HET_SIZE", "SLURM_PACK_SIZE")


class Placement(NamedTuple):
    """Rank and number of ranks from a launcher.

    Attributes
    ----------
    rank : int
    size : int or None
        None: it does not say.
    name : str
        The variable.
    """

    rank: int
    size: int | None
    name: str


def choice(environment: Mapping[str, str] = os.environ) -> str:
    """The choice of the user: "0" for this process alone, "1" for MPI's world, or "".

    Raises
    ------
    UsageError
        If it is something else.
    """
    chosen = environment.get(CHOICE, "")
    if chosen not in ("", "0", "1"):
        raise UsageError(
            f"{CHOICE}={chosen!r} in the environment; expected 0 for each process by itself, or 1 "
            "for all ranks of MPI's world."
        )
    return chosen


def launched(environment: Mapping[str, str] = os.environ) -> Placement | None:
    """The placement by the innermost launcher, as far as the environment shows it.

    Returns
    -------
    Placement or None
        None where no MPI launcher started this process, or what it says makes no sense.
        ``G3REDUCE_MPI=0`` says that none did.
    """
    if environment.get(CHOICE) == "0":
        return None
    placements, _ = _read(environment)
    several = [each for each in placements if each.size is not None and each.size > 1]
    return next(iter([*several, *placements]), None)


def several(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether there may be several processes, so that MPI has to be asked.

    Raises
    ------
    UsageError
        If that cannot be known from what is there.
    """
    if chosen := choice(environment):
        return chosen == "1"
    if size_of_running_mpi() > 1:
        return True
    placements, senseless = _read(environment)
    if not placements and senseless:
        raise UsageError(
            f"{senseless} in the environment; expected the rank and the number of ranks, as a "
            f"launcher sets them. {CHOICE}=0 stands for this process alone, {CHOICE}=1 for all "
            "ranks of MPI's world."
        )
    sizes = [each.size for each in placements]
    return any(size is None or size > 1 for size in sizes)


def may_be_several(environment: Mapping[str, str] = os.environ) -> bool:
    """As `several`, but without an error."""
    try:
        return several(environment)
    except UsageError:
        return False


def check_world(size: int, library: str, environment: Mapping[str, str] = os.environ) -> None:
    """See that MPI's world is what a launcher has made.

    Parameters
    ----------
    size : int
        Of MPI's world.
    library : str
        Which MPI says so.

    Raises
    ------
    UsageError
        If it is not, so that each process might do the whole work.
    """
    if environment.get(CHOICE) in ("0", "1"):
        return
    placements, _ = _read(environment)
    started = [each for each in placements if each.size is not None and each.size > 1]
    beyond = next((each for each in placements if each.size is None and each.rank >= size), None)
    if started and (size == 1 or all(each.size != size for each in started)):
        said = f"started {started[0].size} processes ({started[0].name})"
    elif beyond is not None:
        said = f"made this process rank {beyond.rank} of several ({beyond.name})"
    else:
        return
    alone = f"each is alone in the world of the MPI library that mpi4py found ({library})"
    seen = alone if size == 1 else f"the world of MPI has {size} ranks ({library})"
    raise UsageError(
        f"The launcher {said}, but {seen}. {_remedy(library, environment)} If it is meant so, say "
        f"it in the environment: with {CHOICE}=0 this process works alone, with {CHOICE}=1 in the "
        "world that MPI sees, whatever launchers say."
    )


def _remedy(library: str, environment: Mapping[str, str]) -> str:
    """What to do where launcher and library do not know of each other."""
    if not environment.get("SLURM_STEP_ID"):
        return (
            "Start them with the mpirun of that library, or point mpi4py at the launcher's "
            "(MPI4PY_LIBMPI)."
        )
    # Slurm's own default sets no variable.
    given = environment.get("SLURM_MPI_TYPE", "none")
    spoken = srun_speaks(library)
    if spoken is None or spoken == given:
        advice = "srun --mpi=TYPE with a TYPE that this library was built for"
    else:
        advice = f"srun --mpi={spoken}, which this library understands"
    return (
        f"srun spoke --mpi={given} to them. Start them by {advice} (srun --mpi=list shows what "
        "this Slurm has), or with the mpirun of that library, or point mpi4py at the library of "
        "the site (MPI4PY_LIBMPI)."
    )


def named(version: str) -> str:
    """Name and version of a library, from what it tells of itself: ``"Open MPI v5.0.11"``."""
    # Open MPI goes on with how it was built, and ends with a NUL; MPICH aligns its lines by spaces.
    return " ".join(version.splitlines()[0].split(",")[0].strip(" \0").split())


def srun_speaks(library: str) -> str | None:
    """The ``--mpi`` of ``srun`` that a library understands, by its name; None if it is unknown."""
    return next((each for name, each in _SRUN_SPEAKS if name in library), None)


def needs_under_srun(library: str) -> dict[str, str]:
    """What a library needs in the environment of ``srun``, by what it tells of its version.

    Ranks of MPICH tell each other addresses of UCX in messages of any length up to some more than
    1 KiB, the longer the fuller their memory is; ``srun --mpi=pmi2`` cuts them at 1 KiB, and
    ``MPI_Init`` ends or hangs (MPICH 5.0, Slurm 22.05 to 26.05). Addresses of OFI are short.
    """
    device = next((line for line in library.splitlines() if "ch4:ucx" in line), "")
    return {"MPIR_CVAR_CH4_NETMOD": "ofi"} if "ofi" in device.split() else {}


def size_of_running_mpi() -> int:
    """The number of ranks in MPI's world, if this process has started MPI; else 0."""
    module: Any = sys.modules.get("mpi4py.MPI")
    if module is None or not module.Is_initialized() or module.Is_finalized():
        return 0
    return int(module.COMM_WORLD.size)


def _read(environment: Mapping[str, str]) -> tuple[list[Placement], str]:
    """Placements by all launchers, those with a size first; and a variable that makes no sense."""
    placements, senseless = [], ""
    for names in _LAUNCHERS:
        texts = [environment.get(name, "").strip() for name in names]
        if not all(texts):
            continue
        if not all(text.isascii() and text.isdecimal() for text in texts):
            senseless = " and ".join(map("{}={!r}".format, names, texts))
            continue
        rank, size = map(int, texts)
        if rank >= size:
            senseless = f"{names[0]}={rank} and {names[1]}={size}"
            continue
        part = names[1].startswith("SLURM") and any(environment.get(n) for n in _PART_OF_MORE)
        placements.append(Placement(rank, None if part else size, names[1]))
    placements.extend(_ranks_alone(environment, {each.name for each in placements}))
    return sorted(placements, key=lambda each: each.size is None), senseless


def _ranks_alone(environment: Mapping[str, str], sizes: set[str]) -> Iterator[Placement]:
    """Launchers that set a rank, where no other variable that is set has the size."""
    for name, belonging in _RANKS_ALONE.items():
        text = environment.get(name, "").strip()
        if not (text.isascii() and text.isdecimal()):
            continue
        # Two in one are known by the name that the inner one gives to its job.
        job = environment.get("PMIX_NAMESPACE", "") if name == "PMIX_RANK" else ""
        known = sizes if not job or job.startswith("slurm") else sizes & belonging
        if not known:
            yield Placement(int(text), None, name)
