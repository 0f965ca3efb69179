"""Plans of a coadd: what is measured of a few files, and what is made of it."""

import dataclasses
import itertools
import json
import math
import os
import time

import numpy as np
import pytest
import skies
from patches import SHAPE, patch, write
from spt3g import core

import g3reduce
from g3reduce import InputError, UsageError
from g3reduce.jobs.estimating import base_of, duration
from g3reduce.jobs.planning import plan_coadd
from g3reduce.jobs.sampling import Grown, Sample, spread
from g3reduce.limits import LIMITS
from g3reduce.model import best
from g3reduce.mpi.memory import available

SMALL = {"cores_per_node": 8, "memory_per_node": 4e9}


def test_sums_of_one_footprint_do_not_grow_and_disjoint_ones_grow_with_the_files(tmp_path):
    same, apart = tmp_path / "same", tmp_path / "apart"
    for folder in (same, apart):
        folder.mkdir()
    width = SHAPE[1] // 8
    alike = plan_coadd(write(same, [(0, width)] * 4), files_total=8, **SMALL)
    others = plan_coadd(
        write(apart, [(at * width, (at + 1) * width) for at in range(4)]), files_total=8, **SMALL
    )
    hit = 2 * 8 * SHAPE[0] * width  # bytes of T and TT of one file
    assert hit <= alike.work.held <= 2 * hit  # stretches of pixels that are held as a whole
    assert alike.work.union == alike.work.held == others.work.held
    assert others.work.union == pytest.approx(8 * others.work.held)
    assert others.sample.coadds["Coadd"].whole == 2 * 8 * math.prod(SHAPE)


def test_sums_never_have_more_than_all_pixels(tmp_path):
    width = SHAPE[1] // 8
    files = write(tmp_path, [(at * width, (at + 1) * width) for at in range(4)])
    plan = plan_coadd(files, files_total=1000, **SMALL)
    assert plan.work.union == 2 * 8 * math.prod(SHAPE)


def test_each_id_has_its_sums_if_collated_and_exact_ones_are_three_times_as_large(tmp_path):
    frames = [patch(0, 64, "a"), patch(0, 64, "b")]
    file = skies.write_file(tmp_path / "two.g3", frames)
    one = plan_coadd(file, **SMALL).work.held
    assert plan_coadd(file, collate=True, **SMALL).work.held == 2 * one
    assert plan_coadd(file, map_ids=["a"], **SMALL).work.held == one
    assert plan_coadd(file, reproducible=True, **SMALL).work.held == 3 * one


@pytest.mark.parametrize(
    ("growth", "n_files"), list(itertools.product([0.0, 0.5, 1.0], [6, 7, 60]))
)
def test_the_law_by_which_sums_grow_is_found_again(growth, n_files):
    sums = [int(1e6 * number**growth) for number in range(1, 7)]
    assert Grown(sums, whole=10**9).union(n_files) == pytest.approx(1e6 * n_files**growth, rel=0.01)


def test_a_footprint_that_is_full_grows_no_more():
    assert Grown([3, 9, 10, 10, 10, 10], whole=10**9).union(10**5) == 10


def test_files_without_maps_that_are_asked_for_are_part_of_the_coadd_anywhere(tmp_path):
    frames = [[core.G3Frame(core.G3FrameType.Calibration)], [patch(0, 64, "b")], [patch(0, 64)]]
    *others, wanted = (
        skies.write_file(tmp_path / f"{number}.g3", each) for number, each in enumerate(frames)
    )
    alone = plan_coadd(wanted, map_ids=["a"], **SMALL)
    for files in ([*others, wanted], [wanted, *others]):
        plan = plan_coadd(files, map_ids=["a"], files_total=30, **SMALL)
        assert plan.sample.names == files
        assert len(plan.sample.went) == 1
        assert plan.work.held == alone.work.held
    with pytest.raises(InputError, match=r"no map with the Id 'a' in the 2 input files; these"):
        plan_coadd(others, map_ids=["a"], **SMALL)
    with pytest.raises(InputError, match="There is no Map frame in the input file of the sample"):
        plan_coadd(others, sample=1, **SMALL)


def test_sums_of_one_file_are_not_those_of_an_empty_one(tmp_path):
    plan = plan_coadd(write(tmp_path, [(0, 0), (0, 64), (0, 64)]), files_total=90, **SMALL)
    assert plan.work.held == plan.sample.sums > 0


def test_of_one_file_it_is_not_known_how_sums_grow_so_that_they_are_taken_to_be_apart(tmp_path):
    file = write(tmp_path, [(0, 64)])
    one = plan_coadd(file, **SMALL).work
    assert one.union == one.held
    assert plan_coadd(file, files_total=3, **SMALL).work.union == 3 * one.held
    assert plan_coadd(file, files_total=90, **SMALL).work.union == 2 * 8 * math.prod(SHAPE)


def test_files_are_taken_from_the_whole_list():
    names = list(map(str, range(100)))
    assert spread(names, 4) == ["0", "25", "50", "75"]
    assert spread(names[:3], 6) == names[:3]


def test_the_rate_is_that_of_all_files_together(tmp_path):
    assert Sample(["a", "b", "c"], [10, 20, 40], seconds=7.0).rate == 10
    began = time.perf_counter()
    seen = plan_coadd(write(tmp_path, [(0, 64), (0, 128)]), **SMALL).sample
    assert 0 < seen.seconds < time.perf_counter() - began


def test_what_is_chosen_is_what_the_model_says_of_the_figures_that_were_measured(tmp_path):
    files = write(tmp_path, [(0, 64), (0, 128), (32, 128)])
    plan = plan_coadd(files, nodes=4, files_total=5000, strategy="tree", **SMALL)
    sizes = list(map(os.path.getsize, files))
    assert plan.n_bytes == pytest.approx(5000 * np.mean(sizes))
    assert plan.work.slowest == pytest.approx(max(sizes) / np.mean(sizes))
    assert plan.chosen == best(plan.work, plan.cluster, "tree")
    assert [one.ranks_per_node for one in plan.others] == [1, 2, 4, 8]
    assert [one.nodes for one in plan.fewer] == [1, 2]
    assert plan.time_limit >= max(600, 2 * plan.chosen.seconds)
    assert plan.chosen.memory_node < plan.memory_limit <= plan.cluster.memory
    assert json.loads(json.dumps(plan.as_data()))["plan"]["ranks"] == plan.chosen.ranks


def test_a_long_job_gets_twice_its_time_and_asks_for_no_more_memory_than_there_is(tmp_path):
    plan = plan_coadd(write(tmp_path, [(0, 64)]), **SMALL)
    slow = dataclasses.replace(plan, chosen=dataclasses.replace(plan.chosen, reading=10_000.0))
    assert 20_000 < slow.time_limit < 20_400
    full = dataclasses.replace(plan, chosen=dataclasses.replace(plan.chosen, memory_node=3.9e9))
    assert full.memory_limit == 4e9


def test_ranks_that_read_much_are_counted_with_numba(tmp_path, monkeypatch):
    monkeypatch.delenv("G3REDUCE_KERNELS", raising=False)
    little, much = base_of(LIMITS.worth_compiling - 1), base_of(LIMITS.worth_compiling)
    assert much > 1.5 * little
    plan = plan_coadd(write(tmp_path, [(0, 64)]), **SMALL)
    assert plan.cluster.base == little
    monkeypatch.setenv("G3REDUCE_KERNELS", "numpy")
    assert base_of(1e12) == little


def test_what_cannot_be_planned_is_refused(tmp_path, monkeypatch):
    files = write(tmp_path, [(0, 64)])
    with pytest.raises(UsageError, match="memory"):
        plan_coadd(files, memory_per_node=1e6)
    with pytest.raises(UsageError, match="files_total is 1, but 2 files were named"):
        plan_coadd(files * 2, files_total=1)
    with pytest.raises(InputError, match=r"no\.g3: cannot be read"):
        plan_coadd([*files, str(tmp_path / "no.g3")])
    with pytest.raises(InputError, match="stream"):
        plan_coadd("tcp://host:1234")
    with pytest.raises(InputError, match=r"no map with the Id 'c' in the input file; these"):
        plan_coadd(files, map_ids=["c"])
    with pytest.raises(InputError, match=r"this is a folder; did you mean .*\*\.g3"):
        plan_coadd(str(tmp_path))
    (tmp_path / "maps.txt").write_text("no maps")
    with pytest.raises(InputError, match="the name does not say what format this is"):
        plan_coadd(str(tmp_path / "maps.txt"))
    (tmp_path / "broken.g3").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="broken"):
        plan_coadd(str(tmp_path / "broken.g3"))
    monkeypatch.setattr("g3reduce.jobs.sampling.available", lambda: 1000)
    with pytest.raises(UsageError, match="Plan on a node with more"):
        plan_coadd(files)
    assert available() > 1000


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("files_total", 0, "a whole number from 1 on"),
        ("sample", 2.5, "a whole number from 1 on"),
        ("nodes", 0, "a whole number from 1 to 20000"),
        ("nodes", 10**11, "a whole number from 1 to 20000"),  # would take hours, or all memory
        ("nodes", True, "a whole number"),
        ("cores_per_node", "64", "a whole number from 1 to 10000"),
        ("memory_per_node", "256G", "a number of bytes, such as 256e9"),
        ("read_rate", 0, "a number of bytes"),
        ("write_rate", None, "a number of bytes"),
        ("strategy", "best", "one of auto, gather"),
    ],
)
def test_figures_are_refused_by_their_names_before_any_file_is_read(
    name, value, expected, tmp_path
):
    (tmp_path / "broken.g3").write_bytes(b"x" * 100)
    with pytest.raises(UsageError, match=f"^{name} is {value!r}; expected {expected}"):
        plan_coadd(str(tmp_path / "broken.g3"), **{name: value})


def test_fewer_files_are_added_where_memory_is_short(tmp_path, monkeypatch):
    files = write(tmp_path, [(0, 64)] * 3)
    there = iter([1e9, 1000.0, 1e9])
    monkeypatch.setattr("g3reduce.jobs.sampling.available", lambda: next(there))
    assert plan_coadd(files).sample.names == files[:1]


def test_lines_say_what_there_is(tmp_path):
    plan = g3reduce.plan_coadd(write(tmp_path, [(0, 64)] * 2), nodes=2, **SMALL)
    text = "\n".join(plan.lines())
    for words in ("Ranks:", "on each of 2 nodes (of 8 cores)", "(of 4 GB)", "Fewer nodes: 1: "):
        assert words in text


def test_times_are_no_powers_of_ten():
    assert [duration(s) for s in (0.01, 1.23, 99.6, 110, 119.7, 7000, 9000)] == [
        *("0.1 s", "1.2 s", "100 s", "110 s", "2 min", "117 min", "2.5 h")
    ]
