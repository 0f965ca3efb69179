"""Signs of sign flips: balanced by weight, and the same everywhere and for ever."""

from __future__ import annotations

import random

import numpy as np
import pytest
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st

from g3reduce import InputError, splits
from g3reduce.g3files.frames import Fingerprint
from g3reduce.pipeline.units import Unit
from g3reduce.splits.flipping import signs_of

WEIGHTS = st.lists(
    st.one_of(st.floats(0, 1e12), st.sampled_from([0.0, 1.0, 1e-300])), min_size=1, max_size=40
)


def named(n):
    return [f"map {number}" for number in range(n)]


@settings(max_examples=200 if ALL else 15)
@given(WEIGHTS, st.integers(-3, 1000))
def test_what_is_flipped_is_one_half_to_within_half_a_map(weights, seed):
    signs = signs_of(named(len(weights)), weights, 9, seed=seed, group="x")
    assert signs.shape == (9, len(weights))
    assert set(np.unique(signs)) <= {-1, 1}
    counted = np.array(weights) if any(weights) else np.ones(len(weights))
    flipped = np.where(signs < 0, counted, 0).sum(axis=1)
    # Half the weight of the heaviest, but for rounding.
    assert np.all(np.abs(flipped - counted.sum() / 2) <= counted.max() * (0.5 + 1e-9))


@pytest.mark.parametrize("n", [2, 4, 10])
def test_of_an_even_number_of_equal_maps_one_half_is_flipped(n):
    """Also where the sum of 0.1 ten times is no 1."""
    signs = signs_of(named(n), [0.1] * n, 20, seed=1, group="x")
    assert np.all(signs.sum(axis=1) == 0)


def test_of_an_odd_number_it_is_more_or_less_than_one_half_at_random():
    signs = signs_of(named(5), [1.0] * 5, 400, seed=1, group="x")
    sums = signs.sum(axis=1)
    assert set(sums) == {-1, 1}
    assert abs(sums.mean()) < 0.2  # 4 standard deviations


def test_all_maps_are_flipped_as_often_and_independently():
    """Means of N signs have a standard deviation of N^-1/2; of 20 maps of which 10 are flipped, two
    have a correlation of -1/19."""
    n, n_realisations = 20, 2000
    signs = signs_of(named(n), [1.0] * n, n_realisations, seed=5, group="x").astype(float)
    assert np.all(np.abs(signs.mean(axis=0)) < 4.5 * n_realisations**-0.5)
    correlation = (signs.T @ signs / n_realisations)[np.triu_indices(n, 1)]
    assert np.all(np.abs(correlation + 1 / 19) < 4.5 * n_realisations**-0.5)
    # Neighbouring realisations come from one hash, others from different ones.
    between = (signs[:-1] * signs[1:]).mean(axis=1)
    assert abs(between.mean()) < 4.5 * (n * n_realisations) ** -0.5


# These values must never change: coadds that were made stay those that can be made again.
FIXED = {0: "-+-+++--+-", 1: "+---++-++-", 2: "+--+-++--+", 9: "-++-+-++--"}


def test_the_signs_are_those_that_they_were():
    signs = signs_of(named(10), [1.0] * 10, 10, seed=1, group="150GHz")
    for realisation, expected in FIXED.items():
        assert "".join("+" if one > 0 else "-" for one in signs[realisation]) == expected


def test_the_signs_depend_on_seed_and_group():
    one = signs_of(named(10), [1.0] * 10, 8, seed=1, group="150GHz")
    assert np.any(one != signs_of(named(10), [1.0] * 10, 8, seed=2, group="150GHz"))
    assert np.any(one != signs_of(named(10), [1.0] * 10, 8, seed=1, group="90GHz"))
    # More of them begin with the same.
    more = signs_of(named(10), [1.0] * 10, 30, seed=1, group="150GHz")
    np.testing.assert_array_equal(one, more[:8])


# Through a plan


def facts(number, folder="obs", **known):
    known = {"source": "field", "observation": f"field/{number}", "weight": number + 1.0, **known}
    return splits.MapFacts(f"{folder}/obs_{number}.g3", 1, "150GHz", **known)


def signs_by_number(inputs, splitting):
    plan = splitting.plan(inputs)
    return {
        int(one.file.split("_")[1][:-3]): plan.signs_of(Unit(one.file, one.frame)) for one in inputs
    }


UNKNOWN = {"source": "", "observation": ""}


@pytest.mark.parametrize(
    "known",
    [
        lambda number: {},
        lambda number: {**UNKNOWN, "fingerprint": Fingerprint(number, 100)},
        lambda number: UNKNOWN,
        lambda number: {"source": "field", "observation": f"field/{number // 2}"},
    ],
    ids=["observation", "content", "name of the file", "some observations are there twice"],
)
def test_signs_and_bundles_depend_neither_on_folders_nor_on_the_order(known):
    splitting = splits.bundles(3) * splits.signflips(10, seed=4)
    splitting += splits.split(odd="parity=odd") * splits.bundles(2, by="number")
    inputs = [facts(number, **known(number)) for number in range(12)]
    moved = [facts(number, "elsewhere", **known(number)) for number in range(12)]
    random.Random(3).shuffle(moved)
    assert signs_by_number(inputs, splitting) == signs_by_number(moved, splitting)


def test_maps_that_only_folders_tell_apart_are_refused():
    inputs = [facts(1, "a", **UNKNOWN), facts(1, "b", **UNKNOWN)]
    with pytest.raises(InputError, match=r"b/obs_1.g3.* and a/obs_1.g3.* folders"):
        splits.signflips(2).plan(inputs)


def test_maps_of_the_same_observation_and_id_are_told_apart_by_their_content():
    """And those of the same content need not be."""
    same = {"observation": "field/1", "weight": 1.0}
    inputs = [
        facts(number, fingerprint=Fingerprint(mark, 9), **same)
        for number, mark in enumerate((1, 2, 3, 3))
    ]
    signs = signs_by_number(inputs, splits.signflips(50))
    flipped = np.array(
        [[one[f"Coadd_signflip{at:03}"] for at in range(50)] for one in signs.values()]
    )
    assert np.all(flipped.sum(axis=0) == 0)
    assert len({tuple(row) for row in flipped}) == 4


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ((1.0, None), r"obs_1.g3, frame 1 .* not known, while those of others are"),
        ((1.0, float("nan")), r"obs_1.g3, frame 1 .* weights TT is nan, so sign flips of 'Coadd'"),
        ((1.0, float("inf")), "is inf"),
        ((1.0, -2.0), r"is -2\.0, .* expected a number from 0 on"),
    ],
)
def test_weights_that_cannot_be_balanced_name_the_map(weights, problem):
    inputs = [facts(number, weight=weight) for number, weight in enumerate(weights)]
    with pytest.raises(InputError, match=problem):
        splits.signflips(2).plan(inputs)


@pytest.mark.parametrize("weight", [None, 0.0])
def test_maps_without_weights_count_as_equal_and_the_record_says_so(weight):
    inputs = [facts(number, weight=weight) for number in range(6)]
    plan = splits.signflips(5, seed=2).plan(inputs)
    signs = [plan.signs_of(Unit(one.file, 1)) for one in inputs]
    assert sum(one["Coadd_signflip003"] for one in signs) == 0
    assert plan.record_of("Coadd_signflip003") == {
        "name": "Coadd_signflip003",
        "rule": "all",
        "base": "Coadd",
        "realisation": "3",
        "balance": "0",
        "seed": "2",
        "weights": "equal: none is known",
    }


def test_a_coadd_of_one_map_is_warned_of(caplog):
    splits.signflips(2).plan([facts(1)])
    assert "'Coadd' has a single map (obs/obs_1.g3" in caplog.text
