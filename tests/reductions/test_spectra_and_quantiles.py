"""Spectra are those of Welch, and quantiles have the ranks that are asked for."""

import importlib.util
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from merging import VALUES, frames, merged, periodogram, same, serial, whole
from spt3g import core

import g3reduce
from g3reduce import reductions

with_sketches = pytest.mark.skipif(
    importlib.util.find_spec("datasketches") is None, reason="needs the extra sketch"
)


def timestreams(data, hertz=100.0):
    found = core.G3TimestreamMap()
    for i, row in enumerate(data):
        timestream = core.G3Timestream(row)
        timestream.start = core.G3Time(0)
        timestream.stop = core.G3Time(round((len(row) - 1) / hertz * core.G3Units.s))
        found[f"det{i}"] = timestream
    return found


@pytest.mark.parametrize("n", [16, 15, 2])
def test_the_spectrum_is_welchs(n):
    rng = np.random.default_rng(3)
    data = [rng.normal(3, 1, (2, length)) for length in (40, 33, 16, 1)]
    data[1][1, 20] = np.nan
    found = [{"x": timestreams(rows)} for rows in data[:3]] + [{}]
    result = serial(reductions.mean_psd("x", samples=n), found)
    np.testing.assert_allclose(result.frequencies, np.fft.rfftfreq(n, 1 / 100))
    for i, name in enumerate(("det0", "det1")):
        step = n - n // 2
        segments = [
            rows[i, begin : begin + n]
            for rows in data[:3]
            for begin in range(0, rows.shape[1] - n + 1, step)
        ]
        good = [segment for segment in segments if np.isfinite(segment).all()]
        expected = np.mean([periodogram(segment, 100) for segment in good], axis=0)
        np.testing.assert_allclose(result.psd[name], expected, rtol=1e-9, atol=1e-12)
        assert result.segments[name] == len(good)


def test_the_spectrum_is_scipys():
    signal = pytest.importorskip("scipy.signal")
    data = np.random.default_rng(4).normal(size=(3, 400))
    result = serial(reductions.mean_psd("x", samples=64), [{"x": timestreams(data)}])
    frequencies, psd = signal.welch(data, fs=100, nperseg=64)
    np.testing.assert_allclose(result.frequencies, frequencies)
    np.testing.assert_allclose(list(result.psd.values()), psd, rtol=1e-9, atol=1e-15)


def test_a_sine_has_its_power_at_its_frequency():
    t = np.arange(1000) / 100
    result = serial(reductions.mean_psd("x"), [{"x": timestreams([2 * np.sin(2 * np.pi * 5 * t)])}])
    assert result.frequencies[result.psd["det0"].argmax()] == pytest.approx(5)
    assert result.psd["det0"].sum() * result.frequencies[1] == pytest.approx(2)  # the variance


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(8, 20), min_size=1, max_size=5),
    order=st.lists(st.floats(0, 0.99), min_size=5, max_size=5),
)
def test_spectra_merge_in_any_partition(lengths, order):
    rng = np.random.default_rng(5)
    found = [{"x": timestreams(rng.normal(size=(1 + i % 2, n)))} for i, n in enumerate(lengths)]
    reduction = reductions.mean_psd("x", samples=8)
    one, other = merged(reduction, found, order), serial(reduction, found)
    assert one.psd.keys() == other.psd.keys()
    same(one, other, rtol=1e-12)


def test_spectra_with_other_frequencies_are_refused():
    reduction = reductions.mean_psd("x")
    a, b, c = (
        reduction.extract({"x": timestreams(np.ones((1, n)), hertz)})
        for n, hertz in ((10, 100), (11, 100), (10, 120))
    )
    with pytest.raises(ValueError, match=r"10 and of 11 samples.*samples="):
        reduction.combine(a, b)
    with pytest.raises(ValueError, match="100 and with 120 samples per second"):
        reduction.combine(a, c)
    with pytest.raises(g3reduce.UsageError, match="samples is 1"):
        reductions.mean_psd("x", samples=1)


@with_sketches
@settings(max_examples=30)
@given(found=frames(VALUES), order=st.lists(st.floats(0, 0.99), min_size=12, max_size=12))
def test_quantiles_of_few_values_are_exact(found, order):
    x = whole(found)
    result = merged(reductions.quantiles("x", [0, 0.25, 0.5, 1]), found, order)
    same(result, serial(reductions.quantiles("x", [0, 0.25, 0.5, 1]), found))
    assume(x is not None)
    good = np.sort(x[~np.isnan(x)])
    if not len(good):
        assert np.isnan(result).all()
        return
    assert result[0] == good[0]
    assert result[-1] == good[-1]
    assert np.isin(result, good).all()


@with_sketches
def test_quantiles_of_many_values_have_the_ranks_that_are_asked_for():
    values = np.random.default_rng(6).normal(size=(40, 5000))
    q = [0.01, 0.16, 0.5, 0.84, 0.99]
    result = merged(reductions.quantiles("x", q), [{"x": x} for x in values], [0.3, 0.9] * 20)
    ranks = np.searchsorted(np.sort(values.reshape(-1)), result) / values.size
    np.testing.assert_allclose(ranks, q, atol=0.012)  # twice what 99 % stay within


@with_sketches
def test_bad_arguments_of_quantiles_are_refused():
    for arguments in ({"q": []}, {"q": [1.5]}, {"k": 2}):
        with pytest.raises(g3reduce.UsageError, match="expected"):
            reductions.quantiles("x", **arguments)


def test_quantiles_without_the_library_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(g3reduce.UsageError, match=r"pip install datasketches"):
        reductions.quantiles("x")
