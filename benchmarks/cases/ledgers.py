"""What it takes to merge the ledgers of very many frames on one rank: memory and time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from ..harness import pictures
from ..harness.onranks import rows_from_ranks
from ..harness.peaks import MIB
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SHARED, write_files

RANKS = (2, 3, 5)

# Frames of each rank, and how many coadds each is in; on a quick run, a hundredth of them.
CASES = ((200_000, 1), (10_000, 100))


def measure(settings: Settings) -> list[Row]:
    """The growth of the root and of the others, over the number of ranks, with as much on each.

    Only where the kernel lets a process forget its peak; else there are no rows.
    """
    rows: list[Row] = []
    part = 100 if settings.size == "tiny" else 1
    (file,) = write_files(settings.folder / "ledgers", "sparse flat", SHARED, "tiny", 1)
    for n_frames, n_coadds in CASES:
        for n_ranks in RANKS:
            rows += rows_from_ranks(
                n_ranks, on_ranks, file=file, n_frames=n_frames // part, n_coadds=n_coadds
            )
    return rows


def on_ranks(comm: Any, file: str, n_frames: int, n_coadds: int) -> list[Row]:
    """Run by each rank."""
    join(comm, coadds_of(comm, file, 10, n_coadds))  # with all that is imported
    forget_peak()
    before = memory("VmRSS")
    coadds = coadds_of(comm, file, n_frames, n_coadds)
    own = memory("VmRSS") - before
    forget_peak()
    before = memory("VmRSS")
    comm.Barrier()
    start = time.perf_counter()
    join(comm, coadds)
    comm.Barrier()
    seconds = time.perf_counter() - start
    grown = comm.gather(memory("VmHWM") - before)
    if comm.rank:
        return []
    whole = n_frames * comm.size
    return [
        {
            "ranks": comm.size,
            "coadds": n_coadds,
            "frames": whole,
            "own MiB": own / MIB,
            "root MiB": grown[0] / MIB,
            "others MiB": max(grown[1:]) / MIB,
            "root bytes": grown[0] / whole,
            "seconds": seconds,
        }
    ]


def coadds_of(comm: Any, file: str, n_frames: int, n_coadds: int) -> dict[str, Any]:
    """The coadds of a rank; their sums are of one small frame."""
    from g3reduce.coadd.joining import Coadd
    from g3reduce.maps import mapframe
    from g3reduce.maps.mapfile import frames_of, planes_of
    from g3reduce.maps.mapsum import MapSum
    from g3reduce.pipeline.ledger import Ledger

    frame = next(frame for frame in frames_of(file) if "T" in frame)
    entries = list(entries_of(comm.rank * n_frames, n_frames))
    coadds = {}
    for number in range(n_coadds):
        total = MapSum.of(mapframe.read(planes_of(frame, file), file))
        coadds[f"split {number}"] = Coadd(f"split {number}", total, Ledger(list(entries)))
    return coadds


def entries_of(first: int, n_frames: int) -> Iterator[Any]:
    """Entries of ledgers, of files that are not there."""
    from g3reduce.g3files.frames import Fingerprint
    from g3reduce.pipeline.entries import Entry
    from g3reduce.pipeline.originals import Original
    from g3reduce.pipeline.units import Unit

    for position in range(first, first + n_frames):
        name = f"observations/field/{position // 100:06d}/map_{position:09d}.g3"
        file = Original(name, (f"/some/folder/of/a/survey/{name}",))
        unit = Unit(name, 3, position, fingerprint=Fingerprint(position % 2**32, 4000 + position))
        yield Entry(
            *(unit, ("90GHz",), (file,), False, True, file, unit, False, "90GHz"),
            *(f"field/{position}", 1, 1000 + position % 13, position / 7),
        )


def join(comm: Any, coadds: dict[str, Any]) -> None:
    """Join the coadds of all ranks on the first."""
    from collections import Counter

    from g3reduce.coadd.joining import join_coadds
    from g3reduce.coadd.reports import Note, Rules
    from g3reduce.mpi import communicators

    join_coadds(
        *(communicators.private(comm), coadds, "tree"),
        result="root",
        root=0,
        rules=Rules(True, "warn", True, str, lambda note, any_added: None),
        keep_exact=False,
        note=Note(set(), {}, Counter(), set(), {}),
    )


def forget_peak() -> None:
    """Let the peak of this process begin anew."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def memory(name: str) -> int:
    """Bytes of this process, as the kernel counts them."""
    with open("/proc/self/status") as lines:
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


BENCHMARK = Benchmark(
    title="Ledgers of very many frames",
    measure=measure,
    reading=(
        "The coadds of all ranks are joined, with as many frames in the ledgers of each rank, each "
        "of a file of its own; of maps there is next to nothing. MiB are what a rank takes to join "
        "them, at its peak, above what it had before: its own ledger, in the column before them. "
        "Where a frame is in 100 coadds, as of splits, its entry is shared by their ledgers."
    ),
    tables=(
        Table(
            title="MiB that a rank takes beside its own ledger, and seconds",
            index={
                "mpi": "MPI",
                "ranks": "ranks",
                "frames": "frames of all",
                "coadds": "coadds of each",
                "own MiB": "own ledger, MiB",
            },
            values={
                "others MiB": "others, MiB",
                "root MiB": "root, MiB",
                "root bytes": "root, bytes a frame",
                "seconds": "seconds",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        panel="mpi",
        panel_title="{}",
        label="{ranks} ranks, {coadds} coadds",
        series={"others MiB": "rank other than the root", "root MiB": "root"},
        unit="MiB",
    ),
)
