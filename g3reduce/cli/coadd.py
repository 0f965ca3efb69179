"""``g3reduce coadd``: sum the maps of .g3 files."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from ..spt3gtypes import Frame
from . import (
    adding,
    checkpointing,
    dryrun,
    fileformats,
    growing,
    looking,
    progress,
    reporting,
    setaside,
    splitting,
)
from .lists import files_of, with_lists
from .messages import wrote
from .options import Bounds, add_files, add_result, add_schedule, add_strategy, add_verbose
from .streams import say
from .summary import lines_about

DESCRIPTION = """\
Coadd the map frames of .g3 files into one map frame, or one for each Id.

Alone it runs in one process; under mpirun, mpiexec or srun the files are shared
out over all ranks. The flags of spt3g-coadd-maps mean the same here.
"""

EXAMPLE = """\
examples:
  g3reduce coadd obs1.g3 obs2.g3 -o coadd.g3
  mpirun -n 8 g3reduce coadd 'obs/*.g3' -o coadd.g3 -m 95GHz 150GHz --collate
  srun -n 64 g3reduce coadd obs/*.g3 -o coadd.g3 --reproducible
  g3reduce coadd --add tonight.g3 -o season.g3

Exit codes: 0 done, 1 the work failed, 2 bad usage, 3 done without files that
were set aside, 75 stopped with a checkpoint, 130 Ctrl-C.
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "coadd", help="sum the maps of .g3 files", description=DESCRIPTION, epilog=EXAMPLE
    )
    parser.set_defaults(run=run, command="coadd")
    looking.add_list(add_files(parser))
    _add_output(parser.add_argument_group("output"))
    added = parser.add_argument_group("what is added, and how")
    adding.add_flags(added)
    added.add_argument(
        "--absmax",
        nargs="+",
        action=Bounds,
        metavar="[MAP=]X",
        help="with --reproducible: no pixel of any input is larger (or none of this map: T, Wpol, "
        "Wpol.TT, ...), so that less memory is needed",
    )
    splitting.add_flags(parser)
    fileformats.add_flags(parser)
    setaside.add_flags(parser)
    growing.add_flags(parser)
    checkpointing.add_flags(parser)
    ranks = parser.add_argument_group("ranks")
    checkpointing.add_rank_flags(ranks)
    add_strategy(ranks)
    add_result(ranks)
    add_schedule(ranks)
    progress.add_flags(parser, quiet=True)
    add_verbose(parser)


def _add_output(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "-o",
        "--output-file",
        default="map_coadd.g3",
        metavar="OUT",
        help="output file, .g3, .fits or .h5 (default: %(default)s); an existing one is replaced "
        "when the new one is complete",
    )
    group.add_argument(
        "-i",
        "--output-map-id",
        default="Coadd",
        metavar="ID",
        help="Id of the coadd (default: %(default)s)",
    )
    group.add_argument(
        "--record-obs-id",
        action="store_true",
        help="list inputs as SourceName/ObservationID/Id in InputMapIds",
    )
    group.add_argument(
        "--metadata-lasts",
        action="store_true",
        help="with --record-obs-id, the observation of a file counts for later files that name "
        "none, too, in the order in which the files are named",
    )
    reporting.add_flag(group)
    dryrun.add_flag(group)


def run(options: argparse.Namespace) -> int | None:
    """Coadd, and print what was written; or start ranks that do so, and return their code."""
    if checkpointing.starts_ranks(options) and not options.list:
        from . import retrying

        return retrying.run(options, options.words)
    from ..jobs.files import coadd_files
    from ..mpi import communicators
    from ..mpi.agreement import collectively

    start = time.perf_counter()
    comm = communicators.resolve(None)
    options.files = files_of(options, comm)
    options.add_to, options.subtract = (
        with_lists(words, comm) for words in (options.add_to, options.subtract)
    )
    if options.list:
        names = [*options.files, *options.add_to]
        return looking.show_files(options, comm, names)
    private = communicators.private(comm)
    events = reporting.events_for(options, private)
    with checkpointing.watched(options, comm):
        coadds = coadd_files(
            output_file=options.output_file,
            mpicomm=comm,
            output_map_id=options.output_map_id,
            record_obs_id=options.record_obs_id,
            metadata_lasts=options.metadata_lasts,
            **adding.arguments(options),
            same_observation=options.same_observation,
            strategy=options.strategy,
            result=options.result,
            schedule=options.schedule,
            absmax=options.absmax,
            keep_maps=False,
            output_options=collectively(private, lambda: fileformats.write_options(options)),
            progress=progress.observer_of(options, private, events),
            dry_run=options.dry_run,
            **splitting.arguments(options, comm),
            **growing.arguments(options),
            **setaside.arguments(options),
            **checkpointing.arguments(options),
        )
    took = time.perf_counter() - start
    if options.dry_run:
        if comm.rank == 0 and not options.quiet:
            say(
                *dryrun.lines_about(coadds, options, comm.size),
                *setaside.closing_lines(coadds.left_out, coadds.n_given),
                "Dry run: nothing was added or written.",
            )
        return setaside.SET_ASIDE if coadds.left_out else None
    about_page = reporting.write(options, coadds, events, private)
    if comm.rank == 0 and not options.quiet:
        frames = list(coadds.values())
        written = fileformats.listed(coadds.written)
        last = wrote(written, took, comm.size)
        if coadds.from_earlier:
            last = f"{options.output_file} is already complete."
        say(
            *lines_about(coadds),
            *_left_out(frames, options.nonfinite),
            *growing.lines(frames),
            *setaside.closing_lines(coadds.left_out, coadds.n_given),
            last,
            *about_page,
        )
    return setaside.SET_ASIDE if coadds.left_out else None


def _left_out(frames: Sequence[Frame], nonfinite: str) -> list[str]:
    """The line about pixels that were left out, with ``--nonfinite skip``."""
    if nonfinite != "skip":
        return []
    skipped = sum(frame.get("SkippedPixels", 0) for frame in frames)
    return [f"Left out {skipped} pixels that are not finite."]
