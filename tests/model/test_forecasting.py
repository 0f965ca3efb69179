"""Forecasts of coadds: what must be true of them, and figures that were worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from g3reduce import UsageError
from g3reduce.choices import Result, choices_of
from g3reduce.model import Cluster, Sums, Work, best, forecast, forecasts
from g3reduce.strategies import Profile, names, predict

GB = 1e9
WORK = Work(files=1000, file_bytes=2 * GB, held=2 * GB, union=2 * GB)
PATCHES = Work(files=1000, file_bytes=2 * GB, held=2 * GB, union=50 * GB)
CLUSTER = Cluster(nodes=4, cores=16, memory=100 * GB, files_node=8 * GB, files_total=20 * GB)


def test_what_sets_the_pace_of_reading():
    """2000 GB: 4 ranks read 4 GB/s, 16 more than the 20 GB/s of the file system would give."""
    one, many = forecast(WORK, CLUSTER, 1), forecast(WORK, CLUSTER, 16)
    assert (one.reading, many.reading) == (500, 100)
    assert "on the ranks" in one.limit
    assert "from the file system" in many.limit
    narrow = forecast(WORK, replace(CLUSTER, files_node=2 * GB), 16)
    assert narrow.reading == 250
    assert "links" in narrow.limit


def test_the_last_files_are_waited_for():
    """Each takes 2 s. Of 10 files one of 4 ranks gets 3, which the mean rank does not."""
    few = replace(WORK, files=10)
    told = forecast(few, CLUSTER, 1)
    assert (told.reading, told.waiting) == (5, 1)
    slow = forecast(replace(few, slowest=3), CLUSTER, 1)
    assert slow.waiting == 1 + 4
    alone = forecast(replace(WORK, files=1), CLUSTER, 16)
    assert (alone.reading, alone.waiting) == (2, 0)
    assert forecast(replace(WORK, files=1, frame_bytes=GB), CLUSTER, 16).reading == 1


def test_joining_is_what_auto_would_predict():
    told = forecast(WORK, CLUSTER, 8)
    profile = Profile(32, 8, 2 * GB, 2 * GB, 2 * GB, direct=True)
    assert told.by_strategy == predict(profile)
    assert told.strategy == next(iter(told.by_strategy))
    assert told.joining == min(told.by_strategy.values())
    named = forecast(WORK, CLUSTER, 8, "gather")
    assert named.strategy == "gather"
    assert named.joining == told.by_strategy["gather"]


def test_one_node_and_one_rank_have_nothing_to_choose():
    one = replace(CLUSTER, nodes=1)
    assert (forecast(WORK, one, 1).strategy, forecast(WORK, one, 1).joining) == ("none", 0)
    assert forecast(WORK, one, 4).strategy == "on-node"
    assert forecast(WORK, one, 4).sent == 0


@pytest.mark.parametrize("result", choices_of(Result))
@pytest.mark.parametrize("work", [WORK, PATCHES], ids=["one patch", "patches"])
def test_memory_is_that_of_the_sums_and_what_a_strategy_needs(work, result):
    """Between the sums that a rank holds anyhow, and these with two unions and buffers besides."""
    work = replace(work, result=result)
    for strategy in names(result):
        told = forecast(work, CLUSTER, 4, strategy)
        assert work.held <= told.memory_rank <= told.memory_root + 2 * work.union
        assert told.memory_root <= CLUSTER.base + 2 * work.union + 64 * 2**20
        assert told.memory_node >= 4 * (work.held + CLUSTER.base)
        if result == "root":
            assert told.memory_root >= work.union


BUNDLES = replace(WORK, union=8 * GB, sums=[Sums(4, files=250, held=2 * GB, union=2 * GB)])


def test_a_rank_has_the_bundles_of_its_files_and_no_more_than_there_are():
    """Four bundles of one patch: a file goes to one of them."""
    assert [BUNDLES.held_after(files) / GB for files in (0.5, 1, 2, 3, 9)] == [2, 2, 4, 6, 8]
    two = [Sums(1, files=1000, held=GB, union=GB), Sums(1, files=500, held=GB, union=25 * GB)]
    both = replace(WORK, union=26 * GB, sums=two)
    assert both.held_after(1) == 2 * GB
    assert both.held_after(1000) == pytest.approx(26 * GB)
    # Of 16 files, 8 go to the second one, whose sums grow as the logarithms of 25 and 500 are.
    assert both.held_after(16) == pytest.approx((1 + 8 ** (math.log(25) / math.log(500))) * GB)


def test_coadds_are_joined_one_after_the_other():
    """What is at work for one of them is given back before the next."""
    whole = replace(WORK, held=8 * GB, union=8 * GB)
    for result in choices_of(Result):
        for strategy in names(result):
            one, other = (
                forecast(replace(work, result=result), CLUSTER, 4, strategy)
                for work in (BUNDLES, whole)
            )
            assert CLUSTER.base + 8 * GB <= one.memory_rank <= other.memory_rank
            assert one.memory_root <= other.memory_root
            assert one.joining == pytest.approx(other.joining, rel=0.05)  # the bytes are the same
    sharded = replace(whole, result="sharded")
    parts = replace(BUNDLES, result="sharded")
    spared = [forecast(work, CLUSTER, 4).memory_rank for work in (sharded, parts)]
    assert spared[0] - spared[1] > 0.1 * GB


def test_what_ranks_need_beside_their_sums_counts_while_they_add():
    beside = forecast(replace(WORK, beside=0.5), CLUSTER, 1, "gather")
    assert forecast(WORK, CLUSTER, 1, "gather").memory_rank < beside.memory_rank
    assert beside.memory_rank == CLUSTER.base + 3 * GB
    assert forecast(replace(WORK, beside=0.5), CLUSTER, 4).memory_node >= 4 * 3 * GB


def test_shards_need_less_memory_than_a_root():
    held = {
        result: forecast(replace(PATCHES, result=result), CLUSTER, 1, "owner").memory_root
        for result in choices_of(Result)
    }
    assert held["sharded"] < held["root"] <= held["all"]


def test_the_best_is_done_first_of_those_that_fit():
    found = forecasts(PATCHES, CLUSTER)
    assert [one.ranks_per_node for one in found] == [1, 2, 4, 8, 16]
    taken = best(PATCHES, CLUSTER)
    assert taken.fits
    assert all(taken.seconds <= 1.02 * one.seconds for one in found if one.fits)
    roomy = best(PATCHES, replace(CLUSTER, memory=1e13))
    assert roomy.seconds <= taken.seconds
    tight = replace(CLUSTER, memory=found[1].memory_node)
    assert best(PATCHES, tight).ranks_per_node <= 2
    with pytest.raises(UsageError, match=r"with 1 rank on it, but a node has 1 GB.*sharded"):
        best(PATCHES, replace(CLUSTER, memory=GB))


def test_more_nodes_and_faster_files_take_less_time():
    before = best(WORK, CLUSTER).seconds
    assert best(WORK, replace(CLUSTER, files_total=40 * GB)).seconds < before
    assert best(WORK, replace(CLUSTER, nodes=1)).seconds > before
    assert best(replace(WORK, files=2000), CLUSTER).seconds > before


def test_shards_are_written_by_all_nodes():
    alone, shards = (forecast(replace(WORK, result=to), CLUSTER, 8) for to in ("root", "sharded"))
    assert alone.writing == 2
    assert shards.writing == pytest.approx(2 / 20)
    assert forecast(replace(WORK, output_bytes=0), CLUSTER, 8).writing == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(WORK, files=0), r"Work: files is 0; expected a number from 1 on"),
        (lambda: replace(WORK, held=3 * GB), r"held=3e\+09 .* more than the union=2e\+09"),
        (lambda: replace(WORK, slowest=0.5), r"slowest is 0.5"),
        (lambda: replace(WORK, union=float("nan")), r"union is nan"),
        (lambda: replace(WORK, result="here"), r"result"),
        (lambda: replace(WORK, beside=-1), r"Work: beside is -1; expected a number from 0 on"),
        (lambda: Sums(1, 1, 3 * GB, GB), r"Sums: the sums of one file have held=3e\+09 bytes"),
        (lambda: Sums("4", 1, GB, GB), r"Sums: number is '4'; expected a number"),
        (lambda: replace(CLUSTER, memory="256G"), r"Cluster: memory is '256G'; expected a number"),
        (lambda: replace(WORK, held=None), r"Work: held is None; expected a number"),
        (lambda: replace(CLUSTER, files_rank=0), r"Cluster: files_rank is 0"),
        (lambda: forecast(WORK, CLUSTER, 17), r"17 ranks on each node; expected from 1 to 16"),
        (lambda: forecast(WORK, CLUSTER, 1, "allgather"), r"expected one of"),
    ],
)
def test_figures_that_make_no_sense_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
