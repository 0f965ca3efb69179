"""Plans of splits, bundles and sign flips, against what coadds of the same options hold and add."""

import csv
import io
import os

import pytest
import skies
from choices import some_of
from patches import patch, write

from g3reduce import InputError, UsageError, coadd_files, plan_coadd, splits
from g3reduce.coadd.coadder import MPIMapCoadder
from g3reduce.coadd.state import write_state
from g3reduce.jobs import passes, sampling

SMALL = {"cores_per_node": 8, "memory_per_node": 4e9}

N = 6  # files, all of which are in the sample
EARLY = splits.split(early="observation=field/[0-2]", all="all")
BUNDLES = splits.bundles(3)

CASES = {
    "splits": EARLY,
    "ids": splits.by("id"),
    "bundles": EARLY * BUNDLES,
    "jackknife": BUNDLES + splits.jackknife(BUNDLES),
    "flips": splits.by("id") * EARLY * splits.signflips(10, seed=1),
    "flips of bundles": EARLY * (BUNDLES + splits.jackknife(BUNDLES)) * splits.signflips(3),
}


def observed(number, place, ids):
    """The maps of an observation, which are not those of any other."""
    frames = [patch(*place, map_id) for map_id in ids]
    for frame in frames:
        frame["SourceName"], frame["ObservationID"] = "field", number
    return frames


SOME = some_of(CASES, fewer=["jackknife", "flips", "flips of bundles"])


@pytest.fixture(params=["same", "apart"])
def files(request, tmp_path, monkeypatch):
    """Files whose maps have one footprint, or none that overlap; two Ids in each."""
    monkeypatch.chdir(tmp_path)
    places = [(0, 32) if request.param == "same" else (32 * at, 32 * at + 32) for at in range(N)]
    return [
        os.path.basename(skies.write_file(f"{at:02d}.g3", observed(at, place, "ab")))
        for at, place in enumerate(places)
    ]


@pytest.fixture
def held(monkeypatch):
    """The bytes of all sums of each coadder, before they are joined."""
    sizes = []
    join = MPIMapCoadder.join

    def noting(self, *rest):
        sizes.append(sum(one.total.blocks.nbytes for one in self._intake.coadds.values()))
        return join(self, *rest)

    monkeypatch.setattr(MPIMapCoadder, "join", noting)
    return sizes


@pytest.mark.parametrize("how", ["plain", "checkpoints", "reproducible"])
@pytest.mark.parametrize("case", SOME)
def test_sums_and_maps_are_those_of_the_coadd(files, held, case, how, tmp_path):
    exact = how == "reproducible"
    options = {"assign": CASES[case], "reproducible": exact}
    plan = plan_coadd(files, checkpoints=how == "checkpoints", **options, **SMALL)
    folder = tmp_path / "checkpoints" if how == "checkpoints" else None
    coadds = coadd_files(files, "out.g3", checkpoint=folder, **options)
    assert plan.work.union == pytest.approx(held[0], rel=1e-6)
    assert plan.n_coadds + plan.n_flips == len(coadds)
    counted = {}
    for name, frame in coadds.items():
        if "Split" in frame and "base" not in frame["Split"]:
            kind = name.rstrip("0123456789")
            counted.setdefault(kind, []).append(len(frame["Ledger"]["file"]))
    planned = {one.name.rstrip("*"): (one.number, one.number * one.maps) for one in plan.coadds}
    assert planned == {name: (len(maps), sum(maps)) for name, maps in counted.items()}


@pytest.mark.parametrize("how", ["plain", "checkpoints", "reproducible"])
@pytest.mark.parametrize("case", SOME)
def test_nodes_have_what_the_coadd_asks_for_before_it_begins(files, monkeypatch, case, how):
    asked = []

    def divided(costs, available, *rest, **options):
        asked.append(sum(cost.whole for cost in costs))
        return really(costs, available, *rest, **options)

    really = passes.divided
    monkeypatch.setattr(passes, "divided", divided)
    options = {"assign": CASES[case], "reproducible": how == "reproducible"}
    coadd_files(files, "out.g3", checkpoint="kept" if how == "checkpoints" else None, **options)
    options["checkpoints"] = how == "checkpoints"
    plan = plan_coadd(files, **options, **SMALL)
    assert plan.work.asked == asked[0]
    for one in plan.others:
        assert one.memory_node >= one.ranks_per_node * (asked[0] + plan.cluster.base)
    with pytest.raises(UsageError, match="but a node has"):
        plan_coadd(files, memory_per_node=plan.others[0].memory_node - 1, **options)


@pytest.mark.parametrize("case", SOME)
def test_what_some_of_the_files_bring_is_no_more_than_planned(files, held, case):
    work = plan_coadd(files, assign=CASES[case], checkpoints=False, **SMALL).work
    for number in (1, 2, 4):
        some = CASES[case].planned(coadd_files(files))
        coadd_files(files[-number:], assign=some)
        assert held[-1] <= 1.001 * work.held_after(number) <= 1.001 * work.union


def test_a_function_says_where_maps_go_as_in_a_coadd(files, held):
    def halves(frame):
        return {"sum": 1, "difference": 1 if frame["Id"] == "a" else -1}

    plan = plan_coadd(files, assign=halves, **SMALL)
    coadd_files(files, assign=halves)
    assert plan.work.union == held[0]
    told = [(one.name, one.number, one.maps) for one in plan.coadds]
    assert told == [("sum", 1, 2 * N), ("difference", 1, 2 * N)]


def test_more_files_make_larger_parts_where_they_do_not_overlap(tmp_path):
    files = write(tmp_path, [(at * 8, at * 8 + 8) for at in range(4)])
    alone = plan_coadd(files, files_total=16, **SMALL)
    plan = plan_coadd(files, files_total=16, assign=splits.bundles(4), **SMALL)
    assert [(one.name, one.number, one.maps) for one in plan.coadds] == [("bundle*", 4, 4)]
    assert plan.work.union == pytest.approx(alone.work.union)  # none lie over each other
    same = write(tmp_path, [(0, 8)] * 4)
    plan = plan_coadd(same, files_total=16, assign=splits.bundles(4), **SMALL)
    assert plan.work.union == 4 * plan.work.held
    assert [plan.work.held_after(number) / plan.work.held for number in (1, 3, 9)] == [1, 3, 4]


def test_bundles_of_days_last_as_long_as_the_files(tmp_path):
    files = write(tmp_path, [(0, 32)] * 8)
    with open(tmp_path / "table.csv", "w", newline="") as table:
        days = [(at, f"2019-03-{1 + 3 * at:02d}T12:00") for at in range(8)]
        csv.writer(table).writerows([("obs_id", "date"), *days])
    for at, file in enumerate(files):
        skies.write_file(file, observed(at, (0, 32), "a"))
    weeks = splits.bundle_days(6).using(table=tmp_path / "table.csv", time="iso:date")
    plan = plan_coadd(files, assign=weeks, sample=8, **SMALL)
    assert [one.number for one in plan.coadds] == [len(coadd_files(files, assign=weeks))] == [4]
    assert [one.number for one in plan_coadd(files, assign=weeks, sample=4, **SMALL).coadds] == [4]
    later = plan_coadd(files, assign=weeks, files_total=80, **SMALL)
    assert [one.number for one in later.coadds] == [pytest.approx(40, abs=1)]
    alone = plan_coadd(files, assign=weeks, sample=1, **SMALL)
    assert [one.number for one in alone.coadds] == [8]  # each by itself: more than there are


def test_more_sums_take_as_much_longer_as_was_measured(tmp_path, monkeypatch):
    files = write(tmp_path, [(0, 64)] * 4)
    timed = []

    def seconds(names, coadder):
        n_flips = sum(one.total.sums.flips.n for one in coadder.states().values() if flips_of(one))
        timed.append((len(coadder.states()), n_flips))
        return 1.0 + 0.5 * (timed[-1][0] - 1) + 0.01 * n_flips

    def flips_of(coadd):
        return coadd.total.sums.flips

    real = sampling._seconds

    def after_adding(names, coadder):
        real(names, coadder)
        return seconds(names, coadder)

    monkeypatch.setattr(sampling, "_seconds", after_adding)
    flips, many = splits.signflips(100), splits.bundles(4)
    assert plan_coadd(files, **SMALL).sample.seconds == 1
    assert plan_coadd(files, assign=many, **SMALL).sample.seconds == 1
    knives = plan_coadd(files, assign=many + splits.jackknife(many), **SMALL)
    assert knives.sample.seconds == pytest.approx(1 + 3 * 0.5)
    own = plan_coadd(files, assign=flips, **SMALL)
    assert own.sample.seconds == pytest.approx(1 + 100 * 0.5)
    beside = plan_coadd(files, assign=flips, checkpoints=False, **SMALL)
    assert beside.sample.seconds == pytest.approx(1 + 100 * 0.01)
    assert max(timed) == (5, 0)
    assert {n_flips for _, n_flips in timed} == {0, 32}
    monkeypatch.setattr(sampling, "available", iter([1e9] * 4 + [1000.0]).__next__)
    assert plan_coadd(files, assign=flips, **SMALL).sample.seconds == 1 + 100


def test_a_set_of_checkpoints_is_as_large_as_planned(files, monkeypatch):
    written = []

    def writing(self, *rest):
        for coadd in self.states().values():
            state = io.BytesIO()
            write_state(state, coadd)
            written.append(len(state.getvalue()))
        return join(self, *rest)

    join = MPIMapCoadder.join
    monkeypatch.setattr(MPIMapCoadder, "join", writing)
    coadd_files(files, "out.g3", assign=CASES["flips"], checkpoint="kept")
    alone = {"cores_per_node": 1, "memory_per_node": 4e9}
    plan = plan_coadd(files, assign=CASES["flips"], **alone)
    assert len(written) == plan.n_coadds + plan.n_flips
    assert sum(written) == pytest.approx(plan.checkpoint_bytes, rel=0.2)


def test_shards_have_no_checkpoints_and_realisations_that_share_weights(files):
    options = {"assign": CASES["flips"], **SMALL}
    shards = plan_coadd(files, result="sharded", **options)
    whole = plan_coadd(files, **options)
    assert (shards.checkpoints, shards.checkpoint_bytes) == (False, 0)
    assert shards.work.union < whole.work.union
    assert shards.work.output == pytest.approx(whole.work.output)  # frames in a file have their own
    assert "Checkpoints: none" in shards.lines()
    beside = plan_coadd(files, checkpoints=False, **options)
    assert beside.work.union == shards.work.union


def test_a_split_without_a_map_in_the_sample_is_warned_of(tmp_path, caplog):
    files = write(tmp_path, [(0, 32)] * 6)
    last = splits.split(first="file=00.g3", last="file=05.g3")
    assert [one.name for one in plan_coadd(files, assign=last, sample=2, **SMALL).coadds] == [
        "first"
    ]
    assert (
        "No map of the sample is in (last: file=05.g3), which is not reckoned with" in caplog.text
    )
    caplog.clear()
    both = plan_coadd(files, assign=last, **SMALL).coadds
    assert [(one.name, one.maps) for one in both] == [("first", 1), ("last", 1)]
    assert not caplog.text


def test_what_a_coadd_refuses_a_plan_refuses_with_the_same_words(files):
    twice = splits.split(a="all") + splits.split(a="file=00.g3")
    table = splits.split(dry="pwv<1")
    for options in (
        {"assign": BUNDLES, "map_ids": ["a"]},
        {"assign": BUNDLES, "collate": True},
        {"assign": splits.bundles(N + 1)},
        {"assign": twice},
        {"assign": table},
        {"assign": 3},
        {"assign": splits.split(a="parity=odd") * splits.bundle_days(1)},
        {"result": "sharded", "strategy": "tree"},
        {"result": "here"},
    ):
        with pytest.raises((UsageError, InputError)) as refused:
            coadd_files(files, **options)
        with pytest.raises(type(refused.value)) as planned:
            plan_coadd(files, **options, **SMALL)
        assert str(planned.value) == str(refused.value)
    with pytest.raises(UsageError, match="checkpoints is 'no'; expected True or False"):
        plan_coadd(files, checkpoints="no")
