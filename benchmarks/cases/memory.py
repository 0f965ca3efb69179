"""How much memory each rank takes while it coadds files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..harness import pictures
from ..harness.peaks import MIB, Memory, can_look, peaks_of, while_looked_at
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import KINDS, SHARED, SURVEY, write_files

OVERHEAD = 64 * MIB

# Of the coadds of small files: one of the numbers changes, and the others are these.
USUAL = {"files": 24, "ranks": 2, "Ids": 1, "targets": 1}
GROWING = {"files": (6, 24, 96), "ranks": (1, 2, 4), "Ids": (1, 10, 96), "targets": (1, 10, 100)}


def measure(
    settings: Settings, kinds: Sequence[str] = KINDS, ranks: Sequence[int] = ()
) -> list[Row]:
    """The peak on the root and on the other ranks, and that of spt3g's coadd.

    Only where the kernel tells the memory of a process; else there are no rows.
    """
    rows: list[Row] = []
    if not can_look():
        return rows
    for number, kind in enumerate(kinds):
        folder = settings.folder / f"memory-{number}"
        files = write_files(folder, kind, SHARED, settings.size, settings.n_files)
        first = write_files(folder / "first", kind, SHARED, "tiny", 2)
        for n_ranks in ranks or settings.ranks:
            peaks = peaks_of(n_ranks, coadd_on_ranks, folder, first=first, files=files)
            rows += _rows(kind, n_ranks, files, peaks)
        (peak,) = peaks_of(1, coadd_by_spt3g, folder, first=first, files=files)
        rows.append({"kind": kind, "ranks": 1, "who": "spt3g", **peak.in_mib()})
        shutil.rmtree(folder)
    return rows + growth(settings)


def growth(settings: Settings) -> list[Row]:
    """The peak over the number of files, ranks, Ids and targets, one after another."""
    folder = settings.folder / "memory-growth"
    size = "tiny" if settings.size == "tiny" else "small"
    first = write_files(folder / "first", "sparse flat", SHARED, "tiny", 2)
    rows = []
    for what, case in _growing(max(settings.ranks)):
        files = write_files(
            folder / "maps", "sparse flat", SURVEY, size, case["files"], n_ids=case["Ids"]
        )
        peaks = peaks_of(
            case["ranks"],
            coadd_to_targets,
            folder,
            first=first,
            files=files,
            n_targets=case["targets"],
        )
        n_sums = case["Ids"] * case["targets"]
        row: Row = {"of": what, "number": case[what], "sums": n_sums}
        row["sums MiB"] = n_sums * os.path.getsize(files[0]) / MIB
        row["root MiB"] = peaks[0].total / MIB
        if others := peaks[1:]:
            row["others MiB"] = max(memory.total for memory in others) / MIB
        rows.append(row)
    shutil.rmtree(folder)
    return rows


def _growing(most_ranks: int) -> Iterator[tuple[str, dict[str, int]]]:
    for what, numbers in GROWING.items():
        for number in numbers:
            case = USUAL | {what: number}
            if what == "Ids":
                case["files"] = max(numbers)
            if case["ranks"] <= most_ranks:
                yield what, case


def coadd_to_targets(
    comm: Any, first: list[str], files: list[str], n_targets: int, folder: str
) -> list[Row]:
    """Run by each rank."""
    import g3reduce

    def assign(frame: Any) -> dict[str, int]:
        return {f"{frame['Id']}, split {i}": 1 if i % 2 else -1 for i in range(n_targets)}

    def coadd(names: list[str], output: str) -> Any:
        return g3reduce.coadd_files(names, output, assign=assign, keep_maps=False)

    return _coadd(comm, coadd, first, files, folder)


def coadd_on_ranks(comm: Any, first: list[str], files: list[str], folder: str) -> list[Row]:
    """Run by each rank."""
    import g3reduce

    return _coadd(comm, lambda names, out: g3reduce.coadd_files(names, out), first, files, folder)


def coadd_by_spt3g(comm: Any, first: list[str], files: list[str], folder: str) -> list[Row]:
    """Run by one rank."""
    from spt3g import maps

    return _coadd(comm, lambda names, out: maps.coadd_map_files(names, out), first, files, folder)


def _coadd(
    comm: Any,
    coadd: Callable[[list[str], str], Any],
    first: list[str],
    files: list[str],
    folder: str,
) -> list[Row]:
    """What imports take is there before."""
    output = os.path.join(folder, "coadd.g3")
    coadd(first, output)
    while_looked_at(comm, folder, lambda: coadd(files, output))
    return []


def _rows(kind: str, n_ranks: int, files: list[str], peaks: list[Memory]) -> list[Row]:
    # The maps share their pixels, so that sums, a frame and the output are each as large as a file.
    frame = os.path.getsize(files[0])
    case: Row = {"kind": kind, "ranks": n_ranks, "files": len(files)}
    rows = []
    for who, members, allowed in (
        ("root", peaks[:1], 3 * frame + OVERHEAD),
        ("others", peaks[1:], 2 * frame + OVERHEAD),
    ):
        if members:
            peak = max(members, key=lambda memory: memory.total)
            numbers = {**peak.in_mib(), "allowed MiB": allowed / MIB}
            rows.append({**case, "who": who, **numbers, "of the allowed": peak.total / allowed})
    return rows


BENCHMARK = Benchmark(
    title="Memory of a rank",
    measure=measure,
    reading=(
        "The peak of a rank in MiB above what it has after imports and a first small coadd: memory "
        "of its own, and its part of what ranks share. Mapped files do not count, since the kernel "
        "takes them back at will. Allowed are the running sums, one frame and 64 MiB, and on the "
        "root, which writes, the output. A rank is looked at every few milliseconds, so a shorter "
        "peak may be missed. The second table is of small maps (1 MB a file, footprints that "
        "differ): of 24 files on two ranks to one coadd (96 files, where there are more Ids), with "
        "one of the numbers changed. All sums together are the number of coadds times the size of "
        "a file; the union of all footprints is somewhat larger."
    ),
    tables=(
        Table(
            title="MiB, and over what is allowed",
            index={"mpi": "MPI", "kind": "maps", "ranks": "ranks"},
            across=("who",),
            values={"MiB": "MiB", "of the allowed": "ratio"},
            where=lambda row: "kind" in row,
        ),
        Table(
            title="MiB over the number of files, ranks, Ids and targets of each frame",
            index={
                "mpi": "MPI",
                "of": "number of",
                "number": "",
                "sums MiB": "MiB of all sums",
            },
            values={"root MiB": "root, MiB", "others MiB": "others, MiB"},
            where=lambda row: "of" in row,
        ),
    ),
    draw=lambda rows: pictures.bars(
        [row for row in rows if "of the allowed" in row],
        panel="mpi",
        panel_title="{}",
        label="{kind}, {who} of {ranks}",
        series={"of the allowed": "peak over what is allowed"},
        unit="memory over (running sums + one frame + 64 MiB)",
        limit=(1.0, "allowed"),
    ),
)
