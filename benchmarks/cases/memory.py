"""How much memory each rank takes while it coadds files."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..harness import pictures
from ..harness.onranks import rows_from_ranks
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import KINDS, SHARED, write_files

MIB = 2**20
OVERHEAD = 64 * MIB
MEMORY_OF = "/proc/{}/smaps_rollup"
BETWEEN_LOOKS = 0.002  # seconds


def measure(
    settings: Settings, kinds: Sequence[str] = KINDS, ranks: Sequence[int] = ()
) -> list[Row]:
    """The peak on the root and on the other ranks, and that of spt3g's coadd.

    Only where the kernel tells the memory of a process (Linux); else there are no rows.
    """
    rows: list[Row] = []
    if not os.path.exists(MEMORY_OF.format("self")):
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
    return rows


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


def while_looked_at(comm: Any, folder: str, work: Callable[[], object]) -> None:
    """Work, and say when it begins and ends to `peaks_of`, which looks from outside."""
    before = Memory.of(os.getpid())
    note = Path(folder) / f"rank{comm.rank}.json"
    fresh = note.with_suffix(".new")
    fresh.write_text(json.dumps([os.getpid(), before.anonymous, before.shared]))
    fresh.rename(note)  # whole, for those who look
    comm.Barrier()
    time.sleep(5 * BETWEEN_LOOKS)
    result = work()
    comm.Barrier()
    note.unlink()
    del result


class Memory:
    """Bytes of a process that are its own, and its part of those that it shares with others."""

    def __init__(self, anonymous: int, shared: int):
        self.anonymous = anonymous
        self.shared = shared

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Of a process, now. A page that k processes map counts 1/k for each of them."""
        fields = {}
        with open(MEMORY_OF.format(pid)) as lines:
            for line in lines:
                name, value, *rest = line.split()
                if rest == ["kB"]:
                    fields[name] = int(value) * 1024
        return cls(fields["Anonymous:"], fields["Pss_Shmem:"])

    @property
    def total(self) -> int:
        """Both."""
        return self.anonymous + self.shared

    def above(self, other: Memory) -> Memory:
        """The difference."""
        return Memory(self.anonymous - other.anonymous, self.shared - other.shared)

    def in_mib(self) -> Row:
        """As a part of a row."""
        return {
            "MiB": self.total / MIB,
            "anonymous MiB": self.anonymous / MIB,
            "shared MiB": self.shared / MIB,
        }


def peaks_of(
    n_ranks: int, function: Callable[..., list[Row]], folder: Path, **arguments: Any
) -> list[Memory]:
    """The greatest memory of each rank above what it had before `while_looked_at`.

    It is looked at from outside, because no thread of a rank runs while spt3g adds maps.

    Parameters
    ----------
    n_ranks : int
    function : callable
        At the top level of a module: ``function(comm, folder=folder, **arguments)`` calls
        `while_looked_at`.
    folder : Path
        For notes.
    **arguments
    """
    peaks: dict[int, Memory] = {}

    def look() -> None:
        for note in folder.glob("rank*.json"):
            rank = int(note.stem.removeprefix("rank"))
            try:
                pid, *before = json.loads(note.read_text())
                now = Memory.of(pid).above(Memory(*before))
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            if rank not in peaks or now.total > peaks[rank].total:
                peaks[rank] = now
        time.sleep(BETWEEN_LOOKS)

    rows_from_ranks(n_ranks, function, meanwhile=look, folder=str(folder), **arguments)
    return [peaks[rank] for rank in range(n_ranks)]


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
        "peak may be missed."
    ),
    tables=(
        Table(
            title="MiB, and over what is allowed",
            index={"mpi": "MPI", "kind": "maps", "ranks": "ranks"},
            across=("who",),
            values={"MiB": "MiB", "of the allowed": "ratio"},
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
