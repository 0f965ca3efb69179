"""``g3reduce demo``: simulate an observation, coadd it on several ranks, check it, draw it."""

from __future__ import annotations

import argparse
import glob
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import G3ReduceError, InterruptedByUser, OutputError, UsageError
from ..mpi.interrupts import Progress, progress_told
from ..mpi.launchers import several
from .interrupted import expect_many_outputs
from .values import count, seed

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
_LAST_WORDS_S = 5.0

# Rounding of a sum in another order: a few units in the last place of the largest terms.
TOLERANCE = 1e-13


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
    parser.add_argument("-v", "--verbose", action="store_true", help="say how the work is done")


def run(options: argparse.Namespace) -> None:
    """Simulate, coadd, compare, draw, and say so."""
    _check(options)
    from ..simulate import Survey, simulate_observations

    start = time.perf_counter()
    folder: Path = options.output_dir
    survey = Survey(seed=options.seed)
    detectors = 2 * survey.n_pixels * len(survey.bands)
    print(
        f"Simulating {options.observations} observations of a {survey.width / _DEG:.0f} by "
        f"{survey.height / _DEG:.0f} degree field with {detectors} detectors:"
    )
    made = 0

    def show(done: int, total: int) -> None:
        nonlocal made
        made = done
        _show_progress(done, total)

    expect_many_outputs("demo")
    with progress_told(lambda: Progress(made, options.observations, "observations were made")):
        try:
            simulation = simulate_observations(
                folder, options.observations, survey=survey, progress=show
            )
        except InterruptedByUser as error:  # while one of the files was written
            raise KeyboardInterrupt from error
    pictures = []
    for kind, files in (("flat", simulation.flat_files), ("healpix", simulation.healpix_files)):
        output = folder / f"coadd_{kind}.g3"
        _coadd(options, files, output)
        _compare(files, output)
        pictures.append(_draw(output, folder / f"coadd_{kind}_150GHz.png", len(files)))
    print(f"\nDone in {time.perf_counter() - start:.0f} s. Pictures to look at:")
    for picture in pictures:
        print(f"  {picture}")


_DEG = 3.141592653589793 / 180  # in G3Units, which count radians


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
    if done:
        print(f"  observation {done} of {total}", end="\r" if sys.stdout.isatty() else "\n")
    if done == total:
        print(end="\n" if sys.stdout.isatty() else "", flush=True)


def _coadd(options: argparse.Namespace, files: tuple[str, ...], output: Path) -> None:
    """Start the command line on several ranks, as a user would."""
    from ..mpi.launch import find_mpirun, mpirun_command, mpirun_environment

    pattern = os.path.join(glob.escape(os.path.dirname(files[0])), "obs_*.g3")
    arguments = ["coadd", pattern, "-o", str(output), "--collate"]
    arguments += ["-v"] if options.verbose else []
    command = [sys.executable, "-m", "g3reduce", *arguments]
    mpirun = find_mpirun()
    if mpirun is None:
        print(
            "\nThere is no mpirun here, so one process does it all. (pip install mpich brings one.)"
        )
        shown = ["g3reduce", *arguments]
    else:
        shown = ["mpirun", "-n", str(options.ranks), "g3reduce", *arguments]
        command = mpirun_command(options.ranks, command)
    print(f"\n$ {shlex.join(shown)}", flush=True)
    with subprocess.Popen(command, env=mpirun_environment()) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _end(process)
            raise
    if code:
        raise G3ReduceError("The coadd failed; its message stands above.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the ranks end by themselves, with a word; but not for long."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _compare(files: tuple[str, ...], output: Path) -> None:
    """Check a coadd of all Ids against spt3g's serial one."""
    from spt3g import core, maps

    start = time.perf_counter()
    expected = maps.coadd_map_files(list(files), collate=True)
    seconds = time.perf_counter() - start
    worst, n_planes = 0.0, 0
    frames = {frame["Id"].removeprefix("Coadd"): frame for frame in core.G3File(str(output))}
    if set(frames) != set(expected):
        raise G3ReduceError(f"{output} has the Ids {sorted(frames)}, not {sorted(expected)}")
    for map_id, frame in frames.items():
        mine, theirs = _planes(frame), _planes(expected[map_id])
        if set(mine) != set(theirs):
            raise G3ReduceError(f"{map_id} has the planes {sorted(mine)}, not {sorted(theirs)}")
        for name in mine:
            difference = _difference(mine[name], theirs[name])
            if difference > (0 if name == "H" else TOLERANCE):
                raise G3ReduceError(
                    f"{name} of {map_id} differs from spt3g's serial coadd by {difference:.1e} of "
                    "its largest value"
                )
            worst, n_planes = max(worst, difference), n_planes + 1
    print(
        f"The same as spt3g's serial coadd ({seconds:.2f} s in one process): {n_planes} planes, "
        f"hits equal, the rest to {worst:.0e} of the largest value."
    )


def _planes(frame: Any) -> dict[str, Any]:
    from ..maps.mapframe import maps_of

    return maps_of(frame, str(frame["Id"]))


def _difference(mine: Any, theirs: Any) -> float:
    """The largest difference of two maps, relative to the largest value."""
    import numpy as np

    a, b = (np.asarray(skymap.clone(True)) for skymap in (mine, theirs))
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def _draw(coadd: Path, picture: Path, n_observations: int) -> Path:
    from spt3g import core

    from ..report.plot import plot_coadd

    frame = next(frame for frame in core.G3File(str(coadd)) if frame["Id"] == "Coadd150GHz")
    kind = "flat-sky" if "flat" in picture.name else "HEALPix"
    plot_coadd(
        frame, picture, title=f"150 GHz, coadd of {n_observations} observations ({kind} maps)"
    )
    return picture
