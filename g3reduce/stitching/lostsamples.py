"""Where the samples of a scan are, if some were lost inside it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spt3g import core

from ..errors import InputError
from .headers import Run

Places = NDArray[np.int64]


class Came(NamedTuple):
    """Which samples of a scan came, of those that its timestreams have.

    Attributes
    ----------
    n_samples : int
        Of the timestreams.
    which : bool array, shape (n_samples,), or None
        Those that came of any detector; None: all.
    """

    n_samples: int
    which: NDArray[np.bool_] | None

    def spread(self, values: NDArray[Any], where: str, key: str) -> NDArray[Any]:
        """A value for each sample, of a vector that has one for each, or one for those that came.

        Samples that did not come get the value of the one before.

        Raises
        ------
        InputError
            If it has another length.
        """
        if len(values) == self.n_samples:
            return values
        number = self.n_samples if self.which is None else int(self.which.sum())
        if self.which is None or len(values) != number:
            some = "" if number == self.n_samples else f", of which {number} came"
            raise InputError(
                f"{where}: {key!r} has {len(values)} samples, but the timestreams have "
                f"{self.n_samples}{some}."
            )
        return np.asarray(values[np.maximum(np.cumsum(self.which) - 1, 0)])

    def all_times(self, times: NDArray[np.int64], where: str, key: str) -> NDArray[np.int64] | None:
        """The time of each sample, of all of them or of those that came; None without samples.

        Raises
        ------
        InputError
            If there are others, or they say that other samples came.
        """
        if not self.n_samples:
            return None
        if self.which is None or len(times) in (0, self.n_samples):
            return self.spread(times, where, key)
        self.spread(times, where, key)  # has it the right length?
        there = np.flatnonzero(self.which)
        if not np.array_equal(places_by_times(times, where, key), there - there[0]):
            raise InputError(
                f"{where}: by {key!r} other samples were lost than those that the timestreams "
                "leave out."
            )
        between = np.interp(np.arange(self.n_samples), there, times - times[0])
        return np.asarray(times[0] + np.rint(between).astype(np.int64))


def places_by_times(times: NDArray[np.int64], where: str, key: str) -> Places:
    """The places of samples, counted in steps from the first one.

    The step is the time between most samples. Two that are 1.5 steps apart or more have lost what
    was between.

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
            "times that go up in even steps, but where samples were lost."
        )
    return np.concatenate([[0], np.cumsum(steps)])


def places_by_mask(mask: NDArray[np.bool_], n_samples: int, where: str, key: str) -> Places:
    """The places of samples, from a mask of all that there should be: true for those that came.

    Raises
    ------
    InputError
        If it does not have one true value for each sample.
    """
    places = np.flatnonzero(mask)
    if len(places) != n_samples:
        raise InputError(
            f"{where}: {key!r} says that {len(places)} of {len(mask)} samples came, but the "
            f"timestreams have {n_samples}. Expected a value for each sample, or one more for each "
            "that was lost."
        )
    return (places - places[:1]).astype(np.int64)


def gappy_runs(places: Places) -> tuple[Run, ...]:
    """The runs of samples that follow each other; nothing if there are no gaps between them."""
    ends = np.flatnonzero(np.diff(places) != 1) + 1
    if not len(ends):
        return ()
    borders = [0, *ends.tolist(), len(places)]
    return tuple(Run(first, int(places[first]), stop - first) for first, stop in pairwise(borders))


def offsets_of(times: NDArray[np.int64], places: Places, step: float) -> NDArray[Any] | None:
    """How much later samples are than even steps say; None if none is."""
    if len(times) < 2:
        return None
    offsets: NDArray[np.int64] = times - (times[0] + (places * step).astype(np.int64))
    if not offsets.any():
        return None
    # All ranks are told these: small numbers, in most cases.
    small = np.min_scalar_type(-int(np.abs(offsets).max()) - 1)
    return np.asarray(offsets.astype(small))
