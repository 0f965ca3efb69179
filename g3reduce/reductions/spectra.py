"""Averaged power spectra of timestreams."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arrays.reduction import Reduction
from ..errors import UsageError
from ..g3files.dropped import detectors_of, samples_of
from ..spt3gtypes import Frame
from .taking import What, name_of, taker

Array = NDArray[Any]

# Sample rates are computed from times, so that those of equal scans differ a little.
_SAME_RATE = 1e-3


class _Sums(NamedTuple):
    samples: int
    rate: float  # Hz
    power: dict[str, Array]
    segments: dict[str, int]


class Spectra(NamedTuple):
    """Power spectra of detectors.

    Attributes
    ----------
    frequencies : array, shape (samples // 2 + 1,)
        In Hz, from 0 to half the sample rate.
    psd : dict of str to array of that shape
        One-sided power spectral density of each detector: the square of the units of its
        timestream, over Hz. Its sum times the step in frequency is the variance, up to what
        the window leaves out.
    segments : dict of str to int
        The number of segments of which each is the mean.
    """

    frequencies: Array
    psd: dict[str, Array]
    segments: dict[str, int]


def mean_psd(what: What, *, samples: int | None = None) -> Reduction:
    """The mean power spectrum of each detector, over all scans.

    Welch's method (1967, IEEE Trans. Audio Electroacoust. 15, 70), as `scipy.signal.welch` with its
    defaults: segments that overlap by half have their mean taken off and are multiplied by the
    periodic Hann window h; with their Fourier transforms X, the sample rate f and
    ``P_k = 2 |X_k|^2 / (f sum(h^2))`` (without the 2 at frequency 0 and, for even lengths, at half
    the sample rate) the spectrum is the mean of P over all segments of all scans.

    Parameters
    ----------
    what : str or callable
        A ``G3TimestreamMap``. Detectors may come and go from frame to frame.
    samples : int, optional
        Length of a segment. Scans that are shorter take no part. Default: the length of the scan,
        which then must be the same for all.

    Returns
    -------
    Reduction
        Its result is a `Spectra`. Segments with a NaN, a dropped or an infinite sample are
        left out.

    Examples
    --------
    >>> mean_psd("CalTimestreams", samples=1024).name
    'mean PSD of CalTimestreams'
    """
    if samples is not None and samples < 2:
        raise UsageError(f"samples is {samples!r}; expected 2 or more.")
    take = taker(what)

    def extract(frame: Frame) -> _Sums | None:
        timestreams = take(frame)
        names = () if timestreams is None else detectors_of(timestreams)
        if not names:
            return None
        from spt3g import core

        data = samples_of(timestreams)
        length = samples or data.shape[1]
        if data.shape[1] < length:
            return None
        rate = float(timestreams.sample_rate / core.G3Units.Hz)
        power, segments = _summed(data, length, rate)
        return _Sums(
            length,
            rate,
            dict(zip(names, power, strict=True)),
            dict(zip(names, segments.tolist(), strict=True)),
        )

    return Reduction(f"mean PSD of {name_of(what)}", _merge, extract=extract, finalize=_spectra)


def _summed(data: Array, length: int, rate: float) -> tuple[Array, Array]:
    """Sums of the spectra of all good segments of each row, and how many these are."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    power = np.zeros((len(data), length // 2 + 1))
    segments = np.zeros(len(data), int)
    for begin in range(0, data.shape[1] - length + 1, max(1, length - length // 2)):
        segment = data[:, begin : begin + length].astype(np.float64)
        good = np.isfinite(segment).all(axis=1)
        segment[~good] = 0
        segment -= segment.mean(axis=1, keepdims=True)
        spectrum = np.abs(np.fft.rfft(segment * window, axis=1)) ** 2
        spectrum[:, 1 : (length + 1) // 2] *= 2
        power += spectrum / (rate * np.sum(window**2))
        segments += good
    return power, segments


def _merge(a: _Sums, b: _Sums) -> _Sums:
    if a.samples != b.samples:
        raise ValueError(
            f"there are scans of {a.samples} and of {b.samples} samples, whose spectra have other "
            "frequencies: give mean_psd a length of segments, samples="
        )
    if abs(a.rate - b.rate) > _SAME_RATE * a.rate:
        raise ValueError(f"there are scans with {a.rate:g} and with {b.rate:g} samples per second")
    power, segments = dict(a.power), dict(a.segments)
    for name, theirs in b.power.items():
        power[name] = power[name] + theirs if name in power else theirs
        segments[name] = segments.get(name, 0) + b.segments[name]
    return _Sums(a.samples, a.rate, power, segments)


def _spectra(state: _Sums) -> Spectra:
    frequencies = np.arange(state.samples // 2 + 1) * (state.rate / state.samples)
    psd = {}
    for name in sorted(state.power):
        n = state.segments[name]
        psd[name] = state.power[name] / n if n else state.power[name] * np.nan
    return Spectra(frequencies, psd, {name: state.segments[name] for name in psd})
