"""Restitching of an observation, beside bare MPI and pickles."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread
from ..harness.onranks import first_ranks, rows_from_ranks, timed_on_all
from ..harness.peaks import MIB, can_look, peaks_of, while_looked_at
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings
from ..inputs.scanfiles import BORESIGHT, FLAGS, SIZES, TIMESTREAMS, Size, is_right, make_frames
from .memory import OVERHEAD

OURS, BARE, PICKLED = "stitch", "bare Alltoallv", "pickled alltoall"
DISTRIBUTIONS = ("detector", "time")


def measure(settings: Settings) -> list[Row]:
    """Times for both distributions on all numbers of ranks, and the memory that ranks take."""
    size = "tiny" if settings.size == "tiny" else "large"
    ranks = [n for n in settings.ranks if n > 1] or [2]
    rows = rows_from_ranks(max(ranks), on_ranks, ranks=ranks, size=size, rounds=settings.rounds)
    if can_look():
        for n_ranks in ranks:
            peaks = peaks_of(n_ranks, stitch_once, settings.folder, size=size)
            peak = max(peaks, key=lambda memory: memory.total)
            allowed = SIZES[size].megabytes * 1e6 / n_ranks + OVERHEAD
            row: Row = {"distribution": "detector", "ranks": n_ranks, "MiB": peak.total / MIB}
            rows.append(
                {
                    **row,
                    "share MiB": (allowed - OVERHEAD) / MIB,
                    "of the allowed": peak.total / allowed,
                }
            )
    return rows


def on_ranks(comm: Any, ranks: list[int], size: str, rounds: int) -> list[Row]:
    """Run by each rank."""
    rows: list[Row] = []
    for n_ranks in ranks:
        with first_ranks(comm, n_ranks) as part:
            for distribution in DISTRIBUTIONS if part is not None else ():
                case = _Case(part, SIZES[size], distribution)
                runs = {OURS: case.ours(), BARE: case.bare(), PICKLED: case.pickled()}
                seconds = in_turn(runs, rounds)
                row: Row = {
                    "distribution": distribution,
                    "ranks": n_ranks,
                    "MB": SIZES[size].megabytes,
                }
                for name, times in seconds.items():
                    row[f"{name} GB/s"] = spread([SIZES[size].megabytes / 1e3 / s for s in times])
                row["time over bare"] = ratio(seconds[OURS], seconds[BARE])
                row["against pickles"] = ratio(seconds[PICKLED], seconds[OURS])
                rows.append(row)
    return rows


def stitch_once(comm: Any, size: str, folder: str) -> list[Row]:
    """Run by each rank, for its memory: a small observation first, then that of this size."""
    import g3reduce

    g3reduce.stitch(_accumulated(comm, SIZES["tiny"]), flags=FLAGS)
    accumulator = _accumulated(comm, SIZES[size])
    while_looked_at(comm, folder, lambda: g3reduce.stitch(accumulator))
    return []


class _Case:
    """One way of distributing an observation whose scans lie on the ranks in turn."""

    def __init__(self, comm: Any, size: Size, distribution: Any):
        self.comm, self.size, self.distribution = comm, size, distribution
        self.accumulator = _accumulated(comm, size)
        self.scans = [data.signal for _, _, data in self._items() if data is not None]
        (observation,) = self._stitched().values()
        self.shares = observation.shares
        self.dtype = observation.signal.dtype

    def ours(self) -> Run:
        """`stitch` with all that it does: headers, agreements, boresight, memory."""

        def check(observations: Any) -> None:
            (observation,) = observations.values()
            self._check(observation.signal)

        return timed_on_all(self.comm, self._stitched, check=check)

    def bare(self) -> Run:
        """``MPI.Alltoallv`` of as many bytes, between arrays that are contiguous already.

        The memory that receives is fresh, as that of the others is.
        """
        counts = self._counts()
        sent = np.ones(sum(counts))
        mine = self.shares[self.comm.rank].shape
        coming = self.comm.alltoall(counts)

        def work() -> Any:
            came = np.empty(mine[0] * mine[1])
            self.comm.Alltoallv([sent, counts], [came, coming])
            return came

        return timed_on_all(self.comm, work)

    def pickled(self) -> Run:
        """``alltoall`` of lists of arrays, each put in its place: one array a scan and rank."""
        comm, size = self.comm, self.size

        def work() -> Any:
            parts = [
                [
                    (number * size.scan_samples, scan[rows, samples])
                    for number, scan, rows, samples in self._parts(rank)
                ]
                for rank in range(comm.size)
            ]
            came = comm.alltoall(parts)
            share = self.shares[comm.rank]
            signal = np.empty(share.shape)
            for theirs in came:
                for first, part in theirs:
                    begin = max(first - share.samples.start, 0)
                    signal[:, begin : begin + part.shape[1]] = part
            return signal

        return timed_on_all(comm, work, check=self._check)

    def _parts(self, rank: int) -> Any:
        """What this rank's scans have for another."""
        share = self.shares[rank]
        for i, scan in enumerate(self.scans):
            number = self.comm.rank + i * self.comm.size
            first = number * self.size.scan_samples
            begin = max(share.samples.start - first, 0)
            end = min(share.samples.stop - first, self.size.scan_samples)
            if begin < end:
                yield number, scan, share.detectors, slice(begin, end)

    def _counts(self) -> list[int]:
        def count(rank: int) -> int:
            rows = self.shares[rank].shape[0]
            return sum(rows * (part.stop - part.start) for *_, part in self._parts(rank))

        return [count(rank) for rank in range(self.comm.size)]

    def _items(self) -> Any:
        (items,) = self.accumulator.result.values()
        return items

    def _stitched(self) -> Any:
        import g3reduce

        return g3reduce.stitch(self.accumulator, self.distribution)

    def _check(self, signal: Any) -> None:
        share = self.shares[self.comm.rank]
        if not is_right(self.size, share.detectors, share.samples, signal):
            raise RuntimeError(f"{self.distribution}: the samples are not where they belong")


def _accumulated(comm: Any, size: Size) -> Any:
    """An accumulator with the scans of this rank: every so many of all."""
    import g3reduce

    scans = g3reduce.ScanExtractor(TIMESTREAMS, boresight=BORESIGHT)
    accumulator = g3reduce.MPIAccumulator(comm, scans)
    for number in range(comm.rank, size.n_scans, comm.size):
        for frame in make_frames(size, [number]):
            accumulator.add(frame)
    accumulator.finish()
    return accumulator


BENCHMARK = Benchmark(
    title="Restitching",
    measure=measure,
    reading=(
        "One observation, whose scans lie on the ranks in turn, becomes contiguous, by detector or "
        "by time. `stitch` brings boresight and times, too, and agrees on everything; the bare "
        "`MPI.Alltoallv` moves as many bytes of signal between arrays that are contiguous already; "
        "the pickled `alltoall` takes one array of each scan for each rank and puts it in its "
        "place. All receive into fresh memory, and each sample is checked. Memory is the peak of a "
        "rank above what it has before, beside its share of the signal; allowed are the share and "
        "64 MiB."
    ),
    tables=(
        Table(
            title="GB/s, of all ranks together",
            index={"mpi": "MPI", "distribution": "by", "ranks": "ranks", "MB": "MB"},
            values={
                f"{OURS} GB/s": OURS,
                f"{BARE} GB/s": BARE,
                f"{PICKLED} GB/s": PICKLED,
                "time over bare": "time over bare",
                "against pickles": "times as fast as pickles",
            },
        ),
        Table(
            title="Memory, MiB",
            index={"mpi": "MPI", "distribution": "by", "ranks": "ranks"},
            values={
                "MiB": "peak of a rank",
                "share MiB": "its share",
                "of the allowed": "peak over what is allowed",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        [row for row in rows if "MB" in row],
        panel="mpi",
        panel_title="{}",
        label="by {distribution}, {ranks} ranks",
        series={f"{name} GB/s": name for name in (OURS, BARE, PICKLED)},
        unit="GB/s, of all ranks together",
    ),
)
