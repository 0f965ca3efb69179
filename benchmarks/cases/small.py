"""Many small files, many Ids, many coadds in one pass: what a frame costs beside its pixels."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import in_turn, ratio, spread, timed, timed_output
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SPARSE, STOKES, SURVEY, WEIGHTS, write_files
from .coadding import by_spt3g, first_calls

ALL, ONE = "of all", "of one"  # coadds is a frame a part


def measure(settings: Settings) -> list[Row]:
    """Coadd files of 100 kB, in one coadd, by Id, and in many coadds at once."""
    quick = settings.size == "tiny"
    size = "tiny" if quick else "100 kB"
    numbers = [3] if quick else [100, 1000, *([5000] if settings.size == "large" else [])]
    n_ids, n_targets = (3, [1, 2]) if quick else (500, [1, 10, 100])
    folder = settings.folder / "small"
    rows = []
    for kind in SPARSE:
        files = write_files(folder, kind, SURVEY, size, max(numbers))
        for number in numbers:
            for output in ("memory", "file"):
                to = folder if output == "file" else None
                case: Row = {"kind": kind, "files": number, "output": output}
                rows.append(case | {"Ids": 1} | _beside_spt3g(files[:number], to, settings.rounds))
            rows.append({"kind": kind, "files": number, **first_calls(files[:number], 1)})
        some = files[: min(100, max(numbers))]
        rows += [{"kind": kind, **row} for row in _targets(some, n_targets, settings.rounds)]
        shutil.rmtree(folder)
        some = write_files(folder, kind, SURVEY, size, 2 * n_ids, n_ids)
        for output in ("memory", "file"):
            to = folder if output == "file" else None
            case = {"kind": kind, "files": len(some), "output": output, "Ids": n_ids}
            rows.append(case | _beside_spt3g(some, to, settings.rounds, collate=True))
        shutil.rmtree(folder)
    return rows


def _beside_spt3g(
    files: list[str], folder: Path | None, rounds: int, *, collate: bool = False
) -> Row:
    import g3reduce

    def ours(output: str | None) -> Any:
        return dict(g3reduce.coadd_files(files, output, collate=collate))

    def theirs(output: str | None) -> Any:
        return collated_by_spt3g(files, output) if collate else by_spt3g(files, output)

    seconds = in_turn({"g3reduce": _run(ours, folder), "spt3g": _run(theirs, folder)}, rounds)
    return {
        **{f"{who} us": spread([1e6 * s / len(files) for s in t]) for who, t in seconds.items()},
        "against spt3g": ratio(seconds["spt3g"], seconds["g3reduce"]),
    }


def _run(coadd: Callable[[str | None], Any], folder: Path | None) -> Callable[[], float]:
    return timed(lambda: coadd(None)) if folder is None else timed_output(coadd, folder)


def collated_by_spt3g(files: list[str], output: str | None) -> Any:
    """The coadds of spt3g, by Id."""
    from spt3g import core, maps

    coadder = maps.CoaddMaps(collate=True, keep_outputs=True, drop_input_frames=True)
    pipe = core.G3Pipeline()
    pipe.Add(core.G3Reader, filename=files, track_filename=True)
    pipe.Add(coadder)
    if output is not None:
        pipe.Add(core.G3Writer, filename=output)
    pipe.Run()
    return coadder.coadd_frames


def _targets(files: list[str], numbers: list[int], rounds: int) -> Iterator[Row]:
    """Many coadds in one pass: each frame in all of them with a sign, or in one of them."""
    import g3reduce

    signs = np.random.default_rng(0).choice([-1, 1], (len(files), max(numbers))).tolist()
    for number in numbers:
        for parts in (ALL, ONE):

            def assign(frame: Any, number: int = number, parts: str = parts) -> dict[str, int]:
                signs_of_frame = signs[frame.unit.position]
                wanted = range(number) if parts == ALL else [frame.unit.position % number]
                return {f"sum{target}": signs_of_frame[target] for target in wanted}

            def many(assign: Any = assign) -> Any:
                return g3reduce.coadd_files(files, assign=assign)

            runs = {
                "one": timed(lambda: g3reduce.coadd_files(files)),
                "many": timed(many),
                "adding": timed(_adding(files, number if parts == ALL else 1)),
            }
            seconds = in_turn(runs, rounds)
            additions = len(files) * (number if parts == ALL else 1)
            more = zip(seconds["many"], seconds["adding"], strict=True)
            yield {
                "files": len(files),
                "targets": number,
                "parts": parts,
                "against one coadd": ratio(seconds["many"], seconds["one"]),
                "us": spread([1e6 * s / additions for s in seconds["many"]]),
                "us beyond adding": spread([1e6 * (a - b) / additions for a, b in more]),
            }


def _adding(files: list[str], n_targets: int) -> Callable[[], None]:
    """Add the pixels of as many maps to as many sums, and nothing else."""
    from spt3g import core, maps  # noqa: F401 (frames need both)

    (frame,) = core.G3File(files[0])
    planes = [*(frame[key] for key in STOKES), *(getattr(frame["Wpol"], key) for key in WEIGHTS)]
    values = [np.asarray(plane.nonzero_pixels()[1]) for plane in planes]
    sums = [[np.zeros(len(one)) for one in values] for _ in range(n_targets)]

    def add() -> None:
        for _ in files:
            for total in sums:
                for plane, one in zip(total, values, strict=True):
                    plane += one

    return add


BENCHMARK = Benchmark(
    title="Many small files, many Ids, many coadds",
    measure=measure,
    reading=(
        "Files of one frame of T, Q, U and six weights, 100 kB together. The maps of a frame share "
        "their runs of pixels, those of different files do not. With several Ids there is a coadd "
        "of each. In the last table `assign` makes many coadds in one pass: each frame is a part "
        "of all of them, with a sign of its own in each, or of one. *Beyond adding* is what is "
        "left without the time in which numpy adds as many numbers to as many arrays."
    ),
    tables=(
        Table(
            title="Microseconds a file, and times as fast as spt3g",
            index={"kind": "maps", "files": "files", "Ids": "Ids"},
            across=("output",),
            values={
                "g3reduce us": "g3reduce",
                "spt3g us": "spt3g",
                "against spt3g": "over spt3g",
            },
            where=lambda row: "Ids" in row,
        ),
        Table(
            title="The first coadd of a process, in memory",
            index={"kind": "maps", "files": "files"},
            values={
                "g3reduce first s": "g3reduce, s",
                "g3reduce later s": "later ones, s",
                "spt3g first s": "spt3g, s",
                "spt3g later s": "later ones, s",
                "first against spt3g": "first over spt3g",
            },
        ),
        Table(
            title="Many coadds in one pass",
            index={"kind": "maps", "targets": "coadds", "parts": "a frame is a part"},
            values={
                "against one coadd": "times the time of one coadd",
                "us": "us a frame and coadd",
                "us beyond adding": "beyond adding",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        [row for row in rows if "Ids" in row],
        panel="output",
        panel_title="coadd in {}",
        label="{kind},\n{files} files, Ids: {Ids}",
        series={"g3reduce us": "g3reduce", "spt3g us": "spt3g"},
        unit="microseconds a file",
    ),
    on_ranks=False,
)
