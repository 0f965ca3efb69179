"""The sample rate of an observation, with which the times of all its scans must agree."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

from spt3g import core

from ..errors import InputError, MismatchError
from .headers import PlacedScan, named, time_text

# How many samples the times of a scan may be off, from its first to its last sample. If one was
# lost, it is one.
_MOST_OFF = 0.5

# Scans much shorter than the longest do not know the rate well enough to say that it is off.
_LONG_ENOUGH = 4


def step_of(group: Hashable, scans: Sequence[PlacedScan]) -> float:
    """The time from sample to sample; NaN if no scan has two of them.

    Raises
    ------
    InputError
        If a scan ends before it has begun.
    MismatchError
        If the times of a scan are off, because samples were lost or its rate is another one.
    """
    for scan in scans:
        header = scan.header
        if header.n_samples > 1 and header.stop <= header.start:
            raise InputError(
                f"Observation {group!r}: {named(scan)} has {header.n_samples} samples from "
                f"{time_text(header.start)} to {time_text(header.stop)}; expected an end that is "
                "after the start."
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
                "limit. If samples were lost, name the vector of their times in the frames "
                "(times='KEY'), or the mask of those that came (valid='KEY'); if start or stop is "
                "wrong, mend it; scans of another rate are another observation."
            )
    return longest.header.step


def _model(scans: Sequence[PlacedScan], long_enough: float) -> PlacedScan:
    """The scan by whose rate the others are judged: the middle one of those that are long enough.

    Of an even number it is the one with the higher rate, since samples are lost, not added.
    """
    judges = [scan for scan in scans if scan.header.n_places - 1 >= long_enough]
    judges.sort(key=lambda scan: scan.header.step)
    return judges[(len(judges) - 1) // 2]


def _rate(scan: PlacedScan) -> str:
    return f"{core.G3Units.s / scan.header.step:.6g}"
