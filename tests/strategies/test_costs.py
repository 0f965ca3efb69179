"""The cost model: what must be true of it, whatever the figures of the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from g3reduce import strategies
from g3reduce.choices import Result, choices_of
from g3reduce.strategies import Machine, Profile, predict
from g3reduce.strategies.measure import measure

MB = 1e6


def sparse(ranks=64, per_node=1, each=100 * MB, **others):
    """Disjoint footprints."""
    return Profile(ranks, per_node, held=each, largest=each, union=ranks * each, **others)


def dense(ranks=64, per_node=1, each=100 * MB, **others):
    """The same footprint on all."""
    return Profile(ranks, per_node, held=each, largest=each, union=each, **others)


def test_only_strategies_that_can_are_predicted():
    for result in choices_of(Result):
        found = predict(dense(result=result))
        assert set(found) == set(strategies.names(result))
        assert list(found.values()) == sorted(found.values())


@pytest.mark.parametrize("ranks", [8, 64, 1000])
def test_disjoint_footprints_go_to_owners_or_up_the_tree(ranks):
    seconds = predict(sparse(ranks))
    assert seconds["owner"] < seconds["allreduce"]
    assert seconds["tree"] < seconds["allreduce"]
    shards = predict(sparse(ranks, result="sharded"))
    assert shards["owner"] < shards["reduce_scatter"] / 3
    assert predict(sparse(ranks, result="all"))["owner"] < seconds["allreduce"]


@pytest.mark.parametrize("ranks", [8, 64, 1000])
def test_large_dense_maps_are_scattered_and_not_sent_up_a_tree(ranks):
    seconds = predict(dense(ranks))
    assert seconds["allreduce"] < seconds["tree"] < seconds["gather"]


def test_tiny_sums_go_the_way_with_the_fewest_messages():
    seconds = predict(dense(1000, each=1000))
    assert seconds["tree"] < seconds["owner"]
    assert seconds["tree"] < seconds["gather"]
    assert next(iter(seconds)) == "tree"


def test_two_ranks_may_as_well_gather():
    seconds = predict(dense(2))
    assert seconds["gather"] == pytest.approx(seconds["tree"])


@pytest.mark.parametrize("make", [sparse, dense])
@pytest.mark.parametrize("result", choices_of(Result))
def test_more_bytes_more_ranks_and_slower_machines_take_longer(make, result):
    profile = make(16, result=result)
    slower = [
        replace(profile, held=profile.held * 2, largest=profile.held * 2, union=profile.union * 2),
        replace(profile, machine=Machine(bandwidth_between=1e9)),
        replace(profile, machine=Machine(latency_between=1e-2)),
        replace(profile, machine=Machine(adding=1e8)),
    ]
    for other in slower:
        before, after = predict(profile), predict(other)
        assert all(after[name] > before[name] for name in before)


def test_the_union_of_some_ranks_is_right_for_one_and_for_all():
    for profile in (sparse(), dense(), Profile(64, 1, 10 * MB, 10 * MB, 200 * MB)):
        assert profile.union_of(1) == pytest.approx(profile.held)
        assert profile.union_of(64) == pytest.approx(profile.union)
        unions = [profile.union_of(ranks) for ranks in range(1, 65)]
        assert unions == sorted(unions)
    assert sparse().union_of(16) == pytest.approx(16 * 100 * MB)
    assert Profile(4, 1, 0, 0, 0).union_of(2) == 0


def test_a_node_shares_its_link_unless_it_has_summed_up_before():
    together = dense(64, per_node=16)
    assert predict(together)["owner"] > predict(dense(64))["owner"]
    assert predict(replace(together, direct=True))["owner"] < predict(together)["owner"]
    first_ranks = replace(together, direct=True).of_first_ranks()
    assert (first_ranks.ranks, first_ranks.ranks_per_node, first_ranks.held) == (4, 1, 100 * MB)
    assert sparse(64, per_node=16, node_union=700.0).of_first_ranks().held == 700


def test_on_one_node_whose_ranks_use_each_others_memory_all_strategies_are_the_same():
    seconds = predict(dense(8, per_node=8, direct=True))
    assert len(set(seconds.values())) == 1


@pytest.mark.parametrize("make", [sparse, dense])
def test_figures_of_collectives_that_were_measured_count(make):
    """A slow one of the library makes the strategies slower that call it, and no other."""
    calls = {
        "reducing": {("allreduce", "root")},
        "allreducing": {("allreduce", "all")},
        "scattering": {("reduce_scatter", to) for to in choices_of(Result)},
        "swapping": {("owner", to) for to in choices_of(Result)},
    }
    for figure, expected in calls.items():
        slower = set()
        for result in choices_of(Result):
            before = predict(make(16, result=result))
            after = predict(make(16, result=result, machine=Machine(**{figure: 1e7})))
            slower |= {(name, result) for name in before if after[name] > before[name]}
            assert all(
                after[name] == before[name] for name in before if (name, result) not in slower
            )
        assert slower == expected


def test_each_step_takes_longer_where_ranks_wait_for_a_core():
    before, after = (predict(dense(4, machine=Machine(meeting=m))) for m in (1e-5, 1e-2))
    assert after["tree"] == before["tree"]  # pairs of ranks
    assert after["owner"] - before["owner"] > after["reduce_scatter"] - before["reduce_scatter"]
    assert after["allreduce"] > before["allreduce"]


def test_nothing_is_held_anywhere():
    for result in choices_of(Result):
        assert all(cost >= 0 for cost in predict(Profile(5, 2, 0, 0, 0, result)).values())


@pytest.mark.ranks(2, 3, one_node=True)
def test_the_machine_is_measured_and_the_same_on_all_ranks(comm):
    from g3reduce.mpi import communicators
    from g3reduce.strategies.nodes import nodes_of

    private = communicators.private(comm)
    nodes = nodes_of(private)
    machine = measure(nodes, direct=False)
    assert len(set(comm.allgather(machine))) == 1
    assert 1e-8 < machine.latency_within < 1
    assert 1e6 < machine.bandwidth_within < 1e13
    assert 1e6 < machine.adding < 1e13
    for figure in ("alone_within", "fresh", "reducing", "allreducing", "scattering", "swapping"):
        assert 1e6 < getattr(machine, figure) < 1e13, figure
    assert 0 < machine.meeting < 10
    assert machine.bandwidth_between == Machine().bandwidth_between  # there is one node


@pytest.mark.ranks(2)
def test_auto_measures_only_what_is_worth_it_and_says_why(comm, monkeypatch):
    import numpy as np

    from g3reduce.arrays import SUM
    from g3reduce.arrays.blocks import Blocks
    from g3reduce.mpi import communicators
    from g3reduce.strategies import nodes as places

    monkeypatch.setenv(places.DIRECT_MEMORY, "0")
    mine = comm.Dup()
    cache = communicators.cache_of(communicators.private(mine))

    def reduce(n_rows, **others):
        blocks = Blocks(n_rows, 1024, {"T": "f8"})
        blocks.insert(np.arange(n_rows))
        return strategies.reduce(mine, blocks, SUM, **others).statistics

    assert "tree" in reduce(10).why
    assert "machine" not in cache.entries
    reduce(300, strategy="tree")
    reduce(300, machine=Machine())
    assert "machine" not in cache.entries
    told = reduce(300)
    assert isinstance(cache.entries["machine"], Machine)
    assert all(name in told.why for name in strategies.names("root"))
    slow_tree = Machine(latency_within=10.0, bandwidth_within=1e12)
    assert reduce(300, machine=slow_tree).strategy in ("gather", "tree")
    comm.Barrier()
    mine.Free()


@pytest.mark.ranks(2, one_node=True)
def test_nothing_is_measured_where_nothing_is_to_be_chosen(comm, ways_of_memory):
    """The ranks of one node join their sums in their memory, whatever messages take."""
    import numpy as np

    from g3reduce.arrays import SUM
    from g3reduce.arrays.blocks import Blocks
    from g3reduce.mpi import communicators

    mine = ways_of_memory("direct")
    blocks = Blocks(300, 1024, {"T": "f8"})
    blocks.insert(np.arange(300))
    assert strategies.reduce(mine, blocks, SUM).statistics.direct
    assert "machine" not in communicators.cache_of(communicators.private(mine)).entries
