"""``g3reduce stitch``: put observations together from the scans of .g3 files."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..g3files.names import SUFFIXES
from .exits import say
from .values import count

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
  mpirun -n 8 g3reduce stitch 'scans/*.g3' -o whole.g3 -t CalTimestreams150GHz --gaps fill
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
    parser.set_defaults(run=run, command="stitch")
    parser.add_argument(
        "files", nargs="+", metavar="IN", help="input files; quoted patterns are expanded"
    )
    parser.add_argument(
        "-o",
        "--output-file",
        required=True,
        metavar="OUT",
        help="output file; an existing one is replaced when the new one is complete. Or a folder "
        "(NAME/, NAME.h5)",
    )
    parser.add_argument(
        "-t",
        "--timestreams",
        nargs="+",
        action="extend",
        metavar="KEY",
        help="keys of the timestreams (default: CalTimestreams)",
    )
    parser.add_argument(
        "-b",
        "--boresight",
        default="OnlineRaDecRotation",
        metavar="KEY",
        help="key of the boresight quaternions; '' if there are none (default: %(default)s)",
    )
    parser.add_argument("--flags", metavar="KEY", help="key of flags of samples, for all detectors")
    parser.add_argument("--detector-flags", metavar="KEY", help="key of flags by detector")
    parser.add_argument(
        "--times",
        metavar="KEY",
        help="key of the times of samples, where some were lost inside scans",
    )
    parser.add_argument(
        "--valid",
        metavar="KEY",
        help="the same from a mask: true for each sample that came",
    )
    parser.add_argument(
        "--gaps",
        choices=("keep", "fill", "refuse"),
        help="times without samples: keep them as they are, fill them with flagged samples, or "
        "refuse them (default: keep, and for TOAST fill)",
    )
    parser.add_argument(
        "--missing",
        choices=("flag", "refuse"),
        default="flag",
        help="detectors that some scans lack: flag them there, or refuse (default: %(default)s)",
    )
    parser.add_argument(
        "--overlap",
        choices=("refuse", "drop"),
        default="refuse",
        help="a sample that is the last of one scan and the first of the next: refuse, or leave it "
        "out of the later one (default: %(default)s)",
    )
    parser.add_argument(
        "--detectors-per-frame",
        type=count,
        metavar="N",
        help="write a Scan frame for N detectors each (default: one for each observation)",
    )
    parser.add_argument(
        "--observation-keys",
        type=lambda keys: keys.split(","),
        metavar="KEY[,KEY]",
        help="keys whose values name an observation (default: SourceName,ObservationID)",
    )
    parser.add_argument(
        "--metadata-lasts",
        action="store_true",
        help="metadata count for the files after theirs, too, in the order of the names",
    )
    parser.add_argument(
        "--nets",
        metavar="KEY",
        help="for TOAST: key of noise-equivalent temperatures, in the Calibration frames",
    )
    parser.add_argument(
        "--schedule",
        choices=("dynamic", "static"),
        default="dynamic",
        help="share out files on demand, or deal them out in order (default: %(default)s)",
    )
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="say how the work is done, and why"
    )


def run(options: argparse.Namespace) -> None:
    """Stitch, and say what was done."""
    from ..mpi import communicators
    from ..mpi.agreement import collectively

    start = time.perf_counter()
    output: str = options.output_file
    to_toast = not output.endswith(SUFFIXES)
    comm = communicators.resolve(None)
    collectively(communicators.private(comm), lambda: _check(options, to_toast))
    summaries = (_stitch_to_toast if to_toast else _stitch)(options, comm)
    if comm.rank == 0:
        seconds = time.perf_counter() - start
        ranks = f" on {comm.size} ranks" if comm.size > 1 else ""
        say(*map(_line, summaries), f"Wrote {options.output_file} in {seconds:.2f} s{ranks}.")


_TIMESTREAMS = ["CalTimestreams"]


def _check(options: argparse.Namespace, to_toast: bool) -> None:
    output: str = options.output_file
    if not to_toast:
        if options.nets is not None:
            raise UsageError("--nets is of use only where OUT is a folder of TOAST's files.")
        return
    if not (output.endswith((os.sep, ".h5")) or os.path.isdir(output)):
        raise UsageError(
            f"-o {output}: expected a name that ends in {', '.join(SUFFIXES)}, or, for TOAST's "
            f"files, a folder ({output}{os.sep}) or a name that ends in .h5"
        )
    if options.metadata_lasts:
        raise UsageError("for TOAST's files metadata have to be in each file: no --metadata-lasts")
    if not options.boresight:
        raise UsageError("TOAST's files need a boresight: name its key with --boresight.")
    if len(options.timestreams or _TIMESTREAMS) > 1 or options.detectors_per_frame is not None:
        raise UsageError(
            "TOAST's files take one key of timestreams (-t), and no --detectors-per-frame."
        )


def _stitch(options: argparse.Namespace, comm: Comm) -> list[StitchedSummary]:
    from ..stitching.files import stitch_files

    return stitch_files(
        options.files,
        options.output_file,
        mpicomm=comm,
        timestreams=options.timestreams or _TIMESTREAMS,
        boresight=options.boresight or None,
        flags=options.flags,
        detector_flags=options.detector_flags,
        gaps=options.gaps or "keep",
        missing=options.missing,
        overlap=options.overlap,
        times=options.times,
        valid=options.valid,
        detectors_per_frame=options.detectors_per_frame,
        observation_keys=options.observation_keys,
        metadata_lasts=options.metadata_lasts,
        schedule=options.schedule,
    )


def _stitch_to_toast(options: argparse.Namespace, comm: Comm) -> list[StitchedSummary]:
    if comm.size == 1:
        os.environ.setdefault("MPI_DISABLE", "1")  # of which TOAST would otherwise start one
    if not options.verbose:
        os.environ.setdefault("TOAST_LOGLEVEL", "WARNING")
    from ..toast3.volume import stitch_to_toast

    return stitch_to_toast(
        options.files,
        options.output_file,
        mpicomm=comm,
        schedule=options.schedule,
        timestreams=(options.timestreams or _TIMESTREAMS)[0],
        boresight=options.boresight,
        flags=options.flags,
        detector_flags=options.detector_flags,
        nets=options.nets,
        observation_keys=options.observation_keys,
        gaps=options.gaps or "fill",
        missing=options.missing,
        overlap=options.overlap,
        times=options.times,
        valid=options.valid,
    )


def _line(summary: StitchedSummary) -> str:
    """What is said of an observation."""
    gaps = _number(len(summary.gaps), "gap")
    if summary.gaps:
        gaps += f" of {sum(summary.gaps):.6g} s{' in all' if len(summary.gaps) > 1 else ''}"
    return (
        f"{summary.name}: {_number(summary.n_detectors, 'detector')}, "
        f"{_number(summary.n_samples, 'sample')} from {_number(summary.n_scans, 'scan')} over "
        f"{summary.seconds:.6g} s, {gaps}, {100 * summary.flagged:.3g} % flagged"
    )


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"
