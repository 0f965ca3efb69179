"""``g3reduce demo``: simulate observations, coadd them on several ranks, check, split and draw."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from ..errors import InterruptedByUser, OutputError, UsageError
from ..mpi.interrupts import Progress, progress_in_interrupt
from ..mpi.launchers import several
from .ctrlc import expect_several_outputs
from .demoruns import Counting, Steps
from .options import add_verbose, count, count_or_none, seed
from .streams import say

DESCRIPTION = """\
Simulate a small CMB survey, coadd its maps on several ranks, and look at the
result. Everything is real: a sky drawn with healpy, spt3g's mock observer and
map binner, .g3 files, mpirun. Coadds are compared with spt3g's own serial ones,
plane by plane; and, with 200 more observations, in time.
"""

EXAMPLE = """\
example:
  g3reduce demo --ranks 4 --output-dir g3reduce-demo
"""

# Folders of maps in the folder of the demo, and that of more observations while they are timed.
_KINDS, _MORE = ("flat", "healpix"), "more"

# Observations of which timestreams are made.
_WITH_SCANS = 2


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
    parser.add_argument(
        "--more",
        metavar="N",
        type=count_or_none,
        default=200,
        help="observations on which g3reduce and spt3g are timed: 3 MB each, which are removed "
        "afterwards; 0: none (default: %(default)s)",
    )
    parser.add_argument("--seed", type=seed, default=1, help="of sky and noise (default: 1)")
    parser.add_argument(
        "--data-only", action="store_true", help="make maps and timestreams, and do no more"
    )
    add_verbose(parser)


def run(options: argparse.Namespace) -> None:
    """Simulate, coadd, compare, split, draw and time, and print what is done."""
    _check(options)
    start = time.perf_counter()
    folder: Path = options.output_dir
    simulation = _simulate(options)
    if options.data_only:
        _make_scans(folder, simulation)
        say(f"\nDone in {time.perf_counter() - start:.0f} s.")
        return
    steps = Steps(options.ranks, verbose=options.verbose, quiet=options.quiet)
    coadds = {}
    for kind, files in zip(_KINDS, (simulation.flat_files, simulation.healpix_files), strict=True):
        coadds[kind] = folder / f"coadd_{kind}.g3"
        log = ["--log-json", str(folder / "run.jsonl")] if kind == "healpix" else []
        steps.coadd(files, coadds[kind], *log)
        steps.compare(files, coadds[kind])
    made = [*_draw(steps, folder, coadds), *_halves(steps, folder, simulation.flat_files)]
    made.append(_report(steps, folder, coadds["healpix"]))
    if options.more:
        _time(options, steps, folder, simulation.healpix_files)
    say(
        f"\nDone in {time.perf_counter() - start:.0f} s. To look at:",
        *(f"  {path}" for path in made),
        "\nTo try next:",
        *(f"  {shlex.join([*_program(), *words])}" for words in _next(coadds)),
    )


def _program() -> list[str]:
    """How this command is called here, where the environment may not be active."""
    if shutil.which("g3reduce"):
        return ["g3reduce"]
    called = sys.argv[0]
    return [called] if Path(called).name == "g3reduce" else [sys.executable, "-m", "g3reduce"]


def _next(coadds: dict[str, Path]) -> list[list[str]]:
    """Commands that say more of the coadds."""
    flat, healpix = (str(coadds[kind]) for kind in _KINDS)
    return [
        ["info", healpix],
        ["plot", flat, "--band", "150GHz", "--spectrum", "-o", "spectrum.png"],
        ["ledger", healpix],
    ]


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
    found = [path for kind in _KINDS for path in sorted(folder.glob(f"{kind}/*.g3"))]
    others = [path for path in found if path.name not in made]
    if others:
        raise UsageError(
            f"{folder} holds files that are not of this run ({others[0]}). Remove them, or name "
            "another folder with --output-dir."
        )


def _simulate(options: argparse.Namespace) -> Any:
    from ..simulate import Survey, simulate_observations

    survey = Survey(seed=options.seed)
    detectors = 2 * survey.n_pixels * len(survey.bands)
    say(
        f"Simulating {options.observations} observations of a {math.degrees(survey.width):.0f} by "
        f"{math.degrees(survey.height):.0f} degree field with {detectors} detectors:"
    )
    counted = Counting("observation")
    expect_several_outputs("demo")
    with progress_in_interrupt(
        lambda: Progress(counted.done, options.observations, "observations were made")
    ):
        try:
            return simulate_observations(
                options.output_dir, options.observations, survey=survey, progress=counted
            )
        except InterruptedByUser as error:  # while one of the files was written
            raise KeyboardInterrupt from error


def _make_scans(folder: Path, simulation: Any) -> None:
    from ..simulate import write_scans

    for obs in range(1, 1 + _WITH_SCANS):
        write_scans(folder, obs, simulation.sky, simulation.survey)
    say(f"  timestreams of {_WITH_SCANS} observations")


def _draw(steps: Steps, folder: Path, coadds: dict[str, Path]) -> list[Path]:
    """Draw all bands of both coadds."""
    say("\nPictures of all bands:")
    pictures = []
    for kind, coadd in coadds.items():
        pictures.append(folder / f"coadd_{kind}.png")
        steps.alone("plot", str(coadd), "-o", str(pictures[-1]))
    return pictures


def _halves(steps: Steps, folder: Path, files: tuple[str, ...]) -> list[Path]:
    """Split the observations into odd and even ones, and draw half the difference."""
    if len(files) < 2:
        return []
    say(
        "\nOdd and even observations, and half their difference: the sky cancels, but for"
        "\nwhat the filter of each observation has left of it:"
    )
    splits, null = folder / "splits.g3", folder / "difference.g3"
    rules = [word for half in ("odd", "even") for word in ("--split", f"{half}=parity={half}")]
    steps.coadd(files, splits, *rules)
    steps.alone("difference", str(splits), "--halves", "odd", "even", "-o", str(null))
    picture = null.with_suffix(".png")
    steps.alone("plot", str(null), "-o", str(picture))
    return [picture]


def _report(steps: Steps, folder: Path, coadd: Path) -> Path:
    say("\nA page about the coadd and its run, for any browser:")
    page = coadd.with_suffix(".html")
    steps.alone("report", str(coadd), "--log", str(folder / "run.jsonl"), "-o", str(page))
    return page


def _time(options: argparse.Namespace, steps: Steps, folder: Path, files: tuple[str, ...]) -> None:
    """Time both on observations that are many, and remove their files."""
    from ..progress.logfile import read_log
    from ..simulate import more_observations

    n_more, place = options.more, folder / _MORE
    say(f"\nTimed on {n_more} more observations, which are these with new noise:")
    counted = Counting("observation")
    try:
        shutil.rmtree(place, ignore_errors=True)  # what an interrupted run has left
        with progress_in_interrupt(
            lambda: Progress(counted.done, n_more, "more observations were made")
        ):
            try:
                more = more_observations(place, files, n_more, seed=options.seed, progress=counted)
            except InterruptedByUser as error:
                raise KeyboardInterrupt from error
        megabytes = sum(map(os.path.getsize, more)) / 1e6
        coadd, log = folder / "coadd_more.g3", folder / "run_more.jsonl"
        seconds = steps.coadd(more, coadd, "--log-json", str(log))
        ours, theirs = read_log(log)[-1].time, steps.compare(more, coadd)
        faster = f" ({theirs / ours:.1f} times as fast)" if theirs > ours else ""
        say(
            f"\nTo read and add {megabytes:.0f} MB spt3g took {theirs:.1f} s, and g3reduce "
            f"{ours:.1f} s{faster},\nin which it also wrote the coadd; {seconds:.1f} s with the "
            "start of Python and MPI on all\nranks."
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)
