"""Write the page about scale: ``python -m benchmarks.model --output FOLDER``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import page


def main(arguments: list[str] | None = None) -> int:
    """Simulate, and write ``scale.md`` with its pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model", description=__doc__)
    add = parser.add_argument
    add("--output", type=Path, default=Path("benchmark-report"), metavar="FOLDER")
    add(
        "--measured",
        type=Path,
        action="append",
        default=[],
        metavar="JSON",
        help="rows of benchmarks.model.validation to compare with (several times if need be)",
    )
    add("--quick", action="store_true", help="few nodes: does it work?")
    asked = parser.parse_args(arguments)
    measured = [row for file in asked.measured for row in json.loads(file.read_text())]
    asked.output.mkdir(parents=True, exist_ok=True)
    page.write(asked.output, measured, nodes=(1, 4) if asked.quick else page.NODES)
    print(f"Written to {asked.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
