"""Sums of floats that do not depend on the order, against rational numbers."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from floats import HUGE, TINY, finite, nearest_float, special
from hypothesis import assume, example, given
from hypothesis import strategies as st
from skies import bits

from g3reduce.arrays import exact
from g3reduce.kernels import choice as kernels
from g3reduce.limits import LIMITS

pytestmark = pytest.mark.usefixtures("each_kernels")

limb = st.one_of(
    st.integers(-(2**62), 2**62),
    st.builds(lambda e, d, s: s * 2**e + d, st.integers(0, 61), st.integers(-1, 1), st.just(1)),
    st.builds(lambda e, d, s: s * 2**e + d, st.integers(0, 61), st.integers(-1, 1), st.just(-1)),
)
numbers = st.lists(finite, min_size=1, max_size=20)
n_limbs = st.sampled_from([2, 3])
lattice = st.integers(0, exact.WIDTH - 1)


class Sum:
    """A sum of scalars, on a grid that is raised as need be."""

    def __init__(self, n_limbs, like=0):
        self.limbs = [np.zeros(1, np.int64) for _ in range(n_limbs)]
        self.codes = np.zeros(1, np.int64)
        self.top = exact.top_for(0.0, like)

    def raise_to(self, top):
        self.limbs = exact.raised(self.limbs, (top - self.top) // exact.WIDTH)
        self.top = top

    def add(self, value):
        value = np.array([value])
        if not np.isfinite(value[0]):
            self.codes += exact.specials(value)
            return self
        if not exact.fits(abs(value[0]), self.top):
            self.raise_to(exact.top_for(abs(value[0]), self.top))
        exact.deposit(self.limbs, value, self.top)
        return self

    def merge(self, other):
        top = max(self.top, other.top)
        self.raise_to(top)
        other.raise_to(top)
        for mine, theirs in zip(self.limbs, other.limbs, strict=True):
            mine += theirs
        self.codes += other.codes
        return self

    @property
    def quantum(self):
        return Fraction(2) ** (self.top - exact.WIDTH * len(self.limbs))

    @property
    def stands_for(self):
        """The rational number that the limbs make up."""
        digits = [int(limb[0]) for limb in self.limbs]
        shift = 2**exact.WIDTH
        return sum(d * shift**i for i, d in enumerate(reversed(digits))) * self.quantum

    def as_float(self):
        limbs = [limb.copy() for limb in self.limbs]
        return float(exact.to_floats(limbs, self.top, self.codes)[0])


def serial(values, n_limbs, like=0):
    total = Sum(n_limbs, like)
    for value in values:
        total.add(value)
    return total


def in_any_tree(values, n_limbs, like, rng):
    """The same values in another order, on ranks of which some have none, joined as they come."""
    values = rng.sample(values, len(values))
    sums = [Sum(n_limbs, like) for _ in range(rng.randint(1, 6))]
    for value in values:
        rng.choice(sums).add(value)
    while len(sums) > 1:
        rng.shuffle(sums)
        sums.append(sums.pop().merge(sums.pop()))
    return sums[0]


def check_order_does_not_matter(values, n_limbs, like, rng):
    one, other = serial(values, n_limbs, like), in_any_tree(values, n_limbs, like, rng)
    assert bits(one.as_float()) == bits(other.as_float())
    assert one.top == other.top


def check_value(values, n_limbs, like):
    total = serial(values, n_limbs, like)
    true = sum(map(Fraction, values))
    assert abs(total.stands_for - true) <= len(values) * total.quantum / 2
    assert bits(total.as_float()) == bits(nearest_float(total.stands_for))


def check_large_values_that_cancel(n_limbs=3):
    """Many large values on one grid, so that limbs are as full as they get, and one small one."""
    values = [2.0**40 - 1] * 5 + [1.0 / 3] + [-(2.0**40) + 1] * 5
    total = serial(values, n_limbs)
    assert bits(total.as_float()) == bits(nearest_float(total.stands_for))
    assert abs(Fraction(total.as_float()) - Fraction(1.0 / 3)) <= total.quantum


def check_rounding(limbs, top):
    whole = sum(number << exact.WIDTH * i for i, number in enumerate(reversed(limbs)))
    expected = nearest_float(whole * Fraction(2) ** (top - exact.WIDTH * len(limbs)))
    limbs = [np.array([number]) for number in limbs]
    assert bits(exact.nearest(limbs, top)[0]) == bits(expected)
    # This way is taken for a whole block if any of its digits are too large for the other.
    assert bits(exact._nearest_of_any(exact._carried(limbs), top)[0]) == bits(expected)


@given(st.lists(finite | special, min_size=1, max_size=20), n_limbs, lattice, st.randoms())
def test_the_order_the_partition_and_the_tree_do_not_matter(values, n_limbs, like, rng):
    check_order_does_not_matter(values, n_limbs, like, rng)


@given(numbers, n_limbs, lattice)
@example([1e300, 1.0, -1e300], 3, 0)
@example([HUGE, HUGE, -HUGE], 3, 0)
@example([TINY, -TINY], 3, 0)
@example([-0.0, -0.0], 2, 0)
def test_the_value_is_the_true_sum_to_half_a_quantum_for_each_addend(values, n_limbs, like):
    check_value(values, n_limbs, like)
    check_large_values_that_cancel()


@given(numbers, n_limbs, lattice, st.integers(0, 4))
def test_raising_the_grid_commutes_with_adding(values, n_limbs, like, steps):
    total = serial(values, n_limbs, like)
    top = total.top + steps * exact.WIDTH
    assume(top <= exact.top_for(HUGE, like))
    total.raise_to(top)
    again = Sum(n_limbs, like)
    again.raise_to(top)
    for value in values:
        again.add(value)
    for mine, theirs in zip(total.limbs, again.limbs, strict=True):
        assert mine[0] == theirs[0]


@given(finite.map(abs), lattice)
def test_the_grid_is_the_lowest_that_fits(bound, like):
    top = exact.top_for(bound, like)
    assert (top - like) % exact.WIDTH == 0
    assert exact.fits(bound, top)
    assert Fraction(bound) < Fraction(2) ** (top - 1)
    assert top < exact.LOWEST + exact.WIDTH or not exact.fits(bound, top - exact.WIDTH)


@given(numbers.map(np.array), n_limbs, lattice)
def test_parts_are_what_is_deposited_and_are_subtracted_again(values, n_limbs, like):
    top = exact.top_for(exact.largest(values), like)
    limbs = [np.zeros(len(values), np.int64) for _ in range(n_limbs)]
    exact.deposit(limbs, values, top)
    for limb, part in zip(limbs, exact.split(values, top, n_limbs), strict=True):
        np.testing.assert_array_equal(limb, part)
        assert np.abs(part).max() <= 2**41
    exact.deposit(limbs, values, top, subtract=True)
    assert not any(limb.any() for limb in limbs)
    exact.deposit(limbs, values, top, subtract=True)
    for limb, part in zip(limbs, exact.split(-values, top, n_limbs), strict=True):
        np.testing.assert_array_equal(limb, part)


def test_arrays_longer_than_a_block_are_summed_as_their_elements():
    rng, n = np.random.default_rng(3), 2 * LIMITS.step // 8 + 5
    values = rng.normal(size=n) * 10.0 ** rng.integers(-3, 3, n)
    top = exact.top_for(exact.largest(values))
    limbs = [np.zeros(len(values), np.int64) for _ in range(3)]
    for sign in (1, 1, -1):
        exact.deposit(limbs, values, top, subtract=sign < 0)
    # No bit of these is below the quantum.
    np.testing.assert_array_equal(exact.to_floats(limbs, top), values)


@given(limb, st.lists(limb, min_size=1, max_size=2))
@example(2**55 + 1, [2**41])
@example(1, [-1, 0])
@example(2**53 + 1, [0, 0])
@example(2**53 + 1, [0, 1])
@example(2**53 + 1, [0, -1])
@example(2**20, [1, 1])
@example(2**20, [2**9, 1])
@example(2**20, [2**9, -1])
@example(-(2**20), [2**9, 1])
@example(2**11 + 1, [1 << 1, 0])
def test_limbs_are_rounded_as_the_rational_number_that_they_stand_for(first, others):
    for top in (42, exact.LOWEST, exact.top_for(HUGE)):
        check_rounding([first, *others], top)


@given(st.lists(special, min_size=1), st.booleans())
def test_values_that_are_not_finite_are_counted(values, subtract):
    codes = sum(exact.specials(np.array([x]), subtract=subtract) for x in values)
    found = exact.to_floats([np.zeros(1, np.int64)] * 2, 0, codes)[0]
    with np.errstate(invalid="ignore"):
        expected = np.sum(-np.array(values) if subtract else values)
    np.testing.assert_equal(found, expected)


def test_as_many_values_as_are_allowed_do_not_overflow():
    most = exact.MOST_ADDENDS
    extreme = math.nextafter(2.0**41, 0)  # the largest on its grid
    parts = exact.split(np.array([extreme]), exact.top_for(extreme), 3)
    assert all(abs(int(part[0])) * most < 2**62 for part in parts)
    limbs = [part * most for part in parts]
    expected = nearest_float(Fraction(extreme) * most)
    assert exact.nearest(limbs, exact.top_for(extreme))[0] == expected
    for value in (math.nan, math.inf, -math.inf):
        codes = exact.specials(np.array([value])) * most
        assert codes[0] > 0
        np.testing.assert_equal(exact.to_floats([np.zeros(1, np.int64)] * 2, 0, codes)[0], value)


def test_the_grid_of_the_largest_numbers_does_not_overflow():
    for like in range(exact.WIDTH):
        top = exact.top_for(HUGE, like)
        with np.errstate(all="raise"):
            parts = exact.split(np.array([HUGE, -HUGE, 1e290]), top, 3)
        np.testing.assert_array_equal(exact.nearest(parts, top)[:2], [HUGE, -HUGE])


def fails(check, *arguments):
    try:
        check(*arguments)
    except AssertionError:
        return True
    return False


def drop_a_limb(monkeypatch):
    """The last limb is always 0."""
    deposit = exact.deposit

    def mutant(limbs, values, top, **options):
        deposit(limbs, values, top, **options)
        limbs[-1][...] = 0

    monkeypatch.setattr(exact, "deposit", mutant)


def lose_the_carry(monkeypatch):
    """Digits are in their range, but what they had beyond it does not go to the next."""

    def mutant(limbs):
        return [limbs[0], *(limb & ((1 << exact.WIDTH) - 1) for limb in limbs[1:])]

    monkeypatch.setattr(exact, "_carried", mutant)


def no_carry(monkeypatch):
    monkeypatch.setattr(exact, "_carried", list)


def round_twice(monkeypatch):
    """Three digits are added as floats, each sum rounded to nearest."""

    def mutant(digits, top):
        values = np.zeros(len(digits[0]))
        for digit in digits:
            values = values * 2.0**exact.WIDTH + digit
        return values * 2.0 ** (top - exact.WIDTH * len(digits))

    monkeypatch.setattr(exact, "_nearest_of_few", mutant)


def a_grid_too_low(monkeypatch):
    """Which grid fits is found with one power of two too little."""
    monkeypatch.setattr(exact, "fits", lambda bound, top: math.frexp(bound)[1] < top + 1)


def order_of_large_and_small():
    rng = random.Random(0)
    for _ in range(200):
        values = [rng.choice([-1, 1]) * 2.0 ** rng.uniform(-60, 60) for _ in range(10)]
        check_order_does_not_matter(values, 3, 0, rng)


def values_of_all_kinds():
    rng = random.Random(1)
    for _ in range(200):
        check_value([rng.uniform(-1, 1) * 2.0 ** rng.randint(-30, 30) for _ in range(9)], 3, 0)
    check_large_values_that_cancel()


def limbs_of_any_size():
    rng = random.Random(2)
    for _ in range(500):
        first = rng.choice([-1, 1]) * 2 ** rng.randint(0, 61) + rng.randint(-1, 1)
        others = [rng.choice([-1, 1]) * 2 ** rng.randint(0, 61) + rng.randint(-1, 1) for _ in "ab"]
        check_rounding([first, *others], 42)
    for last in (1, 0, -1):  # a tie of the first two, and what breaks it
        check_rounding([2**20, 2**9, last], 42)


@pytest.mark.parametrize(
    ("mutate", "check"),
    [
        (drop_a_limb, values_of_all_kinds),
        (lose_the_carry, limbs_of_any_size),
        (no_carry, limbs_of_any_size),
        (round_twice, limbs_of_any_size),
        (a_grid_too_low, order_of_large_and_small),
    ],
    ids=lambda thing: thing.__name__,
)
def test_a_mutation_of_the_exactness_does_not_pass(monkeypatch, mutate, check):
    check()
    if mutate in (lose_the_carry, no_carry, round_twice):  # of what numpy does
        monkeypatch.setenv(kernels.KERNELS, kernels.NUMPY)
    mutate(monkeypatch)
    assert fails(check)
