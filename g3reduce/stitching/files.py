"""Restitching from files of scans to a file of whole observations, on any number of ranks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from spt3g import core

from ..choices import Gaps, Missing, Overlap, Schedule
from ..errors import InputError, MismatchError, UsageError
from ..g3files.outputfile import OutputFile
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, collectively, from_all
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..pipeline.filenames import PathLike, name_of_output, names_of_files, refuse_repeated
from ..pipeline.observations import keys_of_observations
from ..pipeline.output import publish
from ..progress.events import Observer
from ..progress.watching import Watch, require_progress
from ..spt3gmarks import useful
from .prefaces import MetadataFrame, Origin, Prefaces, unwritten
from .rules import StitchRules
from .scanfiles import ScanFiles
from .scanframes import FLAGS, StitchedScan, keys_beside
from .scans import ScanKeys
from .stitch import StitchedObservation, stitch_scans
from .summary import StitchedSummary


@useful
def stitch_files(
    files: PathLike | Sequence[PathLike],
    output_file: PathLike,
    *,
    mpicomm: communicators.Comm | None = None,
    timestreams: str | Sequence[str] = "CalTimestreams",
    boresight: str | None = "OnlineRaDecRotation",
    flags: str | None = None,
    detector_flags: str | None = None,
    times: str | None = None,
    valid: str | None = None,
    gaps: Gaps = "keep",
    missing: Missing = "flag",
    overlap: Overlap = "refuse",
    detectors_per_frame: int | None = None,
    observation_keys: str | Sequence[str] | None = None,
    metadata_lasts: bool = False,
    schedule: Schedule = "dynamic",
    progress: bool | Observer | None = None,
    dry_run: bool = False,
) -> list[StitchedSummary]:
    """Stitch observations together from the scans of .g3 files. Collective over `mpicomm`.

    Each file is read by one rank. The samples of an observation are then divided by detector over
    all ranks, and sent to rank 0, which writes the file. All ranks together need memory for all
    samples, and once more for those of one observation.

    Parameters
    ----------
    files : name, path or list of these
        Input files, all of them on all ranks. Shell patterns are expanded, on rank 0.
    output_file : name or path
        The file that rank 0 writes: under a temporary name beside it until it is complete.
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    timestreams : str or list of str
        Keys of Scan frames, of one `G3TimestreamMap` or of several, which must have the same
        times.
    boresight, flags, detector_flags, times, valid : str or None
        Keys of Scan frames, as in `stitch`.
    gaps : {"keep", "fill", "refuse"}
        As in `stitch`.
    missing : {"flag", "refuse"}
        As in `stitch`.
    overlap : {"refuse", "drop"}
        As in `stitch`.
    detectors_per_frame : int or None
        Write Scan frames of so many detectors; None: one Scan frame for each observation.
    observation_keys : str, sequence of str, or None
        Keys of Observation or Scan frames whose values name an observation. None: ``SourceName``
        and ``ObservationID``.
    metadata_lasts : bool
        Whether metadata frames count for later files, too, in the order in which files are named:
        Observation frames until the next one, the others to the end.
    schedule : {"dynamic", "static"}
        As in `MPIFileReader`.
    progress : None, bool or callable, optional
        As in `coadd_files`.
    dry_run : bool
        Do all but write: files are read, scans are put in order and checked, and the result says
        what would be written. What is wrong is an error, as it would be.

    Returns
    -------
    list of StitchedSummary
        What was written, on all ranks.

    Raises
    ------
    InputError, MismatchError, DuplicateError
        On all ranks, if a file is missing or broken, if frames lack a key, or if the scans of an
        observation overlap or do not agree. Nothing is written.
    UsageError
        If an argument cannot be used or differs between ranks.
    OutputError
        On all ranks, if the output cannot be written.

    Examples
    --------
    >>> stitch_files("scans/*.g3", "whole.g3", gaps="fill")  # doctest: +SKIP
    """
    comm = communicators.private(mpicomm)
    names_of_maps = [timestreams] if isinstance(timestreams, str) else list(timestreams)
    sample_flags = flags or FLAGS
    rules = StitchRules(gaps, missing, overlap)

    def check() -> tuple[list[ScanKeys], dict[str, object]]:
        rules.check()
        require_progress(progress)
        named_by = keys_of_observations(observation_keys)
        _check_keys(names_of_maps, keys_beside(named_by, boresight, sample_flags, names_of_maps))
        number = detectors_per_frame
        if number is not None and not (isinstance(number, int) and number >= 1):
            raise UsageError(f"detectors_per_frame is {number!r}; expected 1 or more, or None.")
        every = ScanKeys(
            "",
            boresight=boresight,
            flags=flags,
            detector_flags=detector_flags,
            times=times,
            valid=valid,
        )
        # Boresight and flags of samples are read with the first map only.
        later = replace(every, boresight=None, flags=None)
        keys = [
            replace(later if number else every, timestreams=name)
            for number, name in enumerate(names_of_maps)
        ]
        same = {**vars(every), **rules._asdict(), "detectors_per_frame": detectors_per_frame}
        same |= {"timestreams": names_of_maps, "observation_keys": observation_keys}
        same["dry_run"] = dry_run
        return keys, {**same, "metadata_lasts": metadata_lasts}

    keys = agreed_arguments(comm, "The arguments of stitch_files", check)
    names = names_of_files(comm, files, refuse_repeated)
    output = name_of_output(comm, output_file, names) or ""
    with Watch(comm, "stitch", progress) as watch:
        scans = ScanFiles(comm, keys, observation_keys, metadata_lasts)
        watch.expect_files(names)
        scans.read(names, schedule, watch)
        stitched: dict[str, dict[Hashable, StitchedObservation]] = {}
        origins: dict[Hashable, list[Origin]] = {}
        for name, accumulator in zip(names_of_maps, scans.accumulators, strict=True):
            stitched[name] = stitch_scans(accumulator, keys[0], rules, drop_input=True)
            for group, part in stitched[name].items():
                items = accumulator.result[group]
                origins[group] = [items[scan.number][0] for scan in part.timeline.scans]

        def arrange() -> list[StitchedScan]:
            if not origins:
                where = f"the {len(names)} input files" if len(names) > 1 else "the input file"
                raise InputError(f"There is no Scan frame with samples in {where}.")
            for some in origins.values():
                _require_one_observation(some)
            return [
                StitchedScan(
                    {name: parts.pop(group) for name, parts in stitched.items() if group in parts},
                    some,
                    boresight,
                    sample_flags,
                )
                for group, some in origins.items()
            ]

        whole = collectively(comm, arrange)
        if dry_run:
            return [_summary_of(comm, observation) for observation in whole]
        with progress_in_interrupt(
            lambda: Progress.all_read(len(names), "the output was being written")
        ):
            watch.stage("writing")
            summaries = _write(comm, output, whole, scans.prefaces, detectors_per_frame)
            watch.written([output])
            return summaries


def _require_one_observation(origins: Sequence[Origin]) -> None:
    """Refuse scans of different observations whose values make the same name."""
    for origin in origins:
        if origin.names != origins[0].names:
            raise MismatchError(
                f"{origin.unit} and {origins[0].unit} belong to {dict(origin.names)} and to "
                f"{dict(origins[0].names)}, which would both be {origin.group!r}. Give one of them "
                "another name."
            )


def _check_keys(timestreams: Sequence[str], keys: Sequence[str]) -> None:
    if not timestreams:
        raise UsageError("timestreams is empty; expected one key of Scan frames, or several.")
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise UsageError(
            f"A stitched frame would have two entries of the name {twice!r}; expected each key "
            "once, and none that stitched frames have in any case."
        )


def _write(
    comm: communicators.Comm,
    output: str,
    observations: list[StitchedScan],
    prefaces: Prefaces,
    detectors_per_frame: int | None,
) -> list[StitchedSummary]:
    """Write observations on rank 0, and free them one by one. Collective."""
    file = collectively(comm, lambda: OutputFile(output) if comm.rank == 0 else None)

    def check() -> None:
        if file is not None:
            file.check()

    def put(content: bytes | None) -> None:
        if file is not None and content is not None:
            file.write(content)

    summaries: list[StitchedSummary] = []
    written: list[MetadataFrame] = []
    try:
        put(prefaces.pipeline_info())
        while observations:
            observation = observations.pop(0)
            leading = prefaces.observation(observation.group)
            if not leading:
                put(_observation_frame(observation.origins[0]))
            others = prefaces.others(observation.group)
            if still := unwritten(others, written):
                written = others
            for frame in [*leading, *still]:
                put(prefaces.content(frame))
            for rows in observation.frames(detectors_per_frame):
                observation.write(rows, file)
                collectively(comm, check)
            summaries.append(_summary_of(comm, observation))
        publish(comm, file)
    finally:
        if file is not None:
            file.discard()
    return summaries


def _summary_of(comm: communicators.Comm, observation: StitchedScan) -> StitchedSummary:
    """What is said of an observation. Collective."""
    parts = observation.parts.values()
    n_flagged = sum(from_all(comm, lambda: sum(map(_count_flagged, parts))))
    return StitchedSummary.of(observation.group, [part.timeline for part in parts], n_flagged)


def _observation_frame(origin: Origin) -> bytes:
    """An Observation frame for scans whose files have none."""
    frame = core.G3Frame(core.G3FrameType.Observation)
    for key, value in origin.names:
        frame[key] = value
    return bytes(frame.__getstate__()[1])


def _count_flagged(part: StitchedObservation) -> int:
    """How many samples of this rank have a flag."""
    return sum(int(np.count_nonzero(row | part.flags)) for row in part.detector_flags)
