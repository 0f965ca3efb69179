"""The sample rate of an observation; the times of all its scans must agree with it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from spt3g import core

from ..errors import InputError, MismatchError
from .headers import PlacedScan, named, time_text

# By so many samples the length of a scan may differ from what its times say. One lost sample is 1.
_MOST_OFF = 0.5

# Scans shorter than the longest by more than this factor do not tell the rate precisely enough.
_LONG_ENOUGH = 4


def step_of(group: Hashable, scans: Sequence[PlacedScan]) -> float:
    """The time from sample to sample; NaN if no scan has two of them.

    Raises
    ------
    InputError
        If a scan ends before it has begun.
    MismatchError
        If the times of a scan do not fit, because samples were lost or its rate is another one.
    """
    for scan in scans:
        header = scan.header
        if header.n_samples > 1 and header.stop <= header.start:
            raise InputError(
                f"Observation {group!r}: {named(scan)} has {header.n_samples} samples from "
                f"{time_text(header.start)} to {time_text(header.stop)}; expected a stop after the "
                "start."
            )
    longest = max(scans, key=lambda scan: scan.header.n_places)
    if longest.header.n_places < 2:
        return math.nan
    model = _model(scans, (longest.header.n_places - 1) / _LONG_ENOUGH)
    for scan in scans:
        header = scan.header
        lost = (header.last - header.start) / model.header.step - (header.n_places - 1)
        if abs(lost) > _MOST_OFF:
            number = max(1, round(abs(lost)))
            wrong = f"sample{'s' if number > 1 else ''} too {'few' if lost > 0 else 'many'}"
            raise MismatchError(
                f"Observation {group!r}: {named(scan)} has {_rate(scan)} samples a second, but "
                f"{named(model)} has {_rate(model)}. So by its start and stop the first has "
                f"{header.n_samples} samples, {number} {wrong}; half a sample over a scan is the "
                "limit. If samples were lost, give the key of their times (times='KEY'), or of a "
                "mask that is false for lost ones (valid='KEY'). If start or stop is wrong, "
                "correct it. Put scans of another rate into another observation."
            )
    return longest.header.step


def _model(scans: Sequence[PlacedScan], long_enough: float) -> PlacedScan:
    """The scan with the median rate, of those that are long enough.

    Of the two in the middle it is the one with the higher rate, since samples are lost, not added.
    """
    long = [scan for scan in scans if scan.header.n_places - 1 >= long_enough]
    long.sort(key=lambda scan: scan.header.step)
    return long[(len(long) - 1) // 2]


def _rate(scan: PlacedScan) -> str:
    return f"{core.G3Units.s / scan.header.step:.6g}"
