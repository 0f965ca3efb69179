"""Each ready reduction is what plain numpy makes of all values at once, however they are merged."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from merging import SHAPE, VALUES, frames, merged, same, serial, whole
from spt3g import core, maps

import g3reduce
from g3reduce import Reduction, reductions

NUMBERS = st.integers(-1000, 1000).map(float)


@st.composite
def trees(draw, elements=VALUES):
    """Frames, and an order of merging neighbours."""
    found = draw(frames(elements))
    return found, [draw(st.floats(0, 0.999)) for _ in found]


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
@settings(max_examples=60)
@given(tree=trees(NUMBERS))
def test_any_partition_gives_the_serial_answer(name, tree):
    same(merged(EXACT[name], *tree), serial(EXACT[name], tree[0]))


@settings(max_examples=60)
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
@settings(max_examples=60)
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


@settings(max_examples=60)
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
@settings(max_examples=60)
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
