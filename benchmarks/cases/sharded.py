"""A coadd that all ranks write at once, beside a bare write of the same bytes, and one rank's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import in_turn, ratio, spread
from ..harness.onranks import rows_from_ranks, timed_on_all
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.mapfiles import SPARSE, SURVEY, write_files

ALL, BARE, ROOT = "sharded", "bare", "root"
_STEP = 2**19  # bytes that are written in one go


def measure(settings: Settings) -> list[Row]:
    """The coadd of a file, written by so many ranks."""
    rows: list[Row] = []
    for kind in SPARSE:
        folder = settings.folder / "sharded"
        (file,) = write_files(folder, kind, SURVEY, settings.survey_size, 1)
        for ranks in settings.ranks:
            found = rows_from_ranks(
                ranks, write, file=file, folder=str(folder), rounds=settings.rounds
            )
            rows += [{"kind": kind, **row} for row in found]
        shutil.rmtree(folder)
    return rows


def write(comm: Any, file: str, folder: str, rounds: int) -> list[Row]:
    """Write the coadd in all ways, in turn. The compiled loops of large coadds are used."""
    os.environ["G3REDUCE_KERNELS"] = "numba"
    from g3reduce.formats.shardedframes import write_sharded
    from g3reduce.mpi import communicators
    from g3reduce.pipeline.output import write_frames

    private: Any = communicators.private(comm)
    coadds = {result: _coadds(comm, file, result) for result in (ROOT, ALL)}
    output = Path(folder) / "out.g3"
    content = Path(folder) / "root.g3"
    write_frames(str(content), coadds[ROOT], private, 0)
    comm.Barrier()
    size = content.stat().st_size
    begin, end = size * comm.rank // comm.size, size * (comm.rank + 1) // comm.size
    mine = np.fromfile(content, np.uint8, end - begin, offset=begin)

    def clear() -> tuple[Any, ...]:
        comm.Barrier()
        if comm.rank == 0:
            output.unlink(missing_ok=True)
        return ()

    ways: dict[str, Callable[[], object]] = {
        ALL: lambda: write_sharded(
            str(output), [(one.outline, one.total) for one in coadds[ALL]], private, 0
        ),
        BARE: lambda: _bare(comm, output, size, begin, mine),
        ROOT: lambda: write_frames(str(output), coadds[ROOT], private, 0),
    }
    for way, work in ways.items():
        clear()
        work()
        comm.Barrier()
        if comm.rank == 0 and output.read_bytes() != content.read_bytes():
            raise RuntimeError(f"{way} has written something else")
    seconds = in_turn({way: timed_on_all(comm, work, clear) for way, work in ways.items()}, rounds)
    clear()
    comm.Barrier()
    return [
        {
            "ranks": comm.size,
            "MB": size / 1e6,
            **{f"{way} s": spread(taken) for way, taken in seconds.items()},
            "over bare": ratio(seconds[ALL], seconds[BARE]),
            "against root": ratio(seconds[ROOT], seconds[ALL]),
        }
    ]


def _coadds(comm: Any, file: str, result: Any) -> list[Any]:
    """The coadds of a file, joined; as a list on all ranks."""
    from spt3g import core

    import g3reduce

    coadder = g3reduce.MPIMapCoadder(comm, result=result, collate=True)
    if comm.rank == 0:
        for frame in core.G3File(file):
            coadder(frame)
    return list(coadder.join().values())


def _bare(comm: Any, output: Path, size: int, begin: int, mine: Any) -> None:
    """Write bytes that are ready, by the same rules: a file has its name once it is on the disk."""
    from g3reduce.g3files.outputfile import begin_sync

    partial = output.with_name("partial")
    if comm.rank == 0:
        partial.touch()
        os.truncate(partial, size)
    comm.Barrier()
    fd = os.open(partial, os.O_WRONLY)
    for at in range(0, len(mine), _STEP):
        part = mine[at : at + _STEP]
        os.pwrite(fd, part, begin + at)
        begin_sync(fd, begin + at, len(part))
    os.fsync(fd)
    os.close(fd)
    comm.Barrier()
    if comm.rank == 0:
        partial.rename(output)
        folder = os.open(output.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    comm.Barrier()


BENCHMARK = Benchmark(
    title="A coadd that all ranks write",
    measure=measure,
    reading=(
        "The coadd of a frame of T, Q, U and six weights is written into one `.g3` file by all "
        'ranks, which have shards of it (`result="sharded"`). Beside it, the bytes of that file, '
        "which the ranks have ready, are written in the same pieces, with the same waits for the "
        "disk: that is without packing, checksums and agreement. And the first rank writes it "
        'alone (`result="root"`). All three files are the same.'
    ),
    tables=(
        Table(
            title="Seconds",
            index={"kind": "maps", "ranks": "ranks", "MB": "MB"},
            values={
                f"{ALL} s": "all ranks",
                f"{BARE} s": "bare write by all",
                f"{ROOT} s": "the first rank",
                "over bare": "all ranks over bare",
                "against root": "times as fast as the first rank",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        panel="ranks",
        panel_title="{} ranks",
        label="{kind}",
        series={f"{ALL} s": "all ranks", f"{BARE} s": "bare write", f"{ROOT} s": "the first rank"},
        unit="seconds",
    ),
)
