"""The simulation of strategies: it counts what they send to the byte, and times as worked out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from choices import among_all

from benchmarks.model import __main__ as command_line
from benchmarks.model.joining import footprints, simulate
from benchmarks.model.ranks import Deadlock, Ranks
from benchmarks.model.reading import read_all
from g3reduce import strategies
from g3reduce.arrays import SUM
from g3reduce.arrays.blocks import Blocks
from g3reduce.choices import Result, choices_of
from g3reduce.limits import LIMITS
from g3reduce.model import Cluster, Work, forecast
from g3reduce.strategies import Machine, Profile, names, predict

LENGTH = 128
ROW_BYTES = 8 * LENGTH
UNIONS = {"identical": 40, "overlapping": 75, "disjoint": 200}
HELD = 40


@pytest.mark.ranks(2, 3, 5)
@pytest.mark.parametrize("result", choices_of(Result))
@pytest.mark.parametrize(
    "overlap",
    [
        "overlapping",
        pytest.param("identical", marks=among_all),
        pytest.param("disjoint", marks=among_all),
    ],
)
def test_bytes_and_messages_are_those_of_real_ranks(
    comm, ways_of_memory, result, overlap, monkeypatch
):
    """Each rank of the simulation sends what the same rank sends really, in as many messages."""
    monkeypatch.setattr(LIMITS, "message_piece", 8 * ROW_BYTES)
    monkeypatch.setattr(LIMITS, "scratch_part", 16 * ROW_BYTES)
    mine = ways_of_memory("messages")
    union = UNIONS[overlap] if overlap != "disjoint" else HELD * comm.size
    held = footprints(comm.size, HELD, union)
    for strategy in names(result):
        blocks = Blocks(union, LENGTH, {"T": "f8", "Q": "f8"})
        blocks.insert(held[comm.rank])
        told = strategies.reduce(mine, blocks, SUM, strategy, result=result).statistics
        found = simulate(strategy, held, union, ROW_BYTES, Machine(), n_planes=2, result=result)
        assert told.bytes_sent == found.sent[comm.rank], strategy
        assert told.messages == found.messages[comm.rank], strategy


def test_one_message_after_another():
    """Two ranks on two nodes: a plane of 4 GB takes half a second, and one to be added."""
    machine = Machine(bandwidth_between=8e9, latency_between=0, adding=4e9, fresh=1e30, meeting=0)
    rows = [np.arange(4000)] * 2
    found = simulate("tree", rows, 4000, 10**6, machine, nodes=[0, 1])
    assert found.seconds == pytest.approx(1.5, rel=1e-3)
    assert found.between == pytest.approx(4e9, rel=1e-4)
    late = simulate("tree", rows, 4000, 10**6, machine, nodes=[0, 1], late=[0, 10])
    assert late.seconds == pytest.approx(11.5, rel=1e-3)


def test_a_node_has_one_link_for_all_its_ranks():
    machine = Machine(bandwidth_between=1e9, latency_between=0, fresh=1e30, meeting=0)
    rows = [np.arange(100)] * 4
    apart = simulate("gather", rows, 100, 10**6, machine, nodes=[0, 1, 2, 3]).seconds
    assert apart == pytest.approx(3 * (0.1 + 0.025), rel=1e-2)  # the root takes one by one
    pairs = simulate("tree", rows, 100, 10**6, machine, nodes=[0, 0, 1, 1])
    assert pairs.between == pytest.approx(1e8, rel=1e-2)  # one of them crosses


@pytest.mark.parametrize("result", choices_of(Result))
@pytest.mark.parametrize(("held", "union"), [(400, 400), (400, 1600), (400, 6400)])
def test_the_costs_are_about_those_of_the_simulation(held, union, result):
    """On 16 nodes: what is chosen by the costs is at most 1.25 times the best of the simulation."""
    row = 2**16
    rows = footprints(16, held, union)
    costs = predict(Profile(16, 1, held * row, held * row, union * row, result))
    found = {
        name: simulate(name, rows, union, row, Machine(), result=result, nodes=range(16)).seconds
        for name in costs
    }
    chosen = next(iter(costs))
    assert found[chosen] <= 1.25 * min(found.values())
    for name, seconds in costs.items():
        assert 0.4 < found[name] / seconds < 2.5, name


@among_all
def test_the_page_about_scale_is_made(tmp_path, capsys):
    command_line.main(["--quick", "--output", str(tmp_path)])
    page = (tmp_path / "scale.md").read_text()
    assert "**is a model**" in page
    assert "| nside 8192, 4 % " in page
    assert (tmp_path / "scale.png").stat().st_size > 10_000


def test_ranks_that_wait_for_each_other_are_told():
    ranks = Ranks(3)
    with pytest.raises(Deadlock, match="3 simulated ranks"):
        ranks.run(lambda rank: ranks.wait())


def test_an_error_on_one_rank_ends_all():
    ranks = Ranks(3)

    def work(rank):
        if rank == 1:
            raise ValueError("here")
        ranks.wait()

    with pytest.raises(ValueError, match="here"):
        ranks.run(work)


def test_ranks_share_the_file_system():
    """By hand: ten files of 1 GB, on two nodes of two ranks."""
    of = {"nodes": 2, "cores": 2, "files_rank": 1e9, "files_node": 1e12, "files_total": 1e12}
    sizes = [1e9] * 10
    assert read_all(sizes, Cluster(**of), 2) == pytest.approx(3)
    assert read_all(sizes, Cluster(**{**of, "files_total": 2e9}), 2) == pytest.approx(5)
    assert read_all(sizes, Cluster(**{**of, "files_node": 1e9}), 2) == pytest.approx(5)
    # The last one takes 4 s, of which the others take 2 s.
    assert read_all([*sizes[:-1], 4e9], Cluster(**of), 2) == pytest.approx(6)
    assert read_all([], Cluster(**of), 2) == 0


def test_forecasts_read_as_fast_as_the_simulation():
    cluster = Cluster(nodes=4, cores=8, files_total=20e9, files_node=6e9)
    for files, each in itertools.product((5, 32, 100, 1000), (1, 2, 8)):
        work = Work(files=files, file_bytes=1e9, held=1e9, union=1e9, slowest=3)
        told = forecast(work, cluster, each)
        found = read_all([1e9] * (files - 1) + [3e9], cluster, each)
        assert told.reading + told.waiting == pytest.approx(found, rel=0.35), (files, each)
