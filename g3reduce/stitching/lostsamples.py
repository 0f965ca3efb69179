"""Places of the samples of a scan in time, where some were dropped or lost inside it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import InputError
from .headers import Segment

Places = NDArray[np.int64]


class PresentSamples(NamedTuple):
    """The samples of a scan's timestreams, without those that were dropped of all detectors.

    Attributes
    ----------
    n_samples : int
        Length of the timestreams.
    mask : bool array, shape (n_samples,), or None
        True for samples that any detector has; None: all.
    """

    n_samples: int
    mask: NDArray[np.bool_] | None

    def spread(self, values: NDArray[Any], where: str, key: str) -> NDArray[Any]:
        """A value for each sample, of a vector with one for each, or one for each present sample.

        Other samples get the value of the one before.

        Raises
        ------
        InputError
            If the vector has another length.
        """
        if len(values) == self.n_samples:
            return values
        number = self.n_samples if self.mask is None else int(self.mask.sum())
        if self.mask is None or len(values) != number:
            some = "" if number == self.n_samples else f", or {number}, without dropped ones"
            raise InputError(
                f"{where}: {key!r} has {len(values)} samples; expected {self.n_samples}, as the "
                f"timestreams have{some}."
            )
        return np.asarray(values[np.maximum(np.cumsum(self.mask) - 1, 0)])

    def all_times(self, times: NDArray[np.int64], where: str, key: str) -> NDArray[np.int64] | None:
        """The time of each sample, from times of all or of the present ones; None without samples.

        Raises
        ------
        InputError
            If there are more or fewer, or by these times other samples were lost.
        """
        if not self.n_samples:
            return None
        if self.mask is None or len(times) in (0, self.n_samples):
            return self.spread(times, where, key)
        self.spread(times, where, key)  # raises if there are more or fewer
        there = np.flatnonzero(self.mask)
        if not np.array_equal(places_by_times(times, where, key), there - there[0]):
            raise InputError(
                f"{where}: by the times in {key!r} other samples were lost than those that the "
                "timestreams lack; expected a time for each sample, or for each that was not lost."
            )
        between = np.interp(np.arange(self.n_samples), there, times - times[0])
        return np.asarray(times[0] + np.rint(between).astype(np.int64))


def places_by_times(times: NDArray[np.int64], where: str, key: str) -> Places:
    """The places of samples by their times, counted in steps from the first one.

    The step is the time between most samples. Between two that are 1.5 steps apart or more, samples
    were lost.

    Parameters
    ----------
    times : int64 array, shape (n_samples,)
    where, key : str
        How messages name them.

    Raises
    ------
    InputError
        If they do not go up, or samples are less than half a step apart.
    """
    if len(times) < 2:
        return np.zeros(len(times), np.int64)
    apart = np.diff(times)
    step = float(np.median(apart))
    usual = (apart > step / 2) & (apart < 1.5 * step)
    # A long gap is counted right only if the step is that of all the others together.
    step = float(apart[usual].mean()) if usual.any() else step
    steps = np.rint(apart / step).astype(np.int64) if step > 0 else np.zeros_like(apart)
    wrong = np.flatnonzero(steps < 1)
    if len(wrong):
        one = int(wrong[0])
        first, second = (core.G3Time(int(times[n])) for n in (one, one + 1))
        raise InputError(
            f"{where}: {key!r} has {first} for sample {one} and {second} for the next; expected "
            "times that increase in even steps, except where samples were lost."
        )
    return np.concatenate([[0], np.cumsum(steps)])


def places_by_mask(mask: NDArray[np.bool_], n_samples: int, where: str, key: str) -> Places:
    """The places of samples by a mask with a value for lost samples, too, which is false.

    Raises
    ------
    InputError
        If the mask does not have one true value for each sample.
    """
    places = np.flatnonzero(mask)
    if len(places) != n_samples:
        raise InputError(
            f"{where}: by {key!r} {len(places)} of {len(mask)} samples are there, but the "
            f"timestreams have {n_samples}; expected a value for each sample, or one more for each "
            "that was lost."
        )
    return (places - places[:1]).astype(np.int64)


def segments_of(places: Places) -> tuple[Segment, ...]:
    """The segments between lost samples; empty if no sample was lost."""
    ends = np.flatnonzero(np.diff(places) != 1) + 1
    if not len(ends):
        return ()
    borders = [0, *ends.tolist(), len(places)]
    return tuple(
        Segment(first, int(places[first]), stop - first) for first, stop in pairwise(borders)
    )


def offsets_of(times: NDArray[np.int64], places: Places, step: float) -> NDArray[Any] | None:
    """How much later samples are than even steps would have them; None if none is."""
    if len(times) < 2:
        return None
    offsets: NDArray[np.int64] = times - (times[0] + (places * step).astype(np.int64))
    if not offsets.any():
        return None
    # Few bytes, because these are sent to all ranks.
    small = np.min_scalar_type(-int(np.abs(offsets).max()) - 1)
    return np.asarray(offsets.astype(small))
