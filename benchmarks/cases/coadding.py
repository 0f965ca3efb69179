"""From files to a coadd on one process: ours, spt3g's, and what cannot be avoided."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..harness import pictures
from ..harness.floor import Floor
from ..harness.inturn import in_turn, ratio, spread, timed, timed_output
from ..harness.onranks import rows_from_ranks
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import EXTREME, REALISTIC, SHARED, SPARSE, SURVEY, write_files

MANY = 4  # times as many files of the usual size


def measure(settings: Settings) -> list[Row]:
    """Coadd each kind of map, with the result in memory and with the result written."""
    rows = []
    for kind, layout, size, n_files in _cases(settings):
        folder = settings.folder / "coadding"
        files = write_files(folder, kind, layout, size, n_files)
        # What is far from a survey, or far from close, needs no more to be seen.
        rounds = settings.rounds if layout == SURVEY else -(-settings.rounds // 2)
        for output in ("memory", "file"):
            case: Row = {"kind": kind, "layout": layout, "files": n_files, "output": output}
            rows.append(case | _measure(files, folder if output == "file" else None, rounds))
        if layout == SURVEY and n_files == settings.n_files:
            rows.append({"kind": kind, "layout": layout, **first_calls(files, -(-rounds // 2))})
        shutil.rmtree(folder)  # so that the next files find room in the page cache
    return rows


def _cases(settings: Settings) -> Iterator[tuple[str, str, str, int]]:
    for kind, layout in REALISTIC:
        yield kind, layout, settings.survey_size, settings.n_files
        if kind == SPARSE[0]:
            yield kind, layout, settings.size, settings.n_files * MANY
    for kind, layout in EXTREME:
        size = settings.survey_size if layout == SHARED else settings.size
        yield kind, layout, size, settings.n_files


def _measure(files: list[str], folder: Path | None, rounds: int) -> Row:
    import g3reduce

    floor = Floor(files)
    if folder is None:
        runs = {
            "g3reduce": timed(lambda: g3reduce.coadd_files(files).frame),
            "spt3g": timed(lambda: by_spt3g(files, None)),
            "floor": timed(floor.add),
        }
    else:
        runs = {
            "g3reduce": timed_output(lambda name: g3reduce.coadd_files(files, name).frame, folder),
            "spt3g": timed_output(lambda name: by_spt3g(files, name), folder),
            "floor": timed_output(floor.add_and_write, folder),
        }
    seconds = in_turn(runs, rounds)
    size = sum(map(os.path.getsize, files))
    return {
        "megabytes": size / 1e6,
        **{f"{name} GB/s": spread([size / 1e9 / s for s in t]) for name, t in seconds.items()},
        "against spt3g": ratio(seconds["spt3g"], seconds["g3reduce"]),
        "against the floor": ratio(seconds["floor"], seconds["g3reduce"]),
    }


def by_spt3g(files: list[str], output: str | None) -> Any:
    """The coadd of spt3g."""
    from spt3g import maps

    return maps.coadd_map_files(files, output_file=output)


def first_calls(files: list[str], rounds: int) -> Row:
    """What the first coadd of a process takes beside later ones; compiled loops are kept."""
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for who in ("g3reduce", "spt3g"):
            (row,) = rows_from_ranks(1, first_and_later, who=who, files=files)
            for key, took in row.items() if number else ():
                seconds.setdefault(f"{who} {key}", []).append(took)
    return {
        **{f"{key} s": spread(taken) for key, taken in seconds.items()},
        "first against spt3g": ratio(seconds["spt3g first"], seconds["g3reduce first"]),
    }


def first_and_later(comm: Any, who: str, files: list[str]) -> list[Row]:
    """Run by a fresh process, which has imported all but what only large coadds do."""
    from g3reduce import coadd_files

    def coadd() -> float:
        start = time.perf_counter()
        if who == "g3reduce":
            result: Any = coadd_files(files, mpicomm=comm).frame
        else:
            result = by_spt3g(files, None)
        took = time.perf_counter() - start
        del result
        return took

    by_spt3g(files[:1], None)
    return [{"first": coadd(), "later": coadd()}]


BENCHMARK = Benchmark(
    title="Files to coadd, on one process",
    measure=measure,
    reading=(
        "Files of T, Q, U and six weights that were just written, so that they are read from "
        "memory and not from a disk; outputs get fresh names. GB/s is the size of all input files "
        "over the time. The floor is the least that any coadd must do: read, check the CRC, add, "
        "and nothing else. *One for each file* is what surveys have: the maps of one observation "
        "share their runs of pixels, and those of the next night have other edges. The extremes "
        "are *one for all*, and *never the same*, where each map of each file has runs of its own."
    ),
    tables=(
        Table(
            title="Times as fast as spt3g, and as the floor (at 1, nothing is left to gain)",
            index={
                "kind": "maps",
                "layout": "runs of pixels",
                "files": "files",
                "megabytes": "MB",
            },
            across=("output",),
            values={"against spt3g": "over spt3g", "against the floor": "over the floor"},
        ),
        Table(
            title="Speed",
            index={
                "kind": "maps",
                "layout": "runs of pixels",
                "files": "files",
                "output": "coadd in",
            },
            values={
                "g3reduce GB/s": "g3reduce GB/s",
                "spt3g GB/s": "spt3g GB/s",
                "floor GB/s": "floor GB/s",
            },
        ),
        Table(
            title="The first coadd of a process, in memory, which loads compiled loops from files",
            index={"kind": "maps"},
            values={
                "g3reduce first s": "g3reduce, s",
                "g3reduce later s": "later ones, s",
                "spt3g first s": "spt3g, s",
                "spt3g later s": "later ones, s",
                "first against spt3g": "first over spt3g",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        [row for row in rows if "output" in row],
        panel="output",
        panel_title="coadd in {}",
        label="{kind},\n{files} files, {layout}",
        series={f"{name} GB/s": name for name in ("g3reduce", "spt3g", "floor")},
        unit="GB of input per second",
        logarithmic=True,
    ),
    on_ranks=False,
)
