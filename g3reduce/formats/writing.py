"""Map frames into files of any format."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UsageError
from ..g3files.outputfile import Outputs, PlacedOutput, as_output_error
from ..maps.pixels import is_flat
from ..mpi import communicators
from ..mpi.agreement import collectively, from_all, from_rank
from ..pipeline.output import begin_output, check_output, publish, write_frames
from ..spt3gtypes import Frame
from .kinds import ENDINGS, distinct_name, format_of, split_name
from .options import WriteOptions
from .pixeltable import PixelTable

if TYPE_CHECKING:  # else each format is loaded when it is written: each file costs at start-up
    from .flatfits import FlatFits
    from .healpixfits import HealpixFits


def write_maps(
    file: str | os.PathLike[str],
    frames: Frame | Iterable[Frame],
    options: WriteOptions | None = None,
    *,
    inputs: Sequence[str] = (),
) -> list[str]:
    """Write Map frames into a file, in the format that its name stands for.

    A file has its name once it is complete; one that was there is replaced then. Several FITS files
    get their names one after another when all are complete.

    Parameters
    ----------
    file : name or path
        See `format_of`. .g3 and HDF5 files hold any number of frames. A FITS file holds one map:
        of several, each gets a file of its own, with its Id in the name.
    frames : G3Frame, or an iterable of them
        They are taken one after another.
    options : WriteOptions, optional
        How they are written.
    inputs : list of str
        Files that must not be replaced: those that the frames are read from.

    Returns
    -------
    list of str
        The files that were written.

    Raises
    ------
    OutputError
        If a file cannot be written, or if a map lacks what its readers must know.
    UsageError
        If the name has none of the endings.

    Examples
    --------
    >>> write_maps("coadd.fits", coadds.values(), WriteOptions(units="uK"))  # doctest: +SKIP
    ['coadd_95GHz.fits', 'coadd_150GHz.fits']
    """
    name = os.fspath(file)
    options = options or WriteOptions()
    kind = format_of(name)
    if hasattr(frames, "type"):  # one alone
        frames = [frames]
    if kind == "g3":
        if options.unweight:
            raise UsageError(
                f"{name}: .g3 files hold frames as they are. g3reduce.unweight divides maps by "
                "their weights, and writes them."
            )
        check_output(name, inputs)
        write_frames(name, frames)
        return [name]
    return write_tables(name, map(PixelTable.of_frame, frames), options, inputs=inputs)


def write_tables(
    file: str,
    tables: Iterable[PixelTable],
    options: WriteOptions,
    comm: communicators.Comm | None = None,
    root: int = 0,
    *,
    sharded: bool = False,
    inputs: Sequence[str] = (),
) -> list[str]:
    """Write maps into FITS or HDF5 files. Collective over `comm`.

    Parameters
    ----------
    file : str
    tables : iterable of PixelTable
        On `root` only; or, of shards, on all ranks, in the same order.
    options : WriteOptions
    comm : communicator, optional
        Default: this process alone.
    root : int
    sharded : bool
        Whether each rank has a part of each map, which it writes itself.
    inputs : list of str
        Files that must not be replaced.

    Returns
    -------
    list of str
        The files that were written, on all ranks.

    Raises
    ------
    OutputError, UsageError
    """
    comm = comm or communicators.OneProcess()
    here = sharded or comm.rank == root
    if format_of(file) == "hdf5":
        from .hdf5writing import write_groups

        collectively(comm, lambda: check_output(file, inputs, ENDINGS["hdf5"]))
        write_groups(file, tables if here else (), options, comm, root, sharded=sharded)
        return [file]
    jobs = _jobs(file, tables, options) if here else iter(())
    written: list[str] = []
    outputs = Outputs()
    try:
        while True:
            job = collectively(comm, lambda: next(jobs, None))
            name = comm.bcast(job.file if job else None, root)
            if name is None:
                break
            collectively(comm, lambda name=name: check_output(name, inputs, ENDINGS["fits"]))  # type: ignore[misc]
            _write_fits(name, job, options, comm, root, outputs, sharded=sharded)
            written.append(name)
        publish(comm, outputs)
    finally:
        outputs.discard()
    return written


class _Job(NamedTuple):
    """A FITS file to be written: its name, its map, and which planes of this."""

    file: str
    table: PixelTable
    planes: list[str]


def _jobs(file: str, tables: Iterable[PixelTable], options: WriteOptions) -> Iterator[_Job]:
    """The files that become of maps. Where there are several, they have Ids in their names."""
    from .healpixcolumns import planes_by_file

    stem, ending = split_name(file)
    met: set[str] = set()
    coming = iter(tables)
    table = next(coming, None)
    alone = True
    while table is not None:
        following = next(coming, None)
        alone = alone and following is None
        label = "" if alone else f"_{distinct_name(str(table.outline['Id']), met)}"
        for part, planes in planes_by_file(table, options).items():
            yield _Job(f"{stem}{label}{part}{ending}", table, planes)
        table = following


def names_of_outputs(file: str, map_ids: Sequence[str], *, companions: bool = False) -> list[str]:
    """The files that maps with these Ids will be written to; companions as a pattern."""
    if format_of(file) != "fits":
        return [file]
    stem, ending = split_name(file)
    met: set[str] = set()
    labels = [f"_{distinct_name(map_id, met)}" for map_id in map_ids] if len(map_ids) > 1 else [""]
    return [f"{stem}{label}{'_*' if companions else ''}{ending}" for label in labels]


def _write_fits(
    file: str,
    job: _Job | None,
    options: WriteOptions,
    comm: communicators.Comm,
    root: int,
    outputs: Outputs,
    *,
    sharded: bool,
) -> None:
    """Write one file, which gets its name with the others."""
    if file.endswith(".gz"):
        if sharded:
            raise UsageError(
                f"{file}: ranks cannot write their shards into a compressed file. Name an output "
                'that ends in .fits, or take another result than "sharded".'
            )

        def put(output: Any) -> None:
            if job is not None:
                _content(job, options, communicators.OneProcess()).put_in_order(output.write)

        begin_output(file, put, comm, root, outputs)
        return
    ranks = comm if sharded else communicators.OneProcess()
    write_placed(
        file,
        (lambda: _content(job, options, ranks)) if job is not None else None,
        comm,
        root,
        outputs,
        sharded=sharded,
    )


def _content(job: _Job, options: WriteOptions, ranks: communicators.Comm) -> FlatFits | HealpixFits:
    from .flatfits import FlatFits
    from .healpixfits import HealpixFits

    kind = FlatFits if is_flat(job.table.stub) else HealpixFits
    return kind(ranks, job.table, options, job.planes, job.file)


def write_placed(
    file: str,
    prepare: Callable[[], Any] | None,
    comm: communicators.Comm,
    root: int,
    outputs: Outputs,
    *,
    sharded: bool,
) -> None:
    """Write a file whose parts stand at places that are known before. Collective over `comm`.

    It has its name once `outputs` are published.

    Parameters
    ----------
    file : str
    prepare : callable or None
        Returns what is to be written, an object with ``size``, ``put(fd)``, which writes what this
        rank has and returns its checksums, and ``finish(fd, sums)``, which writes the rest. None
        where there is nothing to be written.
    comm : communicator
    root : int
    outputs : Outputs
        What the file is added to, on `root`.
    sharded : bool
        Whether all ranks have something to be written, or only `root`.

    Raises
    ------
    OutputError
    """
    # Where all take part, preparing is collective itself.
    content = prepare() if sharded and prepare else None

    def begin() -> str:
        nonlocal content
        if content is None and prepare is not None:
            content = prepare()
        output = PlacedOutput(file, content.size if content is not None else 0)
        outputs.add(output)
        return output.path

    def put() -> list[int]:
        if content is None:
            return []
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            checksums: list[int] = content.put(fd)
            if comm.rank != root:  # else it is done when all of the file is there
                os.fsync(fd)
        finally:
            os.close(fd)
        return checksums

    def finish() -> None:
        if comm.rank == root and content is not None:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                content.finish(fd, sums)
            finally:
                os.close(fd)

    path = from_rank(comm, root, begin)
    sums = from_all(comm, as_output_error(file)(put))
    collectively(comm, as_output_error(file)(finish))
