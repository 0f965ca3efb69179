"""``g3reduce demo``: simulate an observation, coadd it on several ranks, check it, draw it."""

from __future__ import annotations

import argparse
import glob
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import G3ReduceError, InterruptedByUser, OutputError, UsageError
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..mpi.launchers import several
from .ctrlc import expect_several_outputs
from .options import add_verbose, count, seed
from .streams import say

DESCRIPTION = """\
Simulate a small CMB observation, coadd its maps on several ranks, and look at
the result. Everything is real: a sky drawn with healpy, spt3g's mock observer
and map binner, .g3 files, mpirun. The coadd is compared with spt3g's own serial
one, plane by plane.
"""

EXAMPLE = """\
example:
  g3reduce demo --ranks 4 --output-dir g3reduce-demo
"""

# Seconds that ranks have to end after Ctrl-C.
_ENDING_S = 5.0


def add_parser(subparsers: Any) -> None:
    """Add this command to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="simulate, coadd on several ranks, check and draw",
        description=DESCRIPTION,
        epilog=EXAMPLE,
    )
    parser.set_defaults(run=run, command="demo")
    parser.add_argument(
        "-d",
        "--output-dir",
        type=Path,
        default=Path("g3reduce-demo"),
        help="folder for maps, coadds and pictures (default: %(default)s)",
    )
    parser.add_argument(
        "-n", "--ranks", type=count, default=3, help="ranks to coadd on (default: %(default)s)"
    )
    parser.add_argument(
        "--observations", type=count, default=8, help="observations to make (default: %(default)s)"
    )
    parser.add_argument("--seed", type=seed, default=1, help="of sky and noise (default: 1)")
    parser.add_argument(
        "--data-only", action="store_true", help="make maps and timestreams, and do no more"
    )
    add_verbose(parser)


def run(options: argparse.Namespace) -> None:
    """Simulate, coadd, compare and draw, and print what is done."""
    _check(options)
    from ..report.comparison import compare_with_spt3g
    from ..simulate import Survey, simulate_observations

    start = time.perf_counter()
    folder: Path = options.output_dir
    survey = Survey(seed=options.seed)
    detectors = 2 * survey.n_pixels * len(survey.bands)
    say(
        f"Simulating {options.observations} observations of a {math.degrees(survey.width):.0f} by "
        f"{math.degrees(survey.height):.0f} degree field with {detectors} detectors:"
    )
    made = 0

    def show(done: int, total: int) -> None:
        nonlocal made
        made = done
        _show_progress(done, total)

    expect_several_outputs("demo")
    with progress_in_interrupt(
        lambda: Progress(made, options.observations, "observations were made")
    ):
        try:
            simulation = simulate_observations(
                folder, options.observations, survey=survey, progress=show
            )
        except InterruptedByUser as error:  # while one of the files was written
            raise KeyboardInterrupt from error
    if options.data_only:
        _make_scans(folder, survey)
        say(f"\nDone in {time.perf_counter() - start:.0f} s.")
        return
    pictures = []
    for kind, files in (("flat", simulation.flat_files), ("healpix", simulation.healpix_files)):
        output = folder / f"coadd_{kind}.g3"
        _coadd(options, files, output)
        found = compare_with_spt3g(files, output)
        say(
            f"The same as spt3g's serial coadd ({found.seconds:.2f} s in one process): "
            f"{found.n_maps} maps, hits equal, the rest to {found.worst:.0e} of the largest value."
        )
        pictures.append(_draw(output, folder / f"coadd_{kind}_150GHz.png", len(files)))
    say(
        f"\nDone in {time.perf_counter() - start:.0f} s. Pictures to look at:",
        *(f"  {picture}" for picture in pictures),
    )


def _make_scans(folder: Path, survey: Any) -> None:
    from ..simulate import simulate_scans

    made = simulate_scans(folder, 2, survey=survey)
    say(f"  timestreams of {len(made.files)} observations")


def _check(options: argparse.Namespace) -> None:
    if several():
        raise UsageError("The demo starts its ranks itself: run it without mpirun.")
    # Files that this run does not make would go into its coadd.
    made = {f"obs_{number:04d}.g3" for number in range(1, options.observations + 1)}
    folder: Path = options.output_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: this folder cannot be made ({error.strerror}). Name another one with "
            "--output-dir."
        ) from error
    others = [path for path in sorted(folder.glob("*/*.g3")) if path.name not in made]
    if others:
        raise UsageError(
            f"{folder} holds files that are not of this run ({others[0]}). Remove them, or name "
            "another folder with --output-dir."
        )


def _show_progress(done: int, total: int) -> None:
    overwritten = sys.stdout.isatty() and done < total  # by the next line
    if done:
        say(f"  observation {done} of {total}", end="\r" if overwritten else "\n")


def _coadd(options: argparse.Namespace, files: tuple[str, ...], output: Path) -> None:
    """Start the command line on several ranks, as a user would."""
    from ..mpi.launch import find_mpirun, mpirun_command, mpirun_environment

    pattern = os.path.join(glob.escape(os.path.dirname(files[0])), "obs_*.g3")
    arguments = ["coadd", pattern, "-o", str(output), "--collate"]
    arguments += ["-v"] if options.verbose else []
    command = [sys.executable, "-m", "g3reduce", *arguments]
    mpirun = find_mpirun()
    if mpirun is None:
        say(
            "\nThere is no mpirun here, so one process does it all. (pip install mpich brings one.)"
        )
        shown = ["g3reduce", *arguments]
    else:
        shown = ["mpirun", "-n", str(options.ranks), "g3reduce", *arguments]
        command = mpirun_command(options.ranks, command)
    say(f"\n$ {shlex.join(shown)}")
    with subprocess.Popen(command, env=mpirun_environment()) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
    if code:
        raise G3ReduceError("The coadd failed; its message stands above.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the ranks end by themselves for some seconds, then kill them."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _draw(coadd: Path, picture: Path, n_observations: int) -> Path:
    from spt3g import core

    from ..report.plot import plot_coadd

    frame = next(frame for frame in core.G3File(str(coadd)) if frame["Id"] == "Coadd150GHz")
    kind = "flat-sky" if "flat" in picture.name else "HEALPix"
    plot_coadd(
        frame, picture, title=f"150 GHz, coadd of {n_observations} observations ({kind} maps)"
    )
    return picture
