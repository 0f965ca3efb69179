"""Progress: a coadd of many small files that is watched, beside one that is not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

from ..harness import pictures
from ..harness.inturn import in_turn, ratio, spread, timed
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SPARSE, SURVEY, write_files

NONE, TOTALS, LOG = "nobody", "totals", "log"


def measure(settings: Settings) -> list[Row]:
    """Coadd files of 100 kB with no observer, with one of totals, and with a log of each file."""
    quick = settings.size == "tiny"
    size, number = ("tiny", 3) if quick else ("100 kB", 1000)
    folder = settings.folder / "watched"
    rows: list[Row] = []
    for kind in SPARSE:
        files = write_files(folder, kind, SURVEY, size, number)
        log = str(folder / "run.jsonl")
        runs = {who: timed(partial(coadd, files, who, log)) for who in (NONE, TOTALS, LOG)}
        seconds = in_turn(runs, settings.rounds)
        us = {who: spread([1e6 * s / number for s in taken]) for who, taken in seconds.items()}
        rows.append(
            {
                "kind": kind,
                "files": number,
                **{f"{who} us": values for who, values in us.items()},
                **{f"{who} over": ratio(seconds[who], seconds[NONE]) for who in (TOTALS, LOG)},
            }
        )
        shutil.rmtree(folder)
    return rows


class Totals:
    """What a live line does, but for drawing: it looks at totals some times a second."""

    each_file = False

    def __init__(self) -> None:
        self.latest: Any = None

    def __call__(self, event: Any) -> None:
        """Nothing: what happens to single files is not told."""

    def look(self, now: float, totals: Any) -> None:
        """Keep what is known."""
        self.latest = totals


def coadd(files: list[str], who: str, log: str) -> Any:
    """A coadd in memory, watched by one of the three."""
    import g3reduce

    watchers: dict[str, Callable[[], Any]] = {
        NONE: lambda: None,
        TOTALS: Totals,
        LOG: lambda: g3reduce.progress.JSONLog(log),
    }
    progress: Any = watchers[who]()
    result = dict(g3reduce.coadd_files(files, progress=progress))
    if who == TOTALS and progress.latest.files != len(files):
        raise RuntimeError(f"{progress.latest.files} of {len(files)} files were counted")
    return result


BENCHMARK = Benchmark(
    title="A coadd that is watched",
    measure=measure,
    reading=(
        "Files of one frame of T, Q, U and six weights, 100 kB together, are coadded in memory on "
        "one process: watched by nobody, by an observer that looks at totals ten times a second, "
        "as the live line does, and by a log, which has one line for each file (`--log-json`)."
    ),
    tables=(
        Table(
            title="Microseconds a file, and time over that of a coadd that nobody watches",
            index={"kind": "maps", "files": "files"},
            values={
                f"{NONE} us": "nobody, us",
                f"{TOTALS} us": "totals, us",
                f"{LOG} us": "a log, us",
                f"{TOTALS} over": "totals over nobody",
                f"{LOG} over": "a log over nobody",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        label="{kind},\n{files} files",
        series={f"{NONE} us": "nobody", f"{TOTALS} us": "totals", f"{LOG} us": "a log"},
        unit="microseconds a file",
    ),
    on_ranks=False,
)
