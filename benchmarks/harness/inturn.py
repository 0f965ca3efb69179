"""Timing rivals in turn, so that a slow minute of the machine is slow for all of them."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

# Does the thing once, and says how many seconds it took.
Run = Callable[[], float]


class Spread(NamedTuple):
    """What rounds gave: the middle half of them lies between `low` and `high`."""

    low: float
    median: float
    high: float


def in_turn(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each rival in each round, after a round that warms up and does not count.

    The order alternates and moves on, so that none of them always comes after the same other one,
    or at the same place of a round.
    """
    names = list(runs)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        first = number // 2 % len(names)
        order = names[first:] + names[:first]
        for name in reversed(order) if number % 2 else order:
            took = runs[name]()
            if number:
                seconds[name].append(took)
    return seconds


def timed(work: Callable[[], object]) -> Run:
    """Time `work`, but not the release of what it returns."""

    def run() -> float:
        start = time.perf_counter()
        result = work()
        took = time.perf_counter() - start
        del result
        return took

    return run


def timed_output(work: Callable[[str], object], folder: Path, ending: str = ".g3") -> Run:
    """Time `work` with the name of an output that is not there yet, and remove it afterwards.

    To replace a large file takes a tenth of a second by itself, whoever does it.
    """
    numbers = itertools.count()

    def run() -> float:
        output = folder / f"output{next(numbers)}{ending}"
        took = timed(lambda: work(str(output)))()
        output.unlink()
        return took

    return run


def spread(values: Sequence[float]) -> Spread:
    """The median and the quartiles."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, median, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """Of the ratios of each round: a drift of the machine cancels in them."""
    return spread([a / b for a, b in zip(over, under, strict=True)])
