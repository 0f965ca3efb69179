"""From files to a coadd on one process: ours, spt3g's, and what cannot be avoided."""

from __future__ import annotations

import os
import shutil
from typing import Any

from ..harness import pictures
from ..harness.floor import Floor
from ..harness.inturn import in_turn, ratio, spread, timed
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import CASES, write_files


def measure(settings: Settings) -> list[Row]:
    """Coadd each kind of map, with the result in memory and with the result written."""
    rows = []
    for number, (kind, layout) in enumerate(CASES):
        folder = settings.folder / f"coadding-{number}"
        files = write_files(folder, kind, layout, settings.size, settings.n_files)
        for written in (False, True):
            case: Row = {"kind": kind, "layout": layout, "output": "file" if written else "memory"}
            output = str(folder / "coadd.g3") if written else None
            rows.append(case | _measure(files, output, settings.rounds))
        shutil.rmtree(folder)  # so that the next files find room in the page cache
    return rows


def _measure(files: list[str], output: str | None, rounds: int) -> Row:
    import g3reduce

    floor = Floor(files)
    seconds = in_turn(
        {
            "g3reduce": timed(lambda: g3reduce.coadd_files(files, output).frame),
            "spt3g": timed(lambda: by_spt3g(files, output)),
            "floor": timed(lambda: floor.add_and_write(output) if output else floor.add()),
        },
        rounds,
    )
    size = sum(map(os.path.getsize, files))
    return {
        "files": len(files),
        "megabytes": size / 1e6,
        **{f"{name} GB/s": spread([size / 1e9 / s for s in t]) for name, t in seconds.items()},
        "against spt3g": ratio(seconds["spt3g"], seconds["g3reduce"]),
        "against the floor": ratio(seconds["floor"], seconds["g3reduce"]),
    }


def by_spt3g(files: list[str], output: str | None) -> Any:
    """The coadd of spt3g."""
    from spt3g import maps

    return maps.coadd_map_files(files, output_file=output)


BENCHMARK = Benchmark(
    title="Files to coadd, on one process",
    measure=measure,
    reading=(
        "Files of T, Q, U and six weights that were just written, so that they are read from "
        "memory and not from a disk. GB/s is the size of all input files over the time. The floor "
        "is the least that any coadd must do: read, check the CRC, add, and nothing else. With "
        "*never the same*, each map of each file has runs of pixels of its own; *one for all* is "
        "the case of observations of one field on one grid."
    ),
    tables=(
        Table(
            title="Speed",
            index={"kind": "maps", "layout": "runs of pixels", "output": "coadd in"},
            values={
                "megabytes": "MB",
                "g3reduce GB/s": "g3reduce GB/s",
                "spt3g GB/s": "spt3g GB/s",
                "floor GB/s": "floor GB/s",
            },
        ),
        Table(
            title="Times as fast as spt3g, and as the floor (at 1, nothing is left to gain)",
            index={"kind": "maps", "layout": "runs of pixels"},
            across=("output",),
            values={"against spt3g": "over spt3g", "against the floor": "over the floor"},
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        panel="output",
        panel_title="coadd in {}",
        label="{kind}\n{layout}",
        series={f"{name} GB/s": name for name in ("g3reduce", "spt3g", "floor")},
        unit="GB of input per second",
        logarithmic=True,
    ),
    on_ranks=False,
)
