"""The compiled loops of exact sums: the same bits as numpy's, and numpy where they cannot be."""

import functools
import logging
import math
import os
import sys
from fractions import Fraction

import numpy as np
import pytest
import skies
from hypothesis import given
from hypothesis import strategies as st

import g3reduce
import g3reduce.kernels
from g3reduce.arrays import exact
from g3reduce.kernels import choice as kernels

needs_numba = pytest.mark.skipif(
    kernels._load()[0] is None, reason=f"numba cannot be used: {kernels._load()[1]}"
)
TOPS = st.integers(exact.LOWEST, exact.top_for(np.finfo(float).max) + exact.WIDTH)
any_float = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324])


@st.composite
def additions(draw):
    """A grid; and values that it takes, with ties, its largest ones, and such as are far below."""
    top, n_limbs = draw(TOPS), draw(st.sampled_from([2, 3]))
    most = min(top - 1, 1024)
    fraction = st.floats(-1, 1, exclude_min=True, exclude_max=True)
    near_quanta = st.tuples(
        st.integers(-(2**8), 2**8), st.sampled_from([-1, 0, 1]), st.integers(1, n_limbs)
    ).map(lambda t: _near_half_a_quantum(*t, top))
    value = st.one_of(
        st.builds(lambda f, e: math.ldexp(f, most - e), fraction, st.integers(0, 3)),
        st.builds(lambda f, e: math.ldexp(f, most - e), fraction, st.integers(0, 2200)),
        near_quanta,
        st.sampled_from([s * _below(most) for s in (1, -1)] + [0.0, -0.0, 5e-324, -2.3e-308]),
    ).filter(lambda x: exact.fits(abs(x), top))
    return top, n_limbs, np.array(draw(st.lists(value, min_size=1, max_size=40)))


def _below(exponent):
    return math.nextafter(math.ldexp(1, exponent), 0) if exponent < 1024 else sys.float_info.max


def _near_half_a_quantum(multiple, towards, limb, top):
    """A multiple of half the quantum of a limb, or the float beside it: ties, and no ties."""
    try:
        tie = math.ldexp(multiple, top - exact.WIDTH * limb - 1)
    except OverflowError:
        return 0.0
    return math.nextafter(tie, math.inf * towards) if towards else tie


def parts_of(value, top, n_limbs):
    """What a value adds to each limb, by rational numbers."""
    parts, left = [], Fraction(value)
    for k in range(n_limbs):
        quantum = Fraction(2) ** (top - exact.WIDTH * (k + 1))
        parts.append(round(left / quantum))  # ties to even
        left -= parts[-1] * quantum
    return parts


def deposited(by, limbs, values, top, subtract):
    limbs = [limb.copy() for limb in limbs]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(kernels.KERNELS, by)
        exact.deposit(limbs, values, top, subtract=subtract)
    return np.array(limbs)


@needs_numba
@given(additions(), st.booleans(), st.integers(-(2**62), 2**62))
def test_both_kernels_add_what_rational_numbers_do(addition, subtract, before):
    top, n_limbs, values = addition
    limbs = [np.full(len(values), before, np.int64)] * n_limbs
    by_numba = deposited(kernels.NUMBA, limbs, values, top, subtract)
    np.testing.assert_array_equal(by_numba, deposited(kernels.NUMPY, limbs, values, top, subtract))
    sign = -1 if subtract else 1
    expected = [[before + sign * part for part in parts_of(x, top, n_limbs)] for x in values]
    assert by_numba.T.tolist() == expected


@needs_numba
@given(st.lists(any_float, max_size=40))
def test_both_kernels_find_the_largest_value(values):
    found = []
    for by in (kernels.NUMBA, kernels.NUMPY):
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv(kernels.KERNELS, by)
            found.append(exact.largest(np.array(values)))
    expected = math.nan if any(map(math.isnan, values)) else max(map(abs, values), default=0.0)
    np.testing.assert_array_equal(found, [expected, expected])


@needs_numba
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
@pytest.mark.parametrize("n_limbs", [2, 3])
def test_values_may_lie_anywhere(n, n_limbs):
    """In bytes that are read-only, unaligned, or with gaps."""
    values = np.random.default_rng(n).normal(size=n)
    zeros = [np.zeros(n, np.int64)] * n_limbs
    expected = deposited(kernels.NUMPY, zeros, values, 5, False)
    unaligned = np.frombuffer(b"123" + values.tobytes(), np.float64, offset=3)
    with_gaps = np.repeat(values, 3)[::3]
    assert not unaligned.flags.writeable
    for same in (values, unaligned, with_gaps):
        np.testing.assert_array_equal(deposited(kernels.NUMBA, zeros, same, 5, False), expected)


def coadded():
    coadder = g3reduce.MPIMapCoadder(reproducible=True)
    for seed in range(3):
        coadder.add(skies.map_frame("flat dense", "hits", seed))
    return g3reduce.digest(coadder.finish().frame)


@pytest.fixture
def fresh(monkeypatch, caplog):
    """As in a new process, with all that is logged."""
    monkeypatch.delenv(kernels.KERNELS, raising=False)
    monkeypatch.setattr(kernels, "_added", 0)
    monkeypatch.setattr(kernels, "_expected", 0)
    monkeypatch.setattr(kernels, "_load", functools.cache(kernels._load.__wrapped__))
    caplog.set_level(logging.INFO, "g3reduce.kernels.choice")
    return caplog


def messages(caplog):
    return [
        record.getMessage() for record in caplog.records if record.name == "g3reduce.kernels.choice"
    ]


@needs_numba
def test_numba_is_loaded_when_many_values_were_added(fresh, limits):
    by_numpy = coadded()
    assert not messages(fresh)
    limits(worth_compiling=2 * kernels._added)
    assert coadded() == by_numpy
    assert messages(fresh) == ["Loops that numba compiled add the maps."]


@needs_numba
def test_numba_is_loaded_before_many_files_are_read(fresh, limits, tmp_path, monkeypatch):
    frames = [skies.map_frame("flat sparse", "hits", seed) for seed in range(20)]
    names = skies.write_frames(tmp_path, frames)
    size = sum(map(os.path.getsize, names))
    expected = g3reduce.digest(g3reduce.coadd_files(names, reproducible=True).frame)
    assert kernels._expected == pytest.approx(size, rel=0.1)
    assert not messages(fresh)
    monkeypatch.setattr(kernels, "_added", -math.inf)
    limits(worth_compiling=size // 2)
    assert g3reduce.digest(g3reduce.coadd_files(names, reproducible=True).frame) == expected
    assert messages(fresh) == ["Loops that numba compiled add the maps."]


def test_numpy_is_used_where_there_is_no_numba(fresh, monkeypatch, limits):
    expected = coadded()
    monkeypatch.delitem(sys.modules, "g3reduce.kernels.compiled", raising=False)
    monkeypatch.delattr(g3reduce.kernels, "compiled", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    limits(worth_compiling=0)
    assert coadded() == expected
    (message,) = messages(fresh)
    assert message.startswith("Numpy adds the maps, since numba cannot be used: ModuleNotFound")
    monkeypatch.setenv(kernels.KERNELS, kernels.NUMBA)
    with pytest.raises(g3reduce.UsageError, match=r"cannot be used \(ModuleNotFound"):
        g3reduce.MPIMapCoadder(reproducible=True)


@pytest.mark.parametrize("reproducible", [False, True])
def test_kernels_that_there_are_not_are_refused(monkeypatch, reproducible):
    monkeypatch.setenv(kernels.KERNELS, "fortran")
    with pytest.raises(g3reduce.UsageError, match=r"=fortran in the env.*expected numba or numpy"):
        g3reduce.MPIMapCoadder(reproducible=reproducible)
