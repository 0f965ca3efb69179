"""What it costs that sums do not depend on the order: exact adding beside ``acc += x``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..harness import pictures
from ..harness.inturn import Run, in_turn, ratio, spread, timed
from ..harness.rows import Row, Table
from ..harness.settings import Benchmark, Settings

PLAIN = "acc += x"
BOUND = 8.0


def measure(settings: Settings) -> list[Row]:
    """Add one map again and again: to two limbs and to three, by numpy and by numba."""
    n_pixels = max(1, round(settings.megabytes * 1e6 / 8))
    values = np.clip(np.random.default_rng(0).normal(size=n_pixels), -BOUND, BOUND)
    total = np.zeros(n_pixels)
    runs: dict[str, Run] = {PLAIN: timed(lambda: np.add(total, values, out=total))}
    cases = {}
    for kernels in _kernels():
        for limbs, bounds in ((2, {"": BOUND}), (3, {})):
            name = f"{kernels}, {limbs} limbs"
            runs[name] = _adding(kernels, bounds, values)
            cases[name] = {"limbs": limbs, "kernels": kernels}
    seconds = in_turn(runs, settings.rounds)
    return [
        {
            **case,
            "MB": values.nbytes / 1e6,
            "ns": spread([1e9 * s / n_pixels for s in seconds[name]]),
            "plain ns": spread([1e9 * s / n_pixels for s in seconds[PLAIN]]),
            "over plain": ratio(seconds[name], seconds[PLAIN]),
        }
        for name, case in cases.items()
    ]


def _kernels() -> list[str]:
    """Those that can be used here."""
    from g3reduce import UsageError
    from g3reduce.kernels import choice as kernels

    with _using(kernels.NUMBA):
        try:
            kernels.check()
        except UsageError:
            return [kernels.NUMPY]
    return [kernels.NUMPY, kernels.NUMBA]


def _adding(kernels: str, bounds: dict[str, float], values: Any) -> Run:
    """Add a dense map as a coadder does, chunk by chunk, checks included."""
    from g3reduce.arrays.blocks import Blocks
    from g3reduce.arrays.exactarithmetic import Exact
    from g3reduce.arrays.exactness import Exactness
    from g3reduce.maps.chunks import dense_starts

    blocks, exact = Blocks(1, len(values), {}), Exact(Exactness(bounds), {})
    blocks.insert(np.zeros(1, np.int64))
    exact.begin(blocks, "T")
    starts = dense_starts(len(values))

    def work() -> None:
        with _using(kernels):
            for start in starts:
                chunk = values[start : start + starts.step]
                exact.add(blocks, "T", start, chunk, where="")

    return timed(work)


@contextmanager
def _using(name: str) -> Iterator[None]:
    from g3reduce.kernels.choice import KERNELS

    before = os.environ.get(KERNELS)
    os.environ[KERNELS] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[KERNELS]
        else:
            os.environ[KERNELS] = before


BENCHMARK = Benchmark(
    title="Exact sums",
    measure=measure,
    reading=(
        "One dense plane is added on one process, chunk by chunk as a coadder does, with "
        "`reproducible=True`: two limbs with a bound (`absmax`), three without. Beside it numpy's "
        "`acc += x` of the same array."
    ),
    tables=(
        Table(
            title="Nanoseconds for each pixel, and time over a plain add",
            index={"limbs": "limbs", "kernels": "by", "MB": "MB"},
            values={
                "ns": "ns",
                "plain ns": f"`{PLAIN}`, ns",
                "over plain": "time over a plain add",
            },
        ),
    ),
    draw=lambda rows: pictures.bars(
        rows,
        label="{kernels}, {limbs} limbs",
        series={"over plain": "exact"},
        unit="time over a plain add",
    ),
    on_ranks=False,
)
