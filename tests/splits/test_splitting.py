"""Splittings: names of coadds, and which maps are in them."""

from __future__ import annotations

import pytest
from skies import assert_same_coadd
from spt3gcoadds import by_spt3g

from g3reduce import UsageError, coadd_files, splits
from g3reduce.pipeline.units import Unit


def facts(number, map_id="150GHz", **known):
    known = {"source": "field", "observation": f"field/{number}", "weight": 1.0, **known}
    return splits.MapFacts(f"obs_{number}.g3", 1, map_id, **known)


def test_each_split_is_spt3gs_coadd_of_its_maps(survey):
    files = survey(4, "flat sparse", "polarized")
    halves = splits.split(early=splits.observation("100[01]"), late=~splits.observation("100[01]"))
    coadds = coadd_files(files, assign=splits.by("id") * halves)
    assert set(coadds) == {
        f"{map_id}_{half}" for map_id in ("90GHz", "150GHz") for half in ("early", "late")
    }
    for name, frame in coadds.items():
        map_id, half = name.split("_")
        mine = files[:2] if half == "early" else files[2:]
        theirs, _ = by_spt3g(mine, map_ids=[map_id], output_map_id=name)
        assert_same_coadd(frame, theirs.coadd_frame)


def test_sign_flips_stand_beside_what_they_are_of():
    inputs = [facts(number) for number in range(6)]
    plan = (splits.by("id") * splits.bundles(2) * splits.signflips(3, seed=1)).plan(inputs)
    assert plan.names[:5] == [
        "150GHz_bundle0",
        "150GHz_bundle0_signflip000",
        "150GHz_bundle0_signflip001",
        "150GHz_bundle0_signflip002",
        "150GHz_bundle1",
    ]
    assert plan.base_of["150GHz_bundle1_signflip002"] == "150GHz_bundle1"
    signs = [plan.signs_of(Unit(one.file, 1)) for one in inputs]
    for name in plan.names:
        found = [one[name] for one in signs if name in one]
        assert len(found) == 3
        assert abs(sum(found)) == (1 if "signflip" in name else 3)


def test_what_has_to_be_planned_says_so():
    with pytest.raises(UsageError, match="only once all maps are known"):
        splits.signflips(3).assigner()


def write_table(file, elevations):
    rows = [f"{1000 + number},{elevation}" for number, elevation in enumerate(elevations)]
    file.write_text("\n".join(["obs_id,elevation", *rows, ""]))
    return str(file)


def test_splits_that_need_all_maps_are_spt3gs_coadds_of_theirs(tmp_path, survey):
    files = survey(6, "healpix ring", "polarized")
    table = write_table(tmp_path / "obs.csv", [50, 40, 60, 45, 70, 55])  # the median is 52.5
    splitting = splits.split(
        odd="id=90GHz & parity=odd", high="elevation>=median & id=90GHz", low="elevation<median"
    ) + splits.split(some="id=150GHz") * (
        splits.bundles(3, by="number") + splits.jackknife(splits.bundles(3, by="number"))
    )
    coadds = coadd_files(files, assign=splitting.using(table=table))
    expected = {
        "odd": (files[1::2], ["90GHz"]),
        "high": ([files[2], files[4], files[5]], ["90GHz"]),
        "low": ([files[0], files[1], files[3]], None),
    }
    for number in range(3):
        inside = list(coadds[f"some_bundle{number}"]["InputFiles"])
        assert len(inside) == 2
        expected[f"some_bundle{number}"] = inside, ["150GHz"]
        outside = [file for file in files if file not in inside]
        expected[f"some_jackknife{number}"] = outside, ["150GHz"]
    assert set(coadds) == set(expected)
    for name, (mine, map_ids) in expected.items():
        theirs, _ = by_spt3g(mine, map_ids=map_ids, output_map_id=name)
        assert_same_coadd(coadds[name], theirs.coadd_frame)
