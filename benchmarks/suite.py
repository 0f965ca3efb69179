"""All benchmarks, and what a run of them leaves."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .cases import (
    coadding,
    command,
    compressed,
    custom,
    distributor,
    exactness,
    flips,
    formats,
    hosts,
    ledgers,
    memory,
    progress,
    reducing,
    scaling,
    sharded,
    small,
    stitching,
    tiny,
)
from .harness import machine
from .harness.settings import Benchmark, Settings

BENCHMARKS: dict[str, Benchmark] = {
    "coadding": coadding.BENCHMARK,
    "command": command.BENCHMARK,
    "compressed": compressed.BENCHMARK,
    "small": small.BENCHMARK,
    "tiny": tiny.BENCHMARK,
    "memory": memory.BENCHMARK,
    "ledgers": ledgers.BENCHMARK,
    "scaling": scaling.BENCHMARK,
    "distributor": distributor.BENCHMARK,
    "reducing": reducing.BENCHMARK,
    "custom": custom.BENCHMARK,
    "exactness": exactness.BENCHMARK,
    "flips": flips.BENCHMARK,
    "stitching": stitching.BENCHMARK,
    "formats": formats.BENCHMARK,
    "sharded": sharded.BENCHMARK,
    "progress": progress.BENCHMARK,
    "hosts": hosts.BENCHMARK,
}

# The machine, and the rows of each benchmark.
Measured = dict[str, Any]


def measure(names: Iterable[str], settings: Settings) -> tuple[Measured, list[str]]:
    """Run benchmarks one after another.

    Returns
    -------
    measured : dict
        ``machine``, and ``rows`` by name.
    failed : list of str
        The names of those that raised, which is told on stderr. The others go on.
    """
    measured: Measured = {"machine": machine.describe(), "rows": {}}
    failed = []
    for name in names:
        start = time.perf_counter()
        print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
        try:
            measured["rows"][name] = BENCHMARKS[name].measure(settings)
        except Exception:  # what the others measure is worth having
            traceback.print_exc()
            failed.append(name)
        else:
            print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    return measured, failed


def load(file: Path) -> list[Measured]:
    """The runs that `save` wrote."""
    runs: list[Measured] = json.loads(file.read_text())
    return runs


def save(file: Path, runs: list[Measured]) -> None:
    """Write runs, the newest first."""
    file.write_text(json.dumps(runs, indent=1) + "\n")
