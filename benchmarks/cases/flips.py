"""Sign flips of a coadd from one reading of the input, beside the coadd alone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread, timed, timed_output
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SHARED, SPARSE, SURVEY, write_files

N_FLIPS = 100
MANY = 50  # times as many files: a season has hundreds of observations
KINDS = (*((kind, SURVEY) for kind in SPARSE), ("dense flat", SHARED))


def measure(settings: Settings) -> list[Row]:
    """Coadd maps of a patch, without sign flips and with them, in memory and into a file."""
    size, n_files = settings.survey_size, settings.n_files
    if size == "survey":
        size, n_files = "patch", n_files * MANY
    rows = []
    for kind, layout in KINDS:
        folder = settings.folder / "flips"
        files = write_files(folder, kind, layout, size, n_files)
        n_bytes = sum(map(os.path.getsize, files))
        for output in ("memory", "file"):
            runs: dict[str, Run] = {}
            for name, n_flips in (("coadd", 0), ("flips", N_FLIPS)):
                work = _work(files, n_flips, keep_maps=output == "memory")
                runs[name] = timed(work) if output == "memory" else timed_output(work, folder)
            seconds = in_turn(runs, settings.rounds)
            rows.append(
                {
                    **{"kind": kind, "files": n_files, "megabytes": n_bytes / 1e6},
                    "output": output,
                    "coadd s": spread(seconds["coadd"]),
                    "flips s": spread(seconds["flips"]),
                    "over a coadd": ratio(seconds["flips"], seconds["coadd"]),
                }
            )
        shutil.rmtree(folder)
    return rows


def _work(files: list[str], n_flips: int, *, keep_maps: bool) -> Callable[..., Any]:
    import g3reduce
    from g3reduce import splits

    assign = splits.signflips(n_flips, seed=1) if n_flips else None

    def work(output: str | None = None) -> Any:
        return g3reduce.coadd_files(files, output, assign=assign, keep_maps=keep_maps)

    return work


BENCHMARK = Benchmark(
    title="Sign flips",
    measure=measure,
    reading=(
        f"A coadd of maps of a patch (HEALPix of nside 512, or flat maps of as many pixels; T, Q, "
        f"U and six weights), and the same with {N_FLIPS} sign-flip realisations from one reading, "
        "on one process. The weights of all maps are read before, to balance signs. In a file, "
        f"each of the {N_FLIPS + 1} coadds is there with its weights, so that it is much larger "
        "than that of the coadd alone, and does not grow with the number of input files."
    ),
    tables=(
        Table(
            title="Seconds, and time over one coadd",
            index={"kind": "maps", "files": "files", "megabytes": "MB", "output": "coadds in"},
            values={
                "coadd s": "one coadd, s",
                "flips s": f"with {N_FLIPS} sign flips, s",
                "over a coadd": "time over one coadd",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        label="{kind}, in {output}",
        series={"over a coadd": f"with {N_FLIPS} sign flips"},
        unit="time over one coadd",
    ),
    on_ranks=False,
)
