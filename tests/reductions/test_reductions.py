"""Each ready reduction is what plain numpy makes of all values at once, however they are merged."""

import copy
import functools
import importlib.util
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spt3g import core, maps

import g3reduce
from g3reduce import Reduction, reductions

with_sketches = pytest.mark.skipif(
    importlib.util.find_spec("datasketches") is None, reason="needs the extra sketch"
)

SHAPE = (3,)
# Far from 0 beside their spread: the textbook variance would have no digit right.
VALUES = st.floats(-1, 1).map(lambda x: 1e7 + x) | st.floats(-100, 100) | st.just(np.nan)
NUMBERS = st.integers(-1000, 1000).map(float)


def arrays(elements):
    return st.lists(elements, min_size=SHAPE[0], max_size=SHAPE[0]).map(np.array)


def frames(elements):
    one = st.fixed_dictionaries({"x": arrays(elements), "y": arrays(elements)})
    return st.lists(one | st.just({}), min_size=1, max_size=12)


@st.composite
def trees(draw, elements=VALUES):
    """Frames, and an order of merging neighbours."""
    found = draw(frames(elements))
    return found, [draw(st.floats(0, 0.999)) for _ in found]


def states_of(reduction, found):
    extracted = map(reduction.extract, found)
    return [copy.deepcopy(state) for state in extracted if state is not None]


def merged(reduction, found, order):
    """The result of merging neighbours in any order; None if there is nothing."""
    states = states_of(reduction, found)
    for where in order:
        if len(states) > 1:
            i = int(where * (len(states) - 1))
            states[i : i + 2] = [reduction.combine(states[i], states[i + 1])]
    return reduction.finalize(states[0]) if states else None


def serial(reduction, found):
    states = states_of(reduction, found)
    return reduction.finalize(functools.reduce(reduction.combine, states)) if states else None


def leaves(result):
    if result is None:
        return []
    if isinstance(result, dict):
        return [leaf for key in result for leaf in leaves(result[key])]
    if isinstance(result, tuple):
        return [leaf for item in result for leaf in leaves(item)]
    return [np.asarray(result)]


def same(a, b, **close):
    assert len(leaves(a)) == len(leaves(b))
    for one, other in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(one, other, **(close or {"rtol": 0}))


def whole(found, key="x"):
    """All values, or nothing."""
    values = [frame[key] for frame in found if key in frame]
    return np.array(values) if values else None


EXACT = {
    "count": reductions.count("x"),
    "total": reductions.total("x"),
    "minimum": reductions.minimum("x"),
    "maximum": reductions.maximum("x"),
    "histogram": reductions.histogram("x", [-50, -0.5, 0, 3, 1000]),
}
ROUNDED = {
    "mean": reductions.mean("x"),
    "mean_and_variance": reductions.mean_and_variance("x"),
    "pooled": reductions.mean_and_variance("x", pooled=True, ddof=1),
    "maps": reductions.map_mean_and_variance("x"),
    "covariance": reductions.covariance(["x", "y"]),
    "chi_square": reductions.chi_square("x", lambda frame: np.abs(frame["y"])),
    "model": reductions.chi_square("x", lambda frame: np.abs(frame["y"]), model=np.arange(3.0)),
}


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=60, deadline=None)
@given(tree=trees(NUMBERS))
def test_any_partition_gives_the_serial_answer(name, tree):
    same(merged(EXACT[name], *tree), serial(EXACT[name], tree[0]))


@settings(max_examples=60, deadline=None)
@given(found=frames(VALUES))
def test_simple_ones_are_what_numpy_has(found):
    x = whole(found)
    assume(x is not None)
    results = {name: serial(reduction, found) for name, reduction in EXACT.items()}
    assert results["count"] == len(x)
    for total, column in zip(results["total"], x.T, strict=True):
        off = len(column) * 2**-53 * math.fsum(np.abs(column))
        assert abs(total - math.fsum(column)) <= off or np.isnan([total, column.sum()]).all()
    np.testing.assert_array_equal(results["minimum"], np.fmin.reduce(x, initial=np.inf))
    np.testing.assert_array_equal(results["maximum"], np.fmax.reduce(x, initial=-np.inf))
    found = results["histogram"]
    np.testing.assert_array_equal(found.counts, np.histogram(x[~np.isnan(x)], found.edges)[0])
    assert found.under == (x < -50).sum()
    assert found.over == (x > 1000).sum()
    assert found.nan == np.isnan(x).sum()
    assert found.counts.sum() + found.under + found.over + found.nan == x.size


class Exactly:
    """Values and their weights in rational numbers, and how far sums in floats may be from them.

    A mean is brought together by at most n - 1 merges, with fewer than eight roundings each, so it
    is off by less than 8 n u max|x|. So are deviations, of which products are summed.
    """

    def __init__(self, values, weights=None):
        self.x = list(map(Fraction, values))
        self.w = [Fraction(1)] * len(self.x) if weights is None else list(map(Fraction, weights))
        self.weight = sum(self.w)
        self.mean = sum(w * x for w, x in zip(self.w, self.x, strict=True)) / self.weight
        self.mean_off = 8 * len(self.x) * UNIT * max(map(abs, self.x))

    def products(self, other):
        """The sum of products of deviations, and how far it may be off."""
        deviations = [[x - some.mean for x in some.x] for some in (self, other)]
        terms = list(zip(self.w, *deviations, strict=True))
        one, two = (sum(w * d[k] ** 2 for w, *d in terms) for k in (0, 1))
        off = root(self.weight * one) * other.mean_off + root(self.weight * two) * self.mean_off
        off += self.weight * self.mean_off * other.mean_off
        off += 8 * len(terms) * UNIT * root(one * two)
        off += len(terms) * (1 + self.weight) * Fraction(2) ** -1070  # what underflows
        return sum(w * a * b for w, a, b in terms), off

    def assert_mean(self, found):
        assert abs(Fraction(float(found)) - self.mean) <= self.mean_off

    def assert_products(self, found, other=None, over=1):
        true, off = self.products(other or self)
        assert abs(Fraction(float(found)) - true / over) <= (off + 4 * UNIT * abs(true)) / over


UNIT = Fraction(1, 2**53)


def root(value):
    return Fraction(math.sqrt(value))


@pytest.mark.parametrize(("name", "ddof"), [("mean_and_variance", 0), ("maps", 1), ("pooled", 1)])
@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_means_and_variances_are_the_true_ones_to_rounding(name, ddof, tree):
    x = whole(tree[0])
    assume(x is not None)
    result = merged(ROUNDED[name], *tree)
    columns = [x.reshape(-1)] if name == "pooled" else x.T
    found = zip(*(np.atleast_1d(part) for part in result), strict=True)
    for column, (n, mean, variance) in zip(columns, found, strict=True):
        good = column[~np.isnan(column)]
        if name == "maps":
            good = good[good != 0]
        assert n == len(good)
        if n:
            exactly = Exactly(good)
            exactly.assert_mean(mean)
        else:
            assert np.isnan(mean)
        if n > ddof:
            exactly.assert_products(variance, over=int(n) - ddof)
        else:
            assert np.isnan(variance)
    if name == "mean_and_variance":
        np.testing.assert_array_equal(merged(ROUNDED["mean"], *tree), result.mean)


@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_covariances_are_the_true_ones_to_rounding(tree):
    x, y = whole(tree[0], "x"), whole(tree[0], "y")
    assume(x is not None)
    good = ~np.isnan(x + y)
    result = merged(ROUNDED["covariance"], *tree)
    assert result.n == good.sum()
    assume(result.n)
    exactly = [Exactly(values[good]) for values in (x, y)]
    for i, one in enumerate(exactly):
        one.assert_mean(result.mean[i])
        for k, other in enumerate(exactly):
            one.assert_products(result.products[i, k], other)
            if result.n > 1:
                one.assert_products(result.covariance[i, k], other, over=result.n - 1)


@pytest.mark.parametrize("name", ["chi_square", "model"])
@settings(max_examples=60, deadline=None)
@given(tree=trees())
def test_chi_squares_are_the_true_ones_to_rounding(name, tree):
    x, weights = whole(tree[0], "x"), whole(tree[0], "y")
    assume(x is not None)
    weights = np.abs(weights)
    result = merged(ROUNDED[name], *tree)
    for i in range(*SHAPE):
        good = (weights[:, i] > 0) & ~np.isnan(x[:, i])
        n = good.sum()
        assert result.pixels_dof[i] == (max(n - 1, 0) if name == "chi_square" else n)
        if not n:
            assert result.pixels[i] == 0
            continue
        exactly = Exactly(x[good, i], weights[good, i])
        if name == "model":
            exactly.mean, exactly.mean_off = Fraction(i), 0
            assert result.mean[i] == i
        exactly.assert_mean(result.mean[i])
        exactly.assert_products(result.pixels[i])
    assert result.dof == result.pixels_dof.sum()
    assert result.chi_square == pytest.approx(math.fsum(result.pixels), rel=1e-15)


def test_the_variance_of_large_numbers_keeps_its_digits():
    found = [{"x": 1e9 + x} for x in (4.0, 7.0, 13.0, 16.0)]
    result = serial(reductions.mean_and_variance("x", ddof=1), found)
    assert (result.n, result.mean, result.variance) == (4, 1e9 + 10, 30)


def test_the_covariance_is_numpys():
    rng = np.random.default_rng(1)
    found = [dict(zip("xyz", rng.normal(size=(3, 50)), strict=True)) for _ in range(4)]
    found[1]["y"][3] = np.nan
    samples = np.hstack([[frame[key] for key in "xyz"] for frame in found])
    samples = samples[:, ~np.isnan(samples).any(axis=0)]
    result = serial(reductions.covariance("xyz"), [*found, {"x": np.ones(50)}])
    assert result.n == 199
    np.testing.assert_allclose(result.covariance, np.cov(samples))
    np.testing.assert_allclose(result.products, np.cov(samples) * 198)
    by_function = reductions.covariance(lambda frame: [frame["z"], frame["x"]])
    np.testing.assert_allclose(
        serial(by_function, found[2:]).covariance,
        np.cov(np.hstack([[frame["z"], frame["x"]] for frame in found[2:]])),
    )
    few = serial(reductions.covariance("xy"), [{"x": 1.0, "y": 2.0}])
    assert np.isnan(few.covariance).all()


def test_chi_square_is_the_sum_of_squares_over_the_noise():
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(6, 5)), rng.uniform(0.5, 2, (6, 5))
    w[0, 0] = w[:, 4] = 0
    found = [{"x": a, "w": b} for a, b in zip(x, w, strict=True)]
    mean = (w * x).sum(axis=0)[:4] / w.sum(axis=0)[:4]
    pixels = (w[:, :4] * (x[:, :4] - mean) ** 2).sum(axis=0)
    result = serial(reductions.chi_square("x", "w"), found)
    np.testing.assert_allclose(result.pixels, [*pixels, 0])
    np.testing.assert_array_equal(result.pixels_dof, [4, 5, 5, 5, 0])
    np.testing.assert_allclose(result.mean, [*mean, np.nan])
    assert result.chi_square == pytest.approx(pixels.sum())
    assert result.dof == 19
    result = serial(reductions.chi_square("x", "w", model=0.25), found)
    assert result.chi_square == pytest.approx((w * (x - 0.25) ** 2).sum())
    assert result.dof == 23


def timestreams(data, hertz=100.0):
    found = core.G3TimestreamMap()
    for i, row in enumerate(data):
        timestream = core.G3Timestream(row)
        timestream.start = core.G3Time(0)
        timestream.stop = core.G3Time(round((len(row) - 1) / hertz * core.G3Units.s))
        found[f"det{i}"] = timestream
    return found


def periodogram(segment, hertz):
    """By the definition of the transform, without any FFT."""
    n = len(segment)
    window = np.sin(np.pi * np.arange(n) / n) ** 2
    x = (segment - segment.mean()) * window
    k = np.arange(n // 2 + 1)
    transform = np.exp(-2j * np.pi * np.outer(k, np.arange(n)) / n) @ x
    one_sided = np.where((k == 0) | (2 * k == n), 1, 2)
    return one_sided * np.abs(transform) ** 2 / (hertz * np.sum(window**2))


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


@settings(max_examples=20, deadline=None)
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
@settings(max_examples=30, deadline=None)
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
    with pytest.raises(g3reduce.UsageError, match=r"pip install 'g3reduce\[sketch\]'"):
        reductions.quantiles("x")


@pytest.mark.parametrize("kind", ["flat", "flat dense", "healpix", "healpix dense"])
def test_maps_are_taken_as_they_are(kind):
    if kind.startswith("flat"):
        skymap = maps.FlatSkyMap(x_len=4, y_len=3, res=core.G3Units.arcmin)
        skymap[1, 2] = 5.0
        expected = np.zeros((3, 4))
        expected[1, 2] = 5
    else:
        skymap = maps.HealpixSkyMap(2)
        skymap[7] = 5.0
        expected = np.zeros(48)
        expected[7] = 5
    if kind.endswith("dense"):
        if kind.startswith("flat"):
            skymap.sparse = False
        else:
            skymap.dense = True
    before = skymap.sparse if kind.startswith("flat") else skymap.dense
    np.testing.assert_array_equal(serial(reductions.total("T"), [{"T": skymap}]), expected)
    assert (skymap.sparse if kind.startswith("flat") else skymap.dense) == before
    result = serial(reductions.map_mean_and_variance("T"), [{"T": skymap}, {"T": 3 * skymap}])
    np.testing.assert_array_equal(result.n, 2 * (expected > 0))
    assert result.mean[result.n > 0] == 10
    assert result.variance[result.n > 0] == 50
    assert np.isnan(result.mean[result.n == 0]).all()


def test_shapes_are_never_stretched():
    for name in ("mean_and_variance", "maps"):
        reduction = ROUNDED[name]
        a, b = reduction.extract({"x": np.ones(3)}), reduction.extract({"x": np.ones(1)})
        with pytest.raises(ValueError, match=r"shapes \(3,\) and \(1,\)"):
            reduction.combine(a, b)
    with pytest.raises(ValueError, match="shapes"):
        ROUNDED["chi_square"].extract({"x": np.ones(3), "y": np.ones(1)})


def test_reductions_that_make_no_sense_are_refused():
    for arguments, text in (
        ({}, "combine=None; expected a function, or operation="),
        ({"operation": "AVERAGE"}, "operation='AVERAGE'; expected one of SUM, PROD"),
        ({"operation": "SUM", "combine": np.maximum}, "give one or the other"),
        ({"operation": "SUM", "extract": "T"}, "extract='T'; expected a function"),
    ):
        with pytest.raises(g3reduce.UsageError, match=text):
            Reduction("mine", **arguments)
    for edges in ([1], [1, 1], [[0, 1], [1, 2]], [0, np.nan]):
        with pytest.raises(g3reduce.UsageError, match="edges is"):
            reductions.histogram("x", edges)
    with pytest.raises(g3reduce.UsageError, match="what is 3"):
        reductions.total(3)


def test_the_identity_is_the_number_that_changes_nothing():
    for operation in ("SUM", "PROD", "MIN", "MAX", "BOR", "BAND", "BXOR", "LOR", "LAND", "LXOR"):
        reduction = Reduction("mine", operation=operation)
        for dtype in ("i4", "u2", "f4", "c16", "?"):
            if reduction.takes(dtype):
                x = np.array([0, 1, 1, 0] if dtype == "?" else [0, 1, 7, 100], dtype)
                nothing = np.full_like(x, reduction.identity_of(dtype))
                np.testing.assert_array_equal(reduction.combine(nothing, x), x)
                np.testing.assert_array_equal(reduction.combine(x, nothing), x)


def test_every_ready_reduction_tells_its_formula_and_its_result():
    ready = {name for name in reductions.__all__ if name.islower()}
    assert len(ready) > 10
    for name in ready:
        documentation = getattr(reductions, name).__doc__
        assert "Parameters\n" in documentation, name
        assert "Its result is" in documentation or "Its result has" in documentation, name
