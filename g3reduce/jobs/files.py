"""The file-driven coadd: names of files in, one coadd out, on any number of ranks."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from ..choices import (
    InputCoord,
    Nonfinite,
    OnDuplicateFile,
    OnError,
    PolConv,
    ReadyStrategy,
    Result,
    SameObservation,
    Schedule,
)
from ..coadd.coadder import MPIMapCoadder
from ..coadd.coadds import Coadds
from ..coadd.growing import Growth, agreed_growth
from ..coadd.membership import Assign, as_list_of_ids
from ..errors import UsageError
from ..formats.options import WriteOptions
from ..g3files.names import may_be_pattern
from ..kernels import choice as kernels
from ..maps.assumed import Assumed
from ..mpi import communicators
from ..mpi.agreement import agreed_arguments, arguments_together, collectively
from ..pipeline.arguments import check_flags
from ..pipeline.parallelblock import check_schedule
from ..progress.events import Observer
from ..progress.watching import Watch, require_progress
from ..spt3gmarks import useful
from .allbad import AllBadNamed
from .checkpointing import EVERY_S, agreed_wishes, stop_request
from .choosing import Choice, choose, first_look
from .inputs import Atomic, Found, as_names, look
from .outputs import check_output_argument
from .parts import check_passes, is_splitting, one_pass_for
from .passes import Passes, Plan

if TYPE_CHECKING:
    from ..coadd.settings import Terms
    from .splitting import Planner


@useful
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
    on_duplicate: OnDuplicateFile = "error",
    same_observation: SameObservation = "warn",
    pol_conv: Any = None,
    input_pol_conv: PolConv | None = None,
    input_coord: InputCoord | None = None,
    input_units: str | None = None,
    reproducible: bool = False,
    absmax: float | Mapping[str, float] | None = None,
    nonfinite: Nonfinite = "keep",
    metadata_lasts: bool = False,
    keep_exact: bool = False,
    schedule: Schedule = "dynamic",
    keep_maps: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = EVERY_S,
    resume: bool = False,
    stop_after: float | None = None,
    on_error: OnError = "error",
    max_bad: int | str | None = None,
    like: str | os.PathLike[str] | None = None,
    check: bool = False,
    manifest: str | os.PathLike[str] | None = None,
    add_to: str | os.PathLike[str] | None = None,
    subtract: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    atomic: str | os.PathLike[str] | None = None,
    where: str | None = None,
    output_options: WriteOptions | None = None,
    passes: int | Literal["auto"] | None = None,
    progress: bool | Observer | None = None,
    dry_run: bool = False,
) -> Coadds:
    """Coadd the maps of files, on all ranks at once. Collective over `mpicomm`.

    Each file is read by one rank, each rank sums what it read, and the sums are joined: like
    `spt3g.maps.coadd_map_files` on any number of ranks. Where there are few files for the ranks,
    large ones that are not compressed are read by several, each frame by one of them.

    Parameters
    ----------
    files : name, path or list of these
        Input files, all of them on all ranks: .g3, FITS and HDF5 (see `g3reduce.formats`). Shell
        patterns are expanded, on `root`.
    output_file : name or path, optional
        Where `root` writes the coadds: to a temporary file, which is renamed when it is complete.
        The ending says the format: .g3, .fits (of several coadds, a file for each) or .h5. With
        ``result="sharded"`` each rank writes its shards itself, at their places of the one file.
        Other ranks may give None.
    mpicomm : mpi4py.MPI.Intracomm or None
        None: the world if a launcher started several processes, else this process alone.
    map_ids, output_map_id, collate, weighted, ignore_missing_weights, record_obs_id, assign, \
strategy, result, root, same_observation, pol_conv, reproducible, absmax, nonfinite, \
metadata_lasts, keep_exact
        As in `MPIMapCoadder`. There must be a map of each Id in `map_ids`.
    input_pol_conv : {"IAU", "COSMO"}, optional
        The polarization convention of FITS and HDF5 files that do not say it, as of healpy's and
        pixell's. What a file says is never overruled: `pol_conv` converts, these only inform.
    input_coord : {"C", "G", "E", "L"}, optional
        The coordinate system of those that do not say it.
    input_units : str, optional
        The units of those that do not say it: ``"K"``, ``"uK"``, ...
    on_duplicate : {"error", "skip", "sum"}
        As in `MPIMapCoadder`; or leave out files whose frames are all in files before them, too.
    schedule : {"dynamic", "static"}
        As in `MPIFileReader`.
    keep_maps : bool
        Whether the maps are wanted in memory. If not, they are only written, and those in the
        frames that are returned are empty; ``result="sharded"`` gives `root` such frames, too.
    checkpoint : name or path, optional
        A folder, which all ranks see, for checkpoints: what was summed is written there from time
        to time, so that the work can go on after it was stopped or killed. SIGTERM, SIGINT and
        SIGUSR1 to any rank make a last checkpoint and raise `Stopped`. Once the output is there,
        the checkpoints are removed, and a small marker is left.
    checkpoint_every : float
        Seconds from one checkpoint to the next; more where one takes longer than a twentieth.
    resume : bool
        Go on from the checkpoints of an earlier run of the same job, on any number of ranks. If
        the folder has none, the work begins from nothing; if all is done, nothing is done.
        Without it, a folder that holds checkpoints is refused.
    stop_after : float, optional
        After so many seconds make a last checkpoint and raise `Stopped`.
    on_error : {"error", "skip"}
        What to do with a file that cannot be read, is broken, or does not fit the others: raise,
        and name all such files that are found at a glance; or leave it out as a whole, so that
        none of its frames counts. See `Coadds.left_out`.
    max_bad : int or str, optional
        With ``on_error="skip"``, raise if more files are bad than these: a number, or a part of
        all, as in ``"5%"``.
    like : name or path, optional
        A file with which all must agree. Default: where files do not agree, those that fit are
        the most, with ``on_error="skip"`` or `check`.
    check : bool
        Look at all files before any is added, and raise with all that is wrong with any.
    manifest : name or path, optional
        A file that says how many frames there are in each input, or its SHA-256: see
        `g3reduce.check_files`.
    add_to : name or path, optional
        A file of coadds to which these maps are added; `files` may be empty then. It may be the
        output file, which is replaced when all is done. If it has exact sums, these go on.
    subtract : name, path or list of these
        With `add_to`, files that are in those coadds, and are to be taken out of them again.
    atomic : name or path, optional
        A table of sotodlib's atomic maps (SQLite): the maps that it lists are input, too; `files`
        may be empty then. It is read by `root`, and never written.
    where : str, optional
        Which rows of it, as SQL has it after WHERE: see `g3reduce.formats.atomic_maps`.
    output_options : g3reduce.formats.WriteOptions, optional
        How FITS and HDF5 files are written: units, weights divided out, and so on.
    passes : int or "auto", optional
        With a splitting as `assign`, of which all coadds need not fit in memory at once: in how
        many passes over the files they are made, or as many as are needed. Default: in one, and
        what would not fit is refused before anything is read.
    progress : None, bool or callable, optional
        Who is told how far the work is: True for a live line on the terminal, a bar in a notebook,
        or plain lines elsewhere; or ``progress(event)``, which is called with each event (see
        `g3reduce.progress`) in a thread of the first rank of `mpicomm`. The argument of that rank
        counts.
    dry_run : bool
        Only look at all files and plan: nothing is added or written, and the result has no frames,
        but its `preview` says what would be done. What is wrong is an error, as it would be. One
        file is read, to know how long all take; and with bundles of equal weight all weights.

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
        As `MPIMapCoadder`, or if the output file is of a format that cannot hold the result.
    OutputError
        On all ranks, if the output cannot be written.
    Stopped
        On all ranks, if the work was stopped, and its checkpoints let it go on.

    Examples
    --------
    >>> coadd = coadd_files(["obs1.g3", "obs2.g3"], "coadd.g3").frame  # doctest: +SKIP
    >>> coadd["T"], list(coadd["InputFiles"])  # doctest: +SKIP
    >>> coadds = coadd_files("obs*.g3", collate=True)  # doctest: +SKIP
    >>> coadds["95GHz"]["T"]  # doctest: +SKIP
    """
    comm = communicators.private(mpicomm)
    rows = Atomic(atomic, where)
    assumed = Assumed(input_pol_conv, input_coord, input_units)
    choice = Choice(on_error, max_bad, like, check, manifest, on_duplicate, same_observation)
    if dry_run is True:
        choice = choice._replace(check=True)
    checked = functools.partial(
        _check_arguments,
        *(files, output_file, result, schedule, keep_maps, choice, assumed, rows),
        options=output_options,
        checkpointed=checkpoint is not None,
        exact=keep_exact,
        passes=passes,
        progress=progress,
        dry_run=dry_run,
        in_one=one_pass_for(assign, output_file, result, checkpoint, add_to),
    )
    with AllBadNamed(comm, choice) as all_bad:
        with arguments_together(comm, "The arguments of coadd_files"):
            inputs = agreed_arguments(comm, "The arguments of coadd_files", checked)
            wishes = agreed_wishes(comm, checkpoint, checkpoint_every, resume, stop_after)
            growth = agreed_growth(comm, add_to, subtract, result)
            if growth:
                inputs = growth.inputs(inputs)
                reproducible, keep_exact = growth.base.exactness_for(reproducible, keep_exact)
            base = growth.base.file if growth else None
            make = functools.partial(
                _new_coadder,
                comm,
                growth,
                map_ids=map_ids,
                output_map_id=output_map_id,
                collate=collate,
                weighted=weighted,
                ignore_missing_weights=ignore_missing_weights,
                record_obs_id=record_obs_id,
                keep_outputs=keep_maps or result == "sharded",
                assign=_for_the_look(assign),
                strategy=strategy,
                result=result,
                root=root,
                same_observation=same_observation,
                on_duplicate="sum" if on_duplicate == "sum" else "error",
                pol_conv=pol_conv,
                reproducible=reproducible,
                absmax=absmax,
                nonfinite=nonfinite,
                metadata_lasts=metadata_lasts,
                keep_exact=keep_exact,
            )
            coadder = make()
            coadder.assume(assumed.checked())
            all_bad.terms = coadder.terms
            found = None
            if comm.rank == root:
                found = look(inputs, output_file, comm.size, base, rows)
            # Names that are known already need no agreement of their own.
            patterns = atomic is not None or any(map(may_be_pattern, inputs))
            if not patterns:
                all_bad.names = [os.fspath(name) for name in inputs]
                first_look(all_bad.names, comm, choice)
        found = cast(Found, comm.bcast(found, root))
        names = all_bad.names = found.names
        with Watch(comm, "coadd", progress) as watch:
            watch.expect(len(names), found.n_bytes)
            coadder.assume(assumed.checked()._replace(named=found.named))
            all_bad.terms = coadder.terms
            kernels.expect(found.n_bytes / comm.size)
            if patterns:
                collectively(comm, functools.partial(first_look, names, comm, choice))
            wanted = as_list_of_ids(map_ids)
            options = output_options or WriteOptions()
            plan = Plan(
                *(found, choice, wishes, growth, wanted, schedule, result, root, keep_maps),
                *(options, passes),
            )
            with stop_request(comm, wishes) as request:
                chosen, seen = choose(
                    comm, names, coadder.terms, choice, root, watch, whole=dry_run
                )
                planner = _planner_of(comm, assign, coadder.terms, growth, watch)
                run = Passes(comm, coadder, plan, chosen, request, planner, make, watch)
                if dry_run and seen is not None:
                    from .previewing import preview

                    return preview(comm, run, seen, coadder.terms)
                run.run()
            return run.coadds()


# What is about splittings is loaded where there is one only: each file costs at start-up.


def _for_the_look(assign: Assign | None) -> Assign | None:
    if not is_splitting(assign):
        return assign
    from .splitting import for_the_look

    return for_the_look(assign)


def _planner_of(
    comm: communicators.Comm, assign: Assign | None, terms: Terms, *rest: Any
) -> Planner | None:
    if not is_splitting(assign):
        return None
    from .splitting import planner_of

    return planner_of(comm, assign, terms, *rest)


def _new_coadder(comm: communicators.Comm, growth: Growth | None, **options: Any) -> MPIMapCoadder:
    """A coadder with these options, by which coadds may grow. Collective."""
    coadder = MPIMapCoadder(comm, **options)
    if growth:
        coadder.grow(growth)
    return coadder


def _check_arguments(
    files: Any,
    output_file: object,
    result: Result,
    schedule: Schedule,
    keep_maps: bool,
    choice: Choice,
    assumed: Assumed,
    rows: Atomic,
    *,
    options: Any,
    checkpointed: bool,
    exact: bool,
    passes: object,
    progress: object,
    dry_run: object,
    in_one: str,
) -> tuple[list[str | os.PathLike[str]], dict[str, object]]:
    """The names of input files, if all arguments can be used, and what ranks must have alike."""
    check_schedule(schedule)
    check_flags(keep_maps=keep_maps, dry_run=dry_run)
    choice.verify()
    check_passes(passes, in_one)
    require_progress(progress)
    names = as_names(files)
    if output_file is not None and not isinstance(output_file, str | os.PathLike):
        raise UsageError(f"output_file is {output_file!r}; expected the name of a file, or None.")
    if not isinstance(options, WriteOptions | None):
        raise UsageError(f"output_options is {options!r}; expected WriteOptions, or None.")
    if output_file is not None:
        sharded = result == "sharded"
        check_output_argument(
            os.fspath(output_file),
            sharded=sharded,
            checkpointed=checkpointed,
            exact=exact,
            unweight=options is not None and options.unweight,
        )
    same: dict[str, object] = {name: str(value) for name, value in choice._asdict().items()}
    same |= {"input": assumed.checked("input_")[:3], **rows.verify()}
    return names, {
        "files": list(map(str, names)),
        "schedule": schedule,
        **same,
        "output_options": str(options),
        "passes": passes,
        "dry_run": dry_run,
    }
