"""Restitching from files of scans to TOAST's own HDF5 files."""

from __future__ import annotations

import importlib
import os
import shutil
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from ..choices import Schedule
from ..errors import OutputError
from ..g3files.outputfile import OutputFolder
from ..mpi import communicators, foreign
from ..mpi.agreement import collectively, from_all, from_rank
from ..pipeline.filenames import PathLike, names_of_files, refuse_repeated
from ..pipeline.output import publish, warn_of_others
from ..progress.events import Observer
from ..progress.watching import Watch, require_progress
from ..spt3gmarks import useful
from ..stitching.scanfiles import read_files
from ..stitching.summary import StitchedSummary
from ..stitching.timeline import Timeline
from .filler import TOASTFiller
from .importing import load_toast


@useful
def stitch_to_toast(
    files: PathLike | Sequence[PathLike],
    volume: PathLike,
    *,
    mpicomm: communicators.Comm | None = None,
    schedule: Schedule = "dynamic",
    progress: bool | Observer | None = None,
    **options: Any,
) -> list[StitchedSummary]:
    """Stitch observations for TOAST from the scans of .g3 files. Collective over `mpicomm`.

    Parameters
    ----------
    files : name, path or list of these
        Input files, all of them on all ranks; in each a Calibration frame is before the scans.
        Shell patterns are expanded, on rank 0.
    volume : name or path
        A new or empty folder; it gets a file of each observation, which `toast.ops.LoadHDF5` reads.
        It has a temporary name until it is complete.
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    schedule : {"dynamic", "static"}
        As in `MPIFileReader`.
    progress : None, bool or callable, optional
        As in `coadd_files`.
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
    folder = os.path.realpath(volume)
    # The files do not depend on how observations are divided, but `SaveHDF5` fails by time.
    by_detector = {"distribution": "detector"} if options.get("distribution") == "time" else {}

    def check(names: Sequence[str]) -> None:
        refuse_repeated(names)
        require_progress(progress)
        _check_volume(folder)

    names = names_of_files(comm, files, check)
    with Watch(comm, "stitch", progress) as watch:
        watch.expect_files(names)
        return _stitch(world, comm, names, folder, schedule, options | by_detector, watch)


def _stitch(
    world: communicators.Comm,
    comm: communicators.Comm,
    names: Sequence[str],
    folder: str,
    schedule: Schedule,
    options: Mapping[str, Any],
    watch: Watch,
) -> list[StitchedSummary]:
    """Read all files, and write the folder. Collective."""
    filler = TOASTFiller(world, **options)
    try:
        read_files(comm, names, schedule, filler.add, watch)
        data = filler.finish()
    finally:
        filler.discard()
    made: list[OutputFolder] = []

    def make() -> str:
        made.append(OutputFolder(folder))
        return made[0].path

    watch.stage("writing")
    try:
        path = from_rank(comm, 0, make)
        _save(comm, data, path)
        # Before `publish`: once the folder has its name, nothing may fail any more.
        summaries = _summaries(comm, data, filler.timelines)
        publish(comm, made[0] if made else None)
    finally:
        for output in made:
            output.discard()
    watch.written([folder])
    return summaries


def _check_volume(folder: str) -> None:
    parent = os.path.dirname(folder)
    if os.path.isdir(folder):
        if os.listdir(folder):
            raise OutputError(f"{folder}: this folder is not empty; expected a new or empty one.")
    elif os.path.exists(folder):
        raise OutputError(f"{folder}: this is a file; expected the name of a folder.")
    if not os.path.isdir(parent):
        raise OutputError(f"{folder}: there is no folder {parent}; make it first.")
    OutputFolder(folder).discard()  # raises now, not after the work, if it cannot be made
    warn_of_others(folder, folder)


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
    """Check that ranks can write before others wait for them in TOAST.

    HDF5 itself opens the files, because file systems may refuse its locks.
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
    """Write TOAST's index, one group of ranks after the other. Collective."""
    from toast.instrument import GroundSite
    from toast.io import VolumeIndex

    index = VolumeIndex(os.path.join(folder, VolumeIndex.default_name))
    for group in range(data.comm.ngroups):
        for ob in data.obs if data.comm.group == group else []:
            # For telescopes on the ground it needs an azimuth, which spt3g does not have.
            if not isinstance(ob.telescope.site, GroundSite):
                index.append(ob, f"{ob.name}.h5")
        if comm.size > 1:
            comm.Barrier()


def _count_flagged(data: Any) -> dict[str, int]:
    """How many samples of this rank have a flag, by the name of the observation."""
    names = load_toast().observation.default_values
    counts = {}
    for ob in data.obs:
        flags = np.asarray(ob.shared[names.shared_flags])
        rows = (ob.detdata[names.det_flags][name] for name in ob.local_detectors)
        counts[ob.get("observation", ob.name)] = sum(
            int(np.count_nonzero(row | flags)) for row in rows
        )
    return counts


def _summaries(
    comm: communicators.Comm, data: Any, timelines: Mapping[Hashable, Timeline]
) -> list[StitchedSummary]:
    """The summaries of all observations. Collective."""
    n_flagged: Counter[str] = Counter()
    for counts in from_all(comm, lambda: _count_flagged(data)):
        n_flagged.update(counts)
    return collectively(
        comm,
        lambda: [
            StitchedSummary.of(str(group), [timeline], n_flagged[str(group)])
            for group, timeline in timelines.items()
        ],
    )
