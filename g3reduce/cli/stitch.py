"""``g3reduce stitch``: put observations together from the scans of .g3 files."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from ..choices import Gaps, Missing, Overlap, choices_of
from ..errors import UsageError
from ..g3files.names import SUFFIXES
from . import looking, progress
from .lists import files_of
from .messages import counted, wrote
from .options import add_files, add_schedule, add_verbose, count
from .streams import say

if TYPE_CHECKING:
    from ..mpi.communicators import Comm
    from ..stitching.summary import StitchedSummary

DESCRIPTION = """\
Put observations together from the Scan frames of .g3 files: all samples of all
detectors in the order of time, whatever files the scans are in.

Alone it runs in one process; under mpirun, mpiexec or srun the files are shared
out over all ranks, and so are the samples. An observation is known by
SourceName and ObservationID, or by other keys of Observation or Scan frames.

OUT is a .g3 file, with a Scan frame for each observation; or else a folder, new
or empty, or a name that ends in .h5, for files that TOAST 3 reads.
"""

EXAMPLE = """\
examples:
  g3reduce stitch scans/obs_0001_*.g3 -o obs_0001.g3
  mpirun -n 8 g3reduce stitch 'scans/*.g3' -o whole.g3 -t CalTimestreams150GHz
  srun -n 64 g3reduce stitch 'scans/*.g3' -o whole.g3 --detectors-per-frame 500
  mpirun -n 8 g3reduce stitch 'scans/*.g3' -o toast/ --nets NET
"""


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "stitch",
        help="put observations together from the scans of .g3 files",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="stitch", refuse=parser.error)
    looking.add_list(add_files(parser))
    output = parser.add_argument_group("output")
    output.add_argument(
        "-o",
        "--output-file",
        metavar="OUT",
        help="output file; an existing one is replaced when the new one is complete. Or a folder "
        "(NAME/, NAME.h5)",
    )
    output.add_argument(
        "--detectors-per-frame",
        type=count,
        metavar="N",
        help="write a Scan frame for N detectors each (default: one for each observation)",
    )
    output.add_argument(
        "--dry-run",
        action="store_true",
        help="for a .g3 file: read all files and put the scans in order, say what would be "
        "written, and what would go wrong, and end",
    )
    keys = parser.add_argument_group("keys of frames")
    keys.add_argument(
        "-t",
        "--timestreams",
        nargs="+",
        action="extend",
        metavar="KEY",
        help="keys of the timestreams (default: CalTimestreams)",
    )
    keys.add_argument(
        "-b",
        "--boresight",
        default="OnlineRaDecRotation",
        metavar="KEY",
        help="key of the boresight quaternions; '' if there are none (default: %(default)s)",
    )
    keys.add_argument("--flags", metavar="KEY", help="key of flags of samples, for all detectors")
    keys.add_argument("--detector-flags", metavar="KEY", help="key of flags by detector")
    keys.add_argument(
        "--nets",
        metavar="KEY",
        help="for TOAST: key of noise-equivalent temperatures, in the Calibration frames",
    )
    observations = parser.add_argument_group("which scans belong together")
    observations.add_argument(
        "--observation-keys",
        type=lambda keys: keys.split(","),
        metavar="KEY[,KEY]",
        help="keys whose values name an observation (default: SourceName,ObservationID)",
    )
    observations.add_argument(
        "--metadata-lasts",
        action="store_true",
        help="metadata of a file count for later files, too, in the order in which they are named",
    )
    samples = parser.add_argument_group("samples that are missing, or there twice")
    samples.add_argument(
        "--times",
        metavar="KEY",
        help="key of the times of samples, where some were lost inside scans",
    )
    samples.add_argument(
        "--valid",
        metavar="KEY",
        help="key of a mask in place of --times: true for each sample that came",
    )
    samples.add_argument(
        "--gaps",
        choices=choices_of(Gaps),
        help="times without samples: keep them as they are, fill them with flagged samples, or "
        "refuse them (default: keep, and for TOAST fill)",
    )
    samples.add_argument(
        "--missing",
        choices=choices_of(Missing),
        default="flag",
        help="detectors that some scans lack: flag them there, or refuse (default: %(default)s)",
    )
    samples.add_argument(
        "--overlap",
        choices=choices_of(Overlap),
        default="refuse",
        help="a sample that is the last of one scan and the first of the next: refuse, or leave it "
        "out of the later one (default: %(default)s)",
    )
    add_schedule(parser.add_argument_group("ranks"))
    progress.add_flags(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> int | None:
    """Stitch, and print what was written."""
    from ..mpi import communicators
    from ..mpi.agreement import collectively

    start = time.perf_counter()
    output: str | None = options.output_file
    comm = communicators.resolve(None)
    if options.list:
        return looking.show_files(options, comm, files_of(options, comm))
    if output is None:
        options.refuse("the following arguments are required: -o/--output-file")
        return None
    to_toast = not output.endswith(SUFFIXES)
    collectively(communicators.private(comm), lambda: _check(options, to_toast))
    summaries = _stitch(options, to_toast, comm)
    if comm.rank == 0:
        seconds = time.perf_counter() - start
        last = wrote(options.output_file, seconds, comm.size)
        if options.dry_run:
            replaced = " (it would be replaced)" if os.path.exists(output) else ""
            last = f"Dry run: nothing was written to {output}{replaced}."
        say(*map(_line, summaries), last)
    return None


_TIMESTREAMS = ["CalTimestreams"]


def _check(options: argparse.Namespace, to_toast: bool) -> None:
    output: str = options.output_file
    if not to_toast:
        if options.nets is not None:
            raise UsageError(
                "--nets is only for TOAST's files: leave it out, or give a folder as -o (NAME/ or "
                "NAME.h5)."
            )
        return
    if not (output.endswith((os.sep, ".h5")) or os.path.isdir(output)):
        raise UsageError(
            f"-o {output}: expected a name that ends in {', '.join(SUFFIXES)}, or, for TOAST's "
            f"files, a folder ({output}{os.sep}) or a name that ends in .h5."
        )
    if options.dry_run:
        raise UsageError("--dry-run is only for .g3 output; for TOAST see --list, or try -o x.g3.")
    if options.metadata_lasts:
        raise UsageError(
            "--metadata-lasts is only for .g3 output: for TOAST each input file must have its own "
            "Calibration frame."
        )
    if not options.boresight:
        raise UsageError(
            "--boresight is empty, but TOAST's files need a boresight; expected the name of a key."
        )
    if len(options.timestreams or _TIMESTREAMS) > 1 or options.detectors_per_frame is not None:
        raise UsageError(
            "For TOAST's files give one key of timestreams (-t), and no --detectors-per-frame."
        )


def _stitch(options: argparse.Namespace, to_toast: bool, comm: Comm) -> list[StitchedSummary]:
    from ..mpi import communicators

    for_both = {
        "flags": options.flags,
        "detector_flags": options.detector_flags,
        "times": options.times,
        "valid": options.valid,
        "missing": options.missing,
        "overlap": options.overlap,
        "observation_keys": options.observation_keys,
        "schedule": options.schedule,
        "progress": progress.observer_of(options, communicators.private(comm)),
    }
    timestreams = options.timestreams or _TIMESTREAMS
    if not to_toast:
        from ..stitching.files import stitch_files

        return stitch_files(
            files_of(options, comm, needed=True),
            options.output_file,
            mpicomm=comm,
            timestreams=timestreams,
            boresight=options.boresight or None,
            gaps=options.gaps or "keep",
            detectors_per_frame=options.detectors_per_frame,
            metadata_lasts=options.metadata_lasts,
            dry_run=options.dry_run,
            **for_both,
        )
    if comm.size == 1:
        os.environ.setdefault("MPI_DISABLE", "1")  # else TOAST starts MPI for one process
    if not options.verbose:
        os.environ.setdefault("TOAST_LOGLEVEL", "WARNING")
    from ..toast3.volume import stitch_to_toast

    return stitch_to_toast(
        files_of(options, comm, needed=True),
        options.output_file,
        mpicomm=comm,
        timestreams=timestreams[0],
        boresight=options.boresight,
        gaps=options.gaps or "fill",
        nets=options.nets,
        **for_both,
    )


def _line(summary: StitchedSummary) -> str:
    """The line about an observation."""
    gaps = counted(len(summary.gaps), "gap")
    if summary.gaps:
        gaps += f" of {sum(summary.gaps):.6g} s{' in all' if len(summary.gaps) > 1 else ''}"
    return (
        f"{summary.name}: {counted(summary.n_detectors, 'detector')}, "
        f"{counted(summary.n_samples, 'sample')} from {counted(summary.n_scans, 'scan')} over "
        f"{summary.seconds:.6g} s, {gaps}, {100 * summary.flagged:.3g} % flagged"
    )
