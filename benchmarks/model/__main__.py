"""The page about scale, and what it is compared with.

``python -m benchmarks.model --measure FILE`` measures with the MPI of the environment, and
``python -m benchmarks.model --measured FILE --output FOLDER`` simulates and writes the page.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import page, validation


def main(arguments: list[str] | None = None) -> int:
    """Measure; or simulate, and write ``scale.md`` with its pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("benchmark-report"), metavar="FOLDER")
    add(
        "--measured",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="rows of --measure to compare with (several times if need be)",
    )
    add("--measure", type=Path, metavar="JSON", help="join sums on ranks, and write rows there")
    add("--megabytes", type=float, default=4, help="that each rank joins (default: %(default)s)")
    add("--rounds", type=int, default=8, help="of each strategy (default: %(default)s)")
    add("--quick", action="store_true", help="few nodes: does it work?")
    asked = parser.parse_args(arguments)
    if asked.measure is not None:
        rows = validation.measure(asked.megabytes, asked.rounds)
        asked.measure.write_text(json.dumps(rows, indent=1) + "\n")
        print(f"Written to {asked.measure}: {len(rows)} rows.")
        return 0
    measured = [row for file in asked.measured for row in json.loads(file.read_text())]
    asked.output.mkdir(parents=True, exist_ok=True)
    page.write(asked.output, measured, nodes=(1, 4) if asked.quick else page.NODES)
    print(f"Written to {asked.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
