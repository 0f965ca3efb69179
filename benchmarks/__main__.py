"""Measure g3reduce beside its rivals: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from . import report, suite
from .harness.settings import Settings
from .inputs.mapfiles import SIZES

EXAMPLE = """\
examples:
  python -m benchmarks                                   all of them, in a quarter of an hour
  python -m benchmarks --quick                           does it work? (the times say nothing)
  python -m benchmarks coadding command --size large     two of them, with large maps
  python -m benchmarks reducing --ranks 2,4,8 --merge other/benchmarks.json
                                                         beside a run with another MPI
"""
QUICK = {"size": "tiny", "files": 2, "megabytes": 0.5, "ranks": (1, 2), "rounds": 1}
QUICK_NOTE = (
    "This is a run with --quick: tiny maps, one round. It shows that all of it works; its times "
    "and ratios say nothing of maps as they are."
)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 1 if a benchmark failed."""
    asked = _parse(arguments)
    # So that files and ranks go, too, if this process is told to.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="g3reduce-benchmarks-", dir=asked.folder) as folder:
        settings = Settings(
            size=asked.size or "medium",
            survey_size=asked.size or "survey",
            n_files=asked.files,
            megabytes=asked.megabytes,
            ranks=asked.ranks,
            rounds=asked.rounds,
            folder=Path(folder),
        )
        measured, failed = suite.measure(asked.benchmarks, settings)
    runs = [measured, *(run for file in asked.merge for run in suite.load(file))]
    for name in asked.benchmarks:
        print(report.section(suite.BENCHMARKS[name], report.rows_of(runs, name)), end="\n\n")
    note = QUICK_NOTE if asked.quick else ""
    report.write(asked.output, runs, note)
    print(f"Written to {asked.output}.", *filter(None, [note]))
    if failed:
        print(f"Failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure g3reduce beside spt3g, bare MPI and what cannot be avoided.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "benchmarks",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(suite.BENCHMARKS)} (default: all)",
    )
    add("--quick", action="store_true", help="tiny maps, one round: in two minutes")
    add("--size", choices=SIZES, help="of the maps (default: survey to coadd, else medium)")
    add("--files", type=_positive, default=6, help="of each kind of map (default: 6)")
    add("--megabytes", type=float, default=32, help="that a rank holds to reduce (default: 32)")
    add("--ranks", type=_ranks, default=(1, 2, 4), help="how many, with commas (default: 1,2,4)")
    add("--rounds", type=_positive, default=5, help="that count, after one more (default: 5)")
    add(
        "--output",
        type=Path,
        default=Path("benchmark-report"),
        metavar="FOLDER",
        help="for pages, pictures and benchmarks.json (default: benchmark-report)",
    )
    add("--folder", metavar="FOLDER", help="where files of maps are written for a while")
    add(
        "--merge",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="show that run, too (several times if need be)",
    )
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.benchmarks if name not in suite.BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(suite.BENCHMARKS)}")
    asked.benchmarks = asked.benchmarks or list(suite.BENCHMARKS)
    if asked.quick:
        vars(asked).update(QUICK)
    return asked


def _positive(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number from 1 on")
    return int(text)


def _ranks(text: str) -> tuple[int, ...]:
    return tuple(sorted(set(map(_positive, text.split(",")))))


if __name__ == "__main__":
    sys.exit(main())
