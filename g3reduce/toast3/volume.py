"""Restitching from names of files to TOAST's own HDF5 files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import comm as communicators
from ..errors import OutputError
from ..filenames import PathLike, names_of_files, refuse_repeated
from ..output import publish, tell_of_others
from ..outputfile import OutputFolder
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
        As in `TOASTFiller`.

    Returns
    -------
    list of StitchedSummary
        What was written, on all ranks.

    Raises
    ------
    InputError, MismatchError, DuplicateError, UsageError
        On all ranks, as `TOASTFiller` and `stitch_files`. Nothing is written.
    OutputError
        On all ranks, if the folder cannot be made, or holds anything.
    """
    world = communicators.resolve(mpicomm)
    comm = communicators.private(world)
    names = names_of_files(comm, files, once=False)
    folder = os.path.realpath(volume)

    def check() -> None:
        refuse_repeated(names)
        _check_volume(folder)

    communicators.from_rank(comm, 0, check)
    filler = TOASTFiller(world, **options)
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
        path = communicators.from_rank(comm, 0, make)
        communicators.collectively(comm, lambda: _save(data, path))
        publish(comm, made[0] if made else None)
    finally:
        for output in made:
            output.discard()
    return [_summary(comm, ob) for ob in data.obs]


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


def _save(data: Any, folder: str) -> None:
    from toast.ops import SaveHDF5

    for ob in data.obs:
        # LoadHDF5 takes it for one that differs from what it computes; it makes it again.
        del ob.telescope.focalplane.detector_data["pol_efficiency"]
    names = load_toast().observation.default_values
    try:
        SaveHDF5(volume=folder, detdata=[names.det_data, names.det_flags]).apply(data)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{folder}: writing failed ({error}).") from error


def _summary(comm: communicators.Comm, ob: Any) -> StitchedSummary:
    """What is said of an observation. Collective."""
    names = load_toast().observation.default_values
    times, flags = np.asarray(ob.shared[names.times]), np.asarray(ob.shared[names.shared_flags])
    flagged = sum(
        int(np.count_nonzero(ob.detdata[names.det_flags][name] | flags))
        for name in ob.local_detectors
    )
    spans = ob.intervals[names.scanning_interval]
    apart = np.array([times[b.first] - times[a.last - 1] for a, b in pairwise(spans)])
    step = np.median(np.diff(times)) if len(times) > 1 else 0.0
    return StitchedSummary(
        ob.name,
        len(ob.all_detectors),
        ob.n_all_samples,
        len(spans),
        float(times[-1] - times[0]),
        tuple(apart[apart > _APART * step].tolist()),
        sum(comm.allgather(flagged)) / (len(ob.all_detectors) * ob.n_all_samples),
    )
