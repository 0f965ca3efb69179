"""Restitching from names of files to TOAST's own HDF5 files."""

from __future__ import annotations

import importlib
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import OutputError
from ..g3files.outputfile import OutputFolder
from ..mpi import communicators, foreign
from ..mpi.agreement import collectively, from_rank
from ..pipeline.filenames import PathLike, names_of_files, refuse_repeated
from ..pipeline.output import publish, tell_of_others
from ..stitching.scanfiles import read_files
from ..stitching.summary import StitchedSummary
from .filler import TOASTFiller
from .importing import load_toast

# Scans that are farther apart than so many samples leave a gap.
_APART = 1.5


def stitch_to_toast(
    files: PathLike | Sequence[PathLike],
    volume: PathLike,
    *,
    mpicomm: communicators.Comm | None = None,
    schedule: str = "dynamic",
    **options: Any,
) -> list[StitchedSummary]:
    """Put observations together for TOAST from the scans of .g3 files. Collective over `mpicomm`.

    Parameters
    ----------
    files : name, path or list of these
        Input files, all of them on all ranks; in each a Calibration frame leads the scans. Shell
        patterns are expanded, on rank 0.
    volume : name or path
        A folder, which is new or empty: of each observation a file that `toast.ops.LoadHDF5` reads.
        It has its name when it is whole.
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    schedule : {"dynamic", "static"}
        As in `MPIFileReader`.
    **options
        As in `TOASTFiller`. The files do not depend on `distribution`.

    Returns
    -------
    list of StitchedSummary
        What was written, on all ranks.

    Raises
    ------
    InputError, MismatchError, DuplicateError, UsageError
        On all ranks, as `TOASTFiller` and `stitch_files`. Nothing is written.
    OutputError
        On all ranks, if the folder cannot be made, or holds anything, or if a file in it cannot be
        made. What fails while TOAST writes ends the job (see `foreign.together`).
    """
    world = communicators.resolve(mpicomm)
    comm = communicators.private(world)
    names = names_of_files(comm, files, once=False)
    folder = os.path.realpath(volume)
    # A file is the same however its observation was divided, but `SaveHDF5` fails by time.
    by_detector = {"distribution": "detector"} if options.get("distribution") == "time" else {}

    def check() -> None:
        refuse_repeated(names)
        _check_volume(folder)

    from_rank(comm, 0, check)
    filler = TOASTFiller(world, **options | by_detector)
    try:
        read_files(comm, names, schedule, filler.add)
        data = filler.finish()
    finally:
        filler.discard()
    made: list[OutputFolder] = []

    def make() -> str:
        made.append(OutputFolder(folder))
        return made[0].path

    try:
        path = from_rank(comm, 0, make)
        _save(comm, data, path)
        # When the folder has its name, nothing may fail any more.
        summaries = _summaries(comm, data)
        publish(comm, made[0] if made else None)
    finally:
        for output in made:
            output.discard()
    return summaries


def _check_volume(folder: str) -> None:
    parent = os.path.dirname(folder)
    if os.path.isdir(folder):
        if os.listdir(folder):
            raise OutputError(f"{folder}: this folder is not empty. Name a new one.")
    elif os.path.exists(folder):
        raise OutputError(f"{folder}: this is a file; expected the name of a folder.")
    if not os.path.isdir(parent):
        raise OutputError(f"{folder}: there is no folder {parent}.")
    OutputFolder(folder).discard()  # before the work it is known whether this can be done
    tell_of_others(folder, folder)


def _save(comm: communicators.Comm, data: Any, folder: str) -> None:
    """Write a file of each observation, and TOAST's index of them. Collective."""
    from toast.ops import SaveHDF5

    collectively(comm, lambda: _try_to_write(data, folder))
    for ob in data.obs:
        # LoadHDF5 takes it for one that differs from what it computes; it makes it again.
        del ob.telescope.focalplane.detector_data["pol_efficiency"]
    names = load_toast().observation.default_values
    fields = [names.det_data, names.det_flags]
    foreign.together(
        comm,
        f"TOAST's writing of files in {folder}",
        lambda: SaveHDF5(volume=folder, volume_index=None, detdata=fields).apply(data),
        clear_up=lambda: shutil.rmtree(folder, ignore_errors=True),
    )
    foreign.together(
        comm,
        f"TOAST's writing of the index in {folder}",
        lambda: _write_index(comm, data, folder),
        clear_up=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def _try_to_write(data: Any, folder: str) -> None:
    """See that the rank that writes an observation can do so. Later the others wait for it.

    The file is opened by the library that writes it: file systems may refuse its locks.
    """
    h5py: Any = importlib.import_module("h5py")  # it has no types
    for ob in data.obs:
        if ob.comm.group_rank == 0:
            path = os.path.join(folder, f"{ob.name}.h5.tmp")
            try:
                h5py.File(path, "w").close()
                os.remove(path)
            except OSError as error:
                raise OutputError(f"{path}: this file cannot be written ({error}).") from error


def _write_index(comm: Any, data: Any, folder: str) -> None:
    """One group of ranks after the other: the index is a file of all. Collective."""
    from toast.instrument import GroundSite
    from toast.io import VolumeIndex

    index = VolumeIndex(os.path.join(folder, VolumeIndex.default_name))
    for group in range(data.comm.ngroups):
        for ob in data.obs if data.comm.group == group else []:
            # Of telescopes on the ground it wants to tell an azimuth, which spt3g does not have.
            if not isinstance(ob.telescope.site, GroundSite):
                index.append(ob, f"{ob.name}.h5")
        if comm.size > 1:
            comm.Barrier()


def _summaries(comm: communicators.Comm, data: Any) -> list[StitchedSummary]:
    """What is said of all observations, the same on all ranks. Collective."""
    mine = collectively(comm, lambda: [_summary_of_part(ob) for ob in data.obs])
    first: dict[str, StitchedSummary] = {}
    flagged: Counter[str] = Counter()
    for theirs in comm.allgather(mine):
        for summary, n_flagged in theirs:
            first.setdefault(summary.name, summary)
            flagged[summary.name] += n_flagged
    return [
        replace(summary, flagged=flagged[name] / (summary.n_detectors * summary.n_samples))
        for name, summary in first.items()
    ]


def _summary_of_part(ob: Any) -> tuple[StitchedSummary, int]:
    """What is said of an observation but for flags, and how many this rank has."""
    names = load_toast().observation.default_values
    times, flags = np.asarray(ob.shared[names.times]), np.asarray(ob.shared[names.shared_flags])
    flagged = sum(
        int(np.count_nonzero(ob.detdata[names.det_flags][name] | flags))
        for name in ob.local_detectors
    )
    spans = ob.intervals[names.scanning_interval]
    apart = np.array([times[b.first] - times[a.last - 1] for a, b in pairwise(spans)])
    step = np.median(np.diff(times)) if len(times) > 1 else 0.0
    summary = StitchedSummary(
        ob.get("observation", ob.name),
        len(ob.all_detectors),
        ob.n_all_samples,
        len(spans),
        float(times[-1] - times[0]),
        tuple(apart[apart > _APART * step].tolist()),
        0.0,
    )
    return summary, flagged
