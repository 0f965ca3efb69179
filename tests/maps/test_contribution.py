"""What a frame contributes: the same numbers whatever the chunks and the loops are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skies import map_frame, write_frames

from g3reduce import coadd_files
from g3reduce.kernels.choice import KERNELS
from g3reduce.limits import LIMITS
from g3reduce.maps.contribution import sum_in_any_order

KINDS = ("flat sparse", "flat dense", "healpix ring", "healpix ring shifted", "healpix indexed")
floats = st.floats(allow_nan=False, allow_infinity=False, max_value=1e300, min_value=-1e300)


@given(st.lists(floats, max_size=40), st.randoms())
def test_single_pixels_have_a_sum_that_does_not_depend_on_their_order(values, order):
    exact = math.fsum(values)
    found = sum_in_any_order(np.array(values, float))
    order.shuffle(values)
    assert sum_in_any_order(np.array(values, float)) == found
    largest = max(map(abs, values), default=0.0)
    assert abs(found - exact) <= 1e-12 * largest + 5e-324


def test_sums_that_are_not_finite_are_told_as_such():
    assert math.isnan(sum_in_any_order(np.array([1.0, math.nan])))
    assert sum_in_any_order(np.array([math.inf, -1.0])) == math.inf


def tenths(frame):
    """Weights whose sum depends on the order in which they are added."""
    weights = frame.pop("Wpol")
    for name in weights.keys():  # noqa: SIM118 (not a dictionary)
        skymap = getattr(weights, name)
        skymap *= 0.1
        setattr(weights, name, skymap)
    frame["Wpol"] = weights
    return frame


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_same_whatever_adds_it(tmp_path, monkeypatch, kind, exact, kernels):
    frames = [tenths(map_frame(kind, "polarized", number)) for number in range(3)]
    files = write_frames(tmp_path, frames)
    monkeypatch.setenv(KERNELS, "numpy")
    expected = [(entry.pixels, entry.weight) for entry in coadd_files(files).ledger.entries]
    for frame, (pixels, weight) in zip(frames, expected, strict=True):
        values = np.asarray(frame["Wpol"].TT.copy())
        assert pixels == np.count_nonzero(values)
        assert weight == pytest.approx(math.fsum(values.ravel()), rel=1e-12)
    monkeypatch.setenv(KERNELS, kernels)
    small = LIMITS.small_frame
    for step, small_frame in ((2**19, small), (2**19, 0), (640, 0)):
        if kind == "flat dense" and step == 640:
            continue  # the stretches of dense maps have a fixed length
        monkeypatch.setattr(LIMITS, "step", step)
        monkeypatch.setattr(LIMITS, "small_frame", small_frame)
        found = coadd_files(files, reproducible=exact).ledger.entries
        assert [(entry.pixels, entry.weight) for entry in found] == expected, (step, small_frame)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=9), st.integers(0, 2**32))
def test_loops_sum_runs_as_numpy_does(lengths, seed):
    compiled = pytest.importorskip("g3reduce.kernels.compiled")
    values = np.random.default_rng(seed).normal(size=sum(lengths)) ** 3
    values[::7] = 0
    ends = np.cumsum(lengths)
    parts = [values[end - n : end] for end, n in zip(ends, lengths, strict=True)]
    raw = np.frombuffer(b"".join(b"a header 12b" + part.tobytes() for part in parts), np.uint8)
    sums = np.empty(len(lengths))
    hit = compiled.sum_runs(raw, np.array(lengths), 12, sums)
    assert hit == np.count_nonzero(values)
    begins = [end - n for end, n in zip(ends, lengths, strict=True) if n]
    expected = np.add.reduceat(values, begins) if begins else np.empty(0)
    assert sums[np.array(lengths) > 0].tobytes() == expected.tobytes()
