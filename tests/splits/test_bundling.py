"""Bundles: whole observations, of equal weight, number or time."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from choices import ALL
from hypothesis import given, settings
from hypothesis import strategies as st

from g3reduce import InputError, UsageError, splits
from g3reduce.pipeline.units import Unit
from g3reduce.splits import bundle_days, bundles, by, jackknife, split
from g3reduce.splits.instants import instant_of


def facts(number, map_id="150GHz", **known):
    known = {"source": "field", "observation": f"field/{number}", "weight": 1.0, **known}
    return splits.MapFacts(f"obs_{number}_{map_id}.g3", 1, map_id, **known)


def members(splitting, inputs):
    """The observations and Ids of the maps in each coadd."""
    plan, found = splitting.plan(inputs), defaultdict(set)
    for one in inputs:
        for name in plan.signs_of(Unit(one.file, one.frame)):
            found[name].add((one.observation, one.map_id))
    assert set(found) == set(plan.names)
    return dict(found)


WEIGHTS = st.lists(st.floats(0, 1e6), min_size=5, max_size=40)


@settings(max_examples=200 if ALL else 15)
@given(WEIGHTS, st.integers(1, 5), st.integers())
def test_bundles_of_equal_weight_differ_by_at_most_one_observation(weights, n_bundles, seed):
    inputs = [facts(number, weight=weight) for number, weight in enumerate(weights)]
    plan = bundles(n_bundles, seed=seed).plan(inputs)
    sums = Counter(dict.fromkeys(plan.names, 0.0))
    for one in inputs:
        (name,) = plan.signs_of(Unit(one.file, 1))
        sums[name] += one.weight
    assert len(sums) == n_bundles
    assert max(sums.values()) - min(sums.values()) <= max(weights) * (1 + 1e-9)


@settings(max_examples=200 if ALL else 15)
@given(st.integers(5, 40), st.integers(1, 5), st.integers())
def test_bundles_of_equal_number_differ_by_at_most_one(n, n_bundles, seed):
    inputs = [facts(number) for number in range(n)]
    found = members(bundles(n_bundles, by="number", seed=seed), inputs)
    assert {len(maps) for maps in found.values()} <= {n // n_bundles, -(-n // n_bundles)}
    assert len(found) == n_bundles


def test_an_observation_is_in_one_bundle_over_all_its_ids():
    inputs = [
        facts(number, map_id, weight=number + weight)
        for number in range(20)
        for map_id, weight in (("90GHz", 5.0), ("150GHz", 1.0))
        if (number, map_id) != (7, "90GHz")
    ]
    found = members(by("id") * bundles(3), inputs)
    assert len(found) == 6
    for bundle in range(3):
        low, high = (
            {name for name, _ in found[f"{map_id}_bundle{bundle}"]}
            for map_id in ("90GHz", "150GHz")
        )
        assert low <= high
        assert high - low <= {"field/7"}


@pytest.mark.parametrize("seed", range(5))
def test_the_weight_of_an_observation_is_that_of_all_its_maps(seed):
    heavy = (0, 1, 2)
    inputs = [
        facts(number, map_id, weight=100.0 if number in heavy and map_id == "150GHz" else 1.0)
        for number in range(9)
        for map_id in ("90GHz", "150GHz")
    ]
    found = members(split(one="id=90GHz", other="id=150GHz") * bundles(3, seed=seed), inputs)
    for bundle in range(3):
        names = {name for name, _ in found[f"one_bundle{bundle}"]}
        assert len(names & {f"field/{number}" for number in heavy}) == 1


def test_splits_of_observations_have_bundles_of_their_own_and_those_by_id_share_them():
    inputs = [
        facts(number, map_id, time=float(number), weight=1.0 + number)
        for number in range(12)
        for map_id in ("90GHz", "150GHz")
    ]
    early = "date<1970-01-01T00:00:06"
    both = split(
        early90=f"id=90GHz & {early}", early150=f"{early} & id=150GHz", late=f"~{early}"
    ) * bundles(3)
    found = members(both, inputs)
    assert all(len({name for name, _ in maps}) == 2 for maps in found.values())
    for bundle in range(3):
        of_90, of_150 = (
            {name for name, _ in found[f"early{nu}_bundle{bundle}"]} for nu in (90, 150)
        )
        assert of_90 == of_150


def test_jackknifes_lack_one_bundle_each():
    inputs = [facts(number) for number in range(12)]
    everything = {(one.observation, one.map_id) for one in inputs}
    found = members(bundles(3) + jackknife(bundles(3)), inputs)
    for bundle in range(3):
        assert found[f"jackknife{bundle}"] == everything - found[f"bundle{bundle}"]


def test_a_jackknife_of_one_bundle_is_refused_and_of_one_of_several_ids_is_warned_of(caplog):
    one_day = [facts(number, time=3600.0 * number) for number in range(3)]
    days = bundle_days(1)
    with pytest.raises(InputError, match="all observations are in one bundle"):
        (days + jackknife(days)).plan(one_day)
    with pytest.raises(InputError, match="all observations of observation=1 are in one bundle"):
        (split(a="observation=1", b="all") * jackknife(bundle_days(0.01))).plan(one_day)
    assert not caplog.records
    rare = facts(2, "220GHz", time=7200.0)
    plan = (by("id") * jackknife(bundle_days(0.01))).plan([*one_day, rare])
    assert {name.partition("_")[0] for name in plan.names} == {"150GHz"}
    (record,) = caplog.records
    assert "All maps of '220GHz' are in one bundle" in record.getMessage()


def test_names_have_as_many_digits_as_needed():
    names = set(members(bundles(11), [facts(number) for number in range(11)]))
    assert names == {f"bundle{number:02}" for number in range(11)}


def test_bundles_of_days_begin_with_the_first_day_of_the_whole_input():
    times = ["2019-05-01T23:00", "2019-05-02T01:00", "2019-05-03T23:59", "2019-05-07T00:00"]
    inputs = [
        facts(number, time=instant_of(time)) for number, time in enumerate([*times, times[-1]])
    ]
    splitting = split(some="observation=[1-9]") * bundle_days(2)
    plan = splitting.plan(inputs)
    assert members(splitting, inputs) == {
        "some_bundle0": {("field/1", "150GHz")},
        "some_bundle1": {("field/2", "150GHz")},
        "some_bundle3": {("field/3", "150GHz"), ("field/4", "150GHz")},  # none on two days
    }
    assert plan.record_of("some_bundle3") == {
        "name": "some_bundle3",
        "rule": "some: observation=[1-9]",
        "bundles": "bundles of 2 days",
        "bundle": "3",
        "dates": "2019-05-07..2019-05-09",
    }


@pytest.mark.parametrize("days", [1e-9, 1e9])
def test_bundles_of_very_few_or_many_days(days):
    """Of each only what has maps is made, however many there could be; dates have an end."""
    inputs = [facts(number)._replace(time=86400.0 * number) for number in (0, 400)]
    assert len(bundle_days(days).plan(inputs).names) == (2 if days < 1 else 1)


def test_bundles_of_days_need_times():
    with pytest.raises(InputError, match="not known when it was observed, and bundle_days asks"):
        bundle_days(2).plan([facts(1)])


def test_maps_without_observations_are_kept_together_by_file():
    inputs = [
        splits.MapFacts(f"obs_{number}.g3", frame, map_id, weight=1.0)
        for number in range(9)
        for frame, map_id in ((1, "90GHz"), (2, "150GHz"))
    ]
    plan = bundles(3).plan(inputs)
    found = defaultdict(set)
    for one in inputs:
        found[one.file].update(plan.signs_of(Unit(one.file, one.frame)))
    assert sorted(Counter(*[[next(iter(names)) for names in found.values()]]).values()) == [3, 3, 3]
    assert all(len(names) == 1 for names in found.values())


@pytest.mark.parametrize("kind", ["number", "weight"])
def test_the_bundles_are_those_that_they_were(kind):
    inputs = [facts(number) for number in range(9)]
    plan = bundles(3, by=kind, seed=2).plan(inputs)
    names = [name for one in inputs for name in plan.signs_of(Unit(one.file, 1))]
    assert names == [f"bundle{number}" for number in (1, 2, 0, 0, 2, 2, 1, 1, 0)]


def test_observations_without_weight_are_shared_out_too():
    found = members(bundles(3), [facts(number, weight=0.0) for number in range(9)])
    assert {len(maps) for maps in found.values()} == {3}


def test_the_record_says_whether_weights_count_as_equal_of_the_maps_that_are_bundled():
    inputs = [facts(number, weight=None if number < 4 else 2.0) for number in range(8)]
    halves = split(blind="observation=[0-3]", others="observation=[4-7]")
    plan = (halves * bundles(2) * splits.signflips(2)).plan(inputs)
    equal = {name for name in plan.names if "weights" in plan.record_of(name)}
    assert equal == {name for name in plan.names if name.startswith("blind")}
    assert plan.record_of("blind_bundle1")["weights"] == "equal: none is known"


@pytest.mark.parametrize(
    ("make", "kind", "problem"),
    [
        (lambda: bundles(3).plan([facts(1), facts(2)]), InputError, "2 observations.*3 bundles"),
        (lambda: bundles(0), UsageError, "n_bundles is 0"),
        (lambda: bundles(2, by="time"), UsageError, "one of weight, number"),
        (lambda: bundles(2, seed=1.5), UsageError, r"seed is 1\.5"),
        (lambda: bundle_days(0), UsageError, "days is 0"),
        (lambda: jackknife(bundles(1)), UsageError, "nothing would be left"),
        (lambda: jackknife(by("id") * bundles(2)), UsageError, "expected bundles alone"),
        (lambda: jackknife(jackknife(bundles(2))), UsageError, "nothing would be left"),
        (lambda: bundles(2) * bundles(2), UsageError, "expected splits first, then bundles, once"),
        (lambda: bundles(2) * by("id"), UsageError, "expected splits first"),
        (lambda: splits.signflips(2) * by("id"), UsageError, "expected these last"),
        (lambda: splits.signflips(2) * splits.signflips(2), UsageError, "signflips once"),
    ],
)
def test_what_cannot_be_bundled_is_refused(make, kind, problem):
    with pytest.raises(kind, match=problem):
        make()
