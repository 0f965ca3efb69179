"""The file-driven coadd: names of files in, one coadd out, on any number of ranks."""

from __future__ import annotations

import functools
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from spt3g import core

from ..choices import Nonfinite, OnDuplicate, ReadyStrategy, Result, Schedule
from ..errors import InputError, UsageError
from ..g3files.names import expand, may_be_pattern
from ..g3files.pieces import Piece
from ..kernels import choice as kernels
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, arguments_together, collectively
from ..mpi.counter import SharedCounter
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..pipeline.arguments import check_flags
from ..pipeline.filenames import check_files_of_rank, refuse_repeated_inputs
from ..pipeline.output import check_output, write_frames
from ..pipeline.parallelblock import blocks_of, check_schedule
from ..pipeline.reader import MPIFileReader
from ..pipeline.units import unit_of
from .coadder import MPIMapCoadder
from .coadds import Coadds
from .intake import Pending
from .mapopener import MapOpener, pieces_of
from .membership import Assign, as_list_of_ids

# Frames that are added together at most: with more, little is gained.
_AT_ONCE = 8
_SMALL_AT_ONCE = 64  # of those that are in memory anyway
_SIZES = 8  # of at least so many files are looked at, to know about how large all are


def coadd_files(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output_file: str | os.PathLike[str] | None = None,
    *,
    mpicomm: communicators.Comm | None = None,
    map_ids: str | Sequence[str] | None = None,
    output_map_id: str = "Coadd",
    collate: bool = False,
    weighted: bool = True,
    ignore_missing_weights: bool = False,
    record_obs_id: bool = False,
    assign: Assign | None = None,
    strategy: ReadyStrategy | str = "auto",
    result: Result = "root",
    root: int = 0,
    on_duplicate: OnDuplicate = "error",
    pol_conv: Any = None,
    reproducible: bool = False,
    absmax: float | Mapping[str, float] | None = None,
    nonfinite: Nonfinite = "keep",
    metadata_lasts: bool = False,
    schedule: Schedule = "dynamic",
    keep_maps: bool = True,
) -> Coadds:
    """Coadd the maps of .g3 files, on all ranks at once. Collective over `mpicomm`.

    Each file is read by one rank, each rank sums what it read, and the sums are joined: like
    `spt3g.maps.coadd_map_files` on any number of ranks. Where there are few files for the ranks,
    large ones that are not compressed are read by several, each frame by one of them.

    Parameters
    ----------
    files : name, path or list of these
        Input files, all of them on all ranks. Shell patterns are expanded, on `root`.
    output_file : name or path, optional
        Where `root` writes the coadds: to a temporary file, which is renamed when it is complete.
        Other ranks may give None.
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    map_ids, output_map_id, collate, weighted, ignore_missing_weights, record_obs_id, assign, \
strategy, result, root, on_duplicate, pol_conv, reproducible, absmax, nonfinite, metadata_lasts
        As in `MPIMapCoadder`. There must be a map of each Id in `map_ids`.
    schedule : {"dynamic", "static"}
        As in `MPIFileReader`.
    keep_maps : bool
        Whether the maps are wanted in memory. If not, they are only written, and those in the
        frames that are returned are empty.

    Returns
    -------
    Coadds
        A mapping of Id to Map frame, on the ranks that hold the result; elsewhere it is empty. Its
        `frame` is the coadd where there is one; with ``result="sharded"`` see its `shards`.

    Raises
    ------
    InputError
        On all ranks, if a file is missing, broken or no .g3 file, if maps do not agree, or if
        there is no map to coadd. Ranks without an error raise `RemoteError`. Nothing is written.
    UsageError
        As `MPIMapCoadder`, or if there is an output file for a sharded result.
    OutputError
        On all ranks, if the output cannot be written.

    Examples
    --------
    >>> coadd = coadd_files(["obs1.g3", "obs2.g3"], "coadd.g3").frame  # doctest: +SKIP
    >>> coadd["T"], list(coadd["InputFiles"])  # doctest: +SKIP
    >>> coadds = coadd_files("obs*.g3", collate=True)  # doctest: +SKIP
    >>> coadds["90GHz"]["T"]  # doctest: +SKIP
    """
    comm = communicators.private(mpicomm)
    check = functools.partial(_check_arguments, files, output_file, result, schedule, keep_maps)
    with arguments_together(comm, "The arguments of coadd_files"):
        inputs = agreed_arguments(comm, "The arguments of coadd_files", check)
        coadder = MPIMapCoadder(
            comm,
            map_ids=map_ids,
            output_map_id=output_map_id,
            collate=collate,
            weighted=weighted,
            ignore_missing_weights=ignore_missing_weights,
            record_obs_id=record_obs_id,
            keep_outputs=keep_maps or result == "sharded",
            assign=assign,
            strategy=strategy,
            result=result,
            root=root,
            on_duplicate=on_duplicate,
            pol_conv=pol_conv,
            reproducible=reproducible,
            absmax=absmax,
            nonfinite=nonfinite,
            metadata_lasts=metadata_lasts,
        )
        once = on_duplicate == "error"
        found = _look(inputs, output_file, once, comm.size) if comm.rank == root else None
        # Names that are known already need no agreement of their own.
        patterns = any(map(may_be_pattern, inputs))
        if not patterns:
            check_files_of_rank([os.fspath(name) for name in inputs], comm)
    counter = SharedCounter(comm)
    names, pieces, output, n_bytes = cast(_Found, comm.bcast(found, root))
    kernels.expect(n_bytes / comm.size)
    if patterns:
        collectively(comm, functools.partial(check_files_of_rank, names, comm))
    try:
        reader = _Reader(comm, names, pieces, counter, schedule)
        with progress_in_interrupt(reader.progress):
            n_read, failure = _feed(coadder, reader, len(names), comm.size)
        require_maps = functools.partial(_require_maps, len(names), as_list_of_ids(map_ids))
        with progress_in_interrupt(
            lambda: Progress.all_read(len(names), "their sums were being joined")
        ):
            joined = coadder.join(failure, n_read, require_maps)
    finally:
        coadder.discard()
    if output is not None:
        with progress_in_interrupt(
            lambda: Progress.all_read(len(names), "the coadd was being written")
        ):
            write_frames(output, joined.values(), comm, root)
    return coadder.finish_with(
        {name: coadd.to_frame() if keep_maps else coadd.outline() for name, coadd in joined.items()}
    )


def _check_arguments(
    files: Any, output_file: object, result: Result, schedule: Schedule, keep_maps: bool
) -> tuple[list[str | os.PathLike[str]], dict[str, object]]:
    """The names of input files, if all arguments can be used, and what ranks must have alike."""
    check_schedule(schedule)
    check_flags(keep_maps=keep_maps)
    several = isinstance(files, Iterable) and not isinstance(files, str | bytes | os.PathLike)
    names: list[Any] = list(files) if several else [files]
    if not all(isinstance(name, str | os.PathLike) for name in names):
        raise UsageError(f"files is {files!r}; expected the name of a file, or a list of names.")
    if output_file is not None and not isinstance(output_file, str | os.PathLike):
        raise UsageError(f"output_file is {output_file!r}; expected the name of a file, or None.")
    if output_file is not None and result == "sharded":
        raise UsageError(
            'With result="sharded" no rank holds a frame to be written: leave output_file out, or '
            'choose another result ("root", "all").'
        )
    return names, {"files": list(map(str, names)), "schedule": schedule}


class _Found(NamedTuple):
    """What `root` sends to all ranks: names of files, their pieces and size, and the output."""

    names: list[str]
    pieces: list[Piece]
    output: str | None
    n_bytes: float


def _look(
    inputs: Sequence[str | os.PathLike[str]],
    output_file: str | os.PathLike[str] | None,
    once: bool,
    n_ranks: int,
) -> _Found:
    """Expand patterns, and check that no input is named twice and the output can be written."""
    names = expand(inputs)
    if once:
        refuse_repeated_inputs(names)
    output = None if output_file is None else os.fspath(output_file)
    if output is not None:
        check_output(output, names)
    return _Found(names, pieces_of(names, n_ranks), output, _size_of(names))


def _size_of(names: Sequence[str]) -> float:
    """About how many bytes there are in these files, from the sizes of a few of them."""
    looked_at = names[:: max(1, len(names) // _SIZES)]
    try:
        return sum(map(os.path.getsize, looked_at)) / max(1, len(looked_at)) * len(names)
    except OSError:  # it will be said when that file is read
        return 0


class _Reader(MPIFileReader):
    """Reads files on whose names and pieces all ranks have agreed, so that it is not collective."""

    def __init__(
        self,
        comm: communicators.Comm,
        names: Sequence[str],
        pieces: Sequence[Piece],
        counter: SharedCounter,
        schedule: Schedule,
    ):
        self._set_up(comm, blocks_of([names], schedule), schedule, MapOpener(), [counter], [pieces])


def _at_once(pending: Sequence[Pending], n_files: int, n_ranks: int) -> int:
    """How many frames like these are added together."""
    if pending[-1].small:
        return _SMALL_AT_ONCE
    if not pending[-1].in_file:  # its pixels are in memory: those of several would be, too
        return 1
    unit = unit_of(pending[0].frame)
    if n_ranks == 1 or unit is None:
        return _AT_ONCE
    # At the end no more than this rank's part of what is left, or others would wait for it.
    return min(_AT_ONCE, math.ceil((n_files - unit.position) / n_ranks))


def _feed(
    coadder: MPIMapCoadder, reader: _Reader, n_files: int, n_ranks: int
) -> tuple[Counter[str], Exception | None]:
    """Bring the frames of this rank to the coadder.

    Parameters
    ----------
    coadder : MPIMapCoadder
    reader : _Reader
    n_files, n_ranks : int
        How many files there are, and how many ranks read them.

    Returns
    -------
    n_read : Counter
        How many Map frames of each Id this rank has read.
    failure : Exception or None
        The error of this rank. Then no rank begins another file, and all raise at the join.
    """
    failure: Exception | None = None
    n_read: Counter[str] = Counter()
    pending: list[Pending] = []
    try:
        for frame in reader:
            coadder.observe(frame)
            if frame.type != core.G3FrameType.Map:
                continue
            n_read[str(frame.get("Id", None))] += 1
            if one := coadder.take(frame):
                pending.append(one)
            if pending and len(pending) >= _at_once(pending, n_files, n_ranks):
                coadder.add_taken(pending)
                pending.clear()
        coadder.add_taken(pending)
    except Exception as error:  # of any kind: all ranks raise when they join
        failure = error
        reader.stop()
    return n_read, failure


def _require_maps(
    n_files: int, map_ids: Sequence[str] | None, n_read: Counter[str], any_added: bool
) -> None:
    """Refuse to make an empty coadd, or one that lacks what was asked for."""
    files = f"the {n_files} input files" if n_files > 1 else "the input file"
    if not n_read:
        raise InputError(f"There is no Map frame in {files}.")
    listed = ", ".join(f"{map_id!r} ({count})" for map_id, count in sorted(n_read.items()))
    missing = [map_id for map_id in map_ids or () if map_id not in n_read]
    if missing:
        raise InputError(
            f"There is no map with the Id {', '.join(map(repr, missing))} in {files}; these Ids "
            f"are there (and how often): {listed}."
        )
    if not any_added:
        raise InputError(
            f"None of the maps in {files} belongs to any coadd; these Ids are there (and how "
            f"often): {listed}."
        )
