"""Every strategy, with every place for the result, against a plain sum in numpy.

The planes hold small integers, so that sums are exact in any order.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import signal

import numpy as np
import pytest
from ways import MEMORY, WAYS

import g3reduce
from g3reduce import Reduction, strategies
from g3reduce.arrays import SUM
from g3reduce.arrays.blocks import Blocks
from g3reduce.choices import Result, choices_of
from g3reduce.errors import G3ReduceError, InterruptedByUser, RemoteError, UsageError
from g3reduce.mpi import communicators
from g3reduce.strategies import nodes, onnode, peers, registry

N_ROWS, LENGTH = 23, 5
DTYPES = {"T": "f8", "hits": "i4"}


def random_rows(rng, rank):
    return np.flatnonzero(rng.random(N_ROWS) < rng.random())


FOOTPRINTS = {
    "random": random_rows,
    "complete": lambda rng, rank: np.arange(N_ROWS),
    "disjoint": lambda rng, rank: np.arange(4 * rank, 4 * rank + 4),
    "identical": lambda rng, rank: np.arange(3, 15),
    "overlapping": lambda rng, rank: np.arange(3 * rank, 3 * rank + 6),
    "only the last rank": lambda rng, rank: np.arange(0),
    "none": lambda rng, rank: np.arange(0),
}


def blocks_of(rank, size, footprint, seed=0):
    """What a rank holds. Any rank can make what any other has."""
    rng = np.random.default_rng([seed, rank])
    rows = FOOTPRINTS[footprint](rng, rank)
    if footprint == "only the last rank" and rank == size - 1:
        rows = np.array([2, 3, 9])
    blocks = Blocks(N_ROWS, LENGTH, DTYPES)
    blocks.insert(rows.astype(np.int64))
    for plane in blocks.planes.values():
        plane[:] = rng.integers(-1000, 1000, plane.shape)
    return blocks


def whole(blocks):
    """All rows of all planes, with zeros where rows are not held; and which are."""
    held = np.zeros(N_ROWS, bool)
    held[blocks.rows] = True
    planes = {}
    for name, plane in blocks.planes.items():
        planes[name] = np.zeros((N_ROWS, LENGTH), plane.dtype)
        planes[name][blocks.rows] = plane
    return held, planes


def expected_of(size, footprint, seed=0):
    parts = [whole(blocks_of(rank, size, footprint, seed)) for rank in range(size)]
    held, planes = parts[0]
    for other_held, other_planes in parts[1:]:
        held = held | other_held
        planes = {name: plane + other_planes[name] for name, plane in planes.items()}
    return held, planes


@pytest.fixture
def small_pieces(limits):
    """Pieces so small that there are many of them."""
    row = LENGTH * 8
    limits(message_piece=5 * row, scratch_part=9 * row, node_piece=3 * row)


def check(comm, outcome, footprint, result, root, seed=0):
    held, planes = expected_of(comm.size, footprint, seed)
    blocks = outcome.blocks
    if blocks is not None and outcome.statistics.direct and result != "sharded":
        blocks.sort()
    if result == "sharded":
        shares = comm.allgather(blocks.rows)
        assert np.array_equal(np.sort(np.concatenate(shares)), np.flatnonzero(held))
        assert all(np.all(np.diff(share) > 0) for share in shares)
    elif result == "root" and comm.rank != root:
        assert blocks is None
        return
    else:
        assert np.array_equal(blocks.rows, np.flatnonzero(held))
    assert list(blocks.planes) == list(DTYPES)
    for name, plane in blocks.planes.items():
        assert plane.dtype == DTYPES[name]
        assert plane.flags.c_contiguous
        np.testing.assert_array_equal(plane, planes[name][blocks.rows])


@pytest.mark.ranks(1, 2, 3, 5)
@pytest.mark.parametrize("how", MEMORY)
@pytest.mark.parametrize(("strategy", "result"), WAYS)
def test_every_way_is_the_plain_sum(comm, ways_of_memory, small_pieces, strategy, result, how):
    mine = ways_of_memory(how)
    for seed, footprint in enumerate(FOOTPRINTS):
        root = seed % comm.size
        blocks = blocks_of(comm.rank, comm.size, footprint, seed)
        outcome = strategies.reduce(mine, blocks, SUM, strategy, result=result, root=root)
        check(comm, outcome, footprint, result, root, seed)


@pytest.mark.ranks(3)
@pytest.mark.parametrize("how", MEMORY)
@pytest.mark.parametrize(("strategy", "result"), WAYS)
def test_rows_longer_than_a_piece(comm, ways_of_memory, limits, strategy, result, how):
    limits(message_piece=16, scratch_part=32, node_piece=16)
    mine = ways_of_memory(how)
    blocks = blocks_of(comm.rank, comm.size, "random")
    outcome = strategies.reduce(mine, blocks, SUM, strategy, result=result)
    check(comm, outcome, "random", result, 0)


@pytest.mark.ranks(3)
@pytest.mark.parametrize("how", MEMORY)
@pytest.mark.parametrize(("strategy", "result"), WAYS)
def test_other_operations_than_sums(comm, ways_of_memory, strategy, result, how):
    """The identity is what a rank holds of a row that it does not hold."""
    least = np.iinfo(np.int32).min
    maximum = Reduction("max", np.maximum, identity=least, operation="MAX")
    mine = ways_of_memory(how)
    blocks = Blocks(N_ROWS, LENGTH, {"T": "i4"}, fill=least)
    blocks.insert(np.arange(comm.rank, comm.rank + 4))
    blocks.planes["T"][:] = -10 - comm.rank
    outcome = strategies.reduce(mine, blocks, maximum, strategy, result=result)
    if outcome.blocks is not None:
        expected = [[-10 - max(0, row - 3)] * LENGTH for row in outcome.blocks.rows]
        assert outcome.blocks.planes["T"].tolist() == expected


@pytest.mark.ranks(3, 5)
@pytest.mark.parametrize("how", MEMORY)
@pytest.mark.parametrize("strategy", ["gather", "tree", "owner"])
def test_the_same_ranks_make_the_same_bits(comm, ways_of_memory, strategy, how):
    mine = ways_of_memory(how)
    sums = []
    for _ in range(3):
        blocks = Blocks(N_ROWS, LENGTH, {"T": "f8"})
        blocks.insert(np.arange(comm.rank, 15))
        rng = np.random.default_rng(comm.rank)
        blocks.planes["T"][:] = rng.normal(size=(len(blocks.rows), LENGTH)) * 10.0 ** rng.integers(
            -8, 8, (len(blocks.rows), LENGTH)
        )
        outcome = strategies.reduce(mine, blocks, SUM, strategy)
        if comm.rank == 0:
            sums.append(outcome.blocks.planes["T"].tobytes())
    assert len(set(sums)) <= 1


@pytest.mark.ranks(2, 3, 5, one_node=True)
def test_statistics_tell_what_was_done(comm, ways_of_memory):
    mine = ways_of_memory("messages")
    row = LENGTH * (8 + 4)
    for strategy, result in WAYS:
        blocks = blocks_of(comm.rank, comm.size, "identical")
        told = strategies.reduce(mine, blocks, SUM, strategy, result=result).statistics
        assert (told.ranks, told.nodes, told.direct) == (comm.size, 1, False)
        assert told.strategy == strategy or strategy == "auto"
        assert told.why
        assert told.seconds > 0
        assert told.predicted > 0
        everywhere = comm.allgather(told)
        assert sum(one.bytes_sent for one in everywhere) >= 12 * row * (comm.size - 1)
        assert sum(one.messages for one in everywhere) >= comm.size - 1
        if strategy in ("gather", "tree"):
            assert sum(one.bytes_sent for one in everywhere) == sum(
                one.bytes_received for one in everywhere
            )
        assert str(told).startswith(told.strategy)


@pytest.mark.ranks(5)
def test_owner_moves_the_sum_of_the_footprints_not_the_union(comm, ways_of_memory):
    mine = ways_of_memory("messages")
    sent = {}
    for strategy in ("owner", "reduce_scatter"):
        blocks = Blocks(5000, 64, {"T": "f8"})
        blocks.insert(np.arange(1000 * comm.rank, 1000 * comm.rank + 1000))
        footprint = blocks.nbytes
        told = strategies.reduce(mine, blocks, SUM, strategy, result="sharded").statistics
        sent[strategy] = told.bytes_sent
    assert sent["owner"] < 1.02 * footprint
    assert sent["reduce_scatter"] >= 5 * footprint


@pytest.mark.ranks(2, 3, 5, one_node=True)
def test_statistics_say_whose_memory_was_used(comm, ways_of_memory):
    for how, n_nodes in (("messages", 1), ("direct", 1), ("two per node", -(-comm.size // 2))):
        mine = ways_of_memory(how)
        blocks = blocks_of(comm.rank, comm.size, "identical")
        told = strategies.reduce(mine, blocks, SUM, "tree").statistics
        assert told.nodes == n_nodes
        assert told.direct == (how != "messages")
        assert told.strategy == ("on-node" if told.direct and n_nodes == 1 else "tree")
        alone = how == "two per node" and comm.size % 2 == 1 and comm.rank == comm.size - 1
        assert (told.bytes_direct > 0) == (told.direct and not alone)


@pytest.mark.ranks(2, 3, one_node=True)
def test_sums_stay_in_the_arrays_that_hold_them(comm, ways_of_memory):
    """Of the root, if it has all rows; so no fresh memory is filled."""
    mine = ways_of_memory("direct")
    root = comm.size - 1
    blocks = blocks_of(comm.rank, comm.size, "identical")
    planes = dict(blocks.planes)
    outcome = strategies.reduce(mine, blocks, SUM, root=root)
    check(comm, outcome, "identical", "root", root)
    if comm.rank == root:
        assert all(outcome.blocks.planes[name] is plane for name, plane in planes.items())


@pytest.mark.ranks(2, 3, 5, one_node=True)
@pytest.mark.parametrize("result", choices_of(Result))
def test_ranks_of_a_node_may_hold_their_rows_in_any_order(comm, ways_of_memory, limits, result):
    mine = ways_of_memory("direct")
    limits(node_piece=3 * LENGTH * 8)
    footprint = "identical"
    held = blocks_of(comm.rank, comm.size, footprint)
    blocks = Blocks(N_ROWS, LENGTH, DTYPES)
    for row in np.random.default_rng(comm.rank).permutation(held.rows):
        blocks.append(np.array([row]))
    for name, plane in blocks.planes.items():
        plane[:] = held.planes[name][held.locate(blocks.rows)]
    in_their_order = blocks.rows
    outcome = strategies.reduce(mine, blocks, SUM, result=result)
    joined = outcome.blocks
    if joined is not None and result != "sharded":
        assert joined.rows is in_their_order  # nothing was moved
    check(comm, outcome, footprint, result, 0)


@pytest.mark.ranks(2, 3, one_node=True)
@pytest.mark.parametrize("n_held", [600, 1800])
def test_missing_rows_come_behind_those_that_are_held(comm, ways_of_memory, limits, n_held):
    """In the memory that was taken in reserve, if there is enough."""
    mine = ways_of_memory("direct")
    limits(node_piece=4 * LENGTH * 8)
    n_rows = 3000
    rng = np.random.default_rng(comm.rank)
    blocks = Blocks(n_rows, LENGTH, {"T": "f8"})
    for rows in np.split(rng.permutation(2000)[:n_held], 2):
        blocks.append(rows)
    blocks.planes["T"][:] = blocks.rows[:, None] + comm.rank
    held, plane, room = blocks.rows, blocks.planes["T"], blocks.room
    everyone = comm.allgather(held)
    outcome = strategies.reduce(mine, blocks, SUM)
    if comm.rank:
        return
    joined = outcome.blocks
    union = functools.reduce(np.union1d, everyone)
    assert joined.rows[: len(held)].tolist() == held.tolist()
    assert np.sort(joined.rows).tolist() == union.tolist()
    assert (len(union) <= room) == (n_held == 1800)
    assert np.shares_memory(joined.planes["T"], plane) == (len(union) <= room)
    for rank, rows in enumerate(everyone):
        joined.planes["T"][joined.locate(rows)] -= rows[:, None] + rank
    assert not joined.planes["T"].any()


@pytest.mark.ranks(2, one_node=True)
def test_a_switch_on_one_rank_keeps_all_to_messages(comm, ways_of_memory, monkeypatch):
    mine = ways_of_memory("direct")
    if comm.rank == 1:
        monkeypatch.setenv(nodes.DIRECT_MEMORY, "0")
    found = nodes.nodes_of(communicators.private(mine))
    assert not found.direct
    assert found.why == "G3REDUCE_DIRECT_MEMORY=0"


@pytest.mark.ranks(2, 3)
def test_one_rank_for_each_node_has_nobody_to_read_from(comm, ways_of_memory, monkeypatch):
    mine = ways_of_memory("direct")
    monkeypatch.setenv(nodes.RANKS_PER_NODE, "1")
    found = nodes.nodes_of(communicators.private(mine))
    assert found.numbers == tuple(range(comm.size))
    assert found.why == "one rank on each node"


WRONG = [(nodes.RANKS_PER_NODE, "many"), (nodes.RANKS_PER_NODE, "-1"), (nodes.DIRECT_MEMORY, "no")]


@pytest.mark.ranks(2)
@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_an_environment_that_cannot_be_used_is_refused_on_all(
    comm, ways_of_memory, monkeypatch, variable, value
):
    """Modules refuse it when they are made, before anything is read."""
    mine = ways_of_memory("direct")
    if comm.rank == 0:
        monkeypatch.setenv(variable, value)
    makes = (
        lambda: nodes.nodes_of(communicators.private(mine)),
        lambda: g3reduce.MPIMapCoadder(mine),
        lambda: g3reduce.MPIReducer(g3reduce.reductions.count("T"), mine),
        lambda: g3reduce.coadd_files("no such file.g3", mpicomm=mine),
    )
    for make in makes:
        with pytest.raises(UsageError if comm.rank == 0 else RemoteError) as caught:
            make()
        assert f"{variable}={value}" in str(caught.value)


def refusal(monkeypatch, name):
    """Let the system refuse to this rank one of the two calls by which it uses others' memory."""
    call = peers._system_call

    def system_call(asked):
        if asked == name:
            ctypes.set_errno(errno.EPERM)
            return lambda *arguments: -1
        return call(asked)

    monkeypatch.setattr(peers, "_system_call", system_call)


CALLS = ("process_vm_readv", "process_vm_writev")


@pytest.mark.ranks(2, 3, 5, one_node=True)
@pytest.mark.parametrize("call", CALLS)
def test_ranks_that_may_not_look_at_each_other_exchange_messages(
    comm, ways_of_memory, monkeypatch, call
):
    mine = ways_of_memory("direct")
    if comm.rank == comm.size - 1:
        refusal(monkeypatch, call)
    found = nodes.nodes_of(communicators.private(mine))
    assert not found.direct
    assert comm.allgather(found.why) == [found.why] * comm.size
    assert f"rank {comm.size - 1}: the memory of rank 0 of its node" in found.why
    assert f"{call}: Operation not permitted" in found.why
    for strategy, result in WAYS:
        blocks = blocks_of(comm.rank, comm.size, "overlapping")
        outcome = strategies.reduce(mine, blocks, SUM, strategy, result=result)
        assert not outcome.statistics.direct
        check(comm, outcome, "overlapping", result, 0)


@pytest.mark.ranks(2, one_node=True)
def test_a_system_without_such_calls_exchanges_messages(comm, ways_of_memory, monkeypatch):
    def missing(name):
        raise OSError(f"this system has no {name}")

    mine = ways_of_memory("direct")
    monkeypatch.setattr(peers, "_system_call", missing)
    assert "no process_vm_readv" in nodes.nodes_of(communicators.private(mine)).why


@pytest.mark.ranks(2, one_node=True)
def test_a_rank_that_is_not_where_it_says_is_not_written_to(comm, ways_of_memory, monkeypatch):
    """In another container its pid is that of somebody else."""
    mine = ways_of_memory("direct")
    told = peers.address_of
    elsewhere = np.zeros(64, np.uint64)
    if comm.rank == 1:
        monkeypatch.setattr(peers, "address_of", lambda array: told(elsewhere))
    found = nodes.nodes_of(communicators.private(mine))
    assert "its memory is not where it says" in found.why
    assert not elsewhere[2:].any()


@pytest.mark.ranks(2, 3, one_node=True)
@pytest.mark.parametrize("result", choices_of(Result))
@pytest.mark.parametrize("call", CALLS)
def test_memory_that_is_refused_later_is_an_error_on_all(
    comm, ways_of_memory, monkeypatch, call, result
):
    """After it the communicator works as before."""
    mine = ways_of_memory("direct")
    named = strategies.names(result)[-1]
    nodes.nodes_of(communicators.private(mine))
    if (call, result) != ("process_vm_writev", "sharded"):  # where nothing is written
        for inside_a_guard in (False, True):
            with monkeypatch.context() as patch:
                if comm.rank == comm.size - 1:
                    refusal(patch, call)
                blocks = blocks_of(comm.rank, comm.size, "identical")
                context = g3reduce.guard(mine) if inside_a_guard else contextlib.nullcontext()
                expected = r"G3REDUCE_DIRECT_MEMORY=0 in|another rank failed"
                with pytest.raises(G3ReduceError, match=expected), context:
                    strategies.reduce(mine, blocks, SUM, named, result=result)
    blocks = blocks_of(comm.rank, comm.size, "identical")
    outcome = strategies.reduce(mine, blocks, SUM, named, result=result)
    assert outcome.statistics.strategy == "on-node"
    check(comm, outcome, "identical", result, 0)


@pytest.mark.ranks(2, 3, one_node=True)
def test_memory_that_the_root_lacks_is_an_error_on_all(comm, ways_of_memory, monkeypatch):
    mine = ways_of_memory("direct")

    def no_memory(*arguments):
        raise MemoryError

    if comm.rank == 0:
        monkeypatch.setattr(onnode, "_room_for", no_memory)
    blocks = blocks_of(comm.rank, comm.size, "overlapping")
    expected = MemoryError if comm.rank == 0 else RemoteError
    with pytest.raises(expected, match="no memory for the sums of"):
        strategies.reduce(mine, blocks, SUM)


@pytest.mark.ranks(2, 3, one_node=True)
@pytest.mark.parametrize("place", ["positions_of", "pieces_of"])
def test_arrays_of_an_interrupted_rank_stay_while_others_are_at_work(
    comm, ways_of_memory, monkeypatch, place
):
    """Until all come to the next reduction, which works as before."""
    mine = ways_of_memory("direct")
    nodes.nodes_of(communicators.private(mine))
    work = getattr(onnode, place)

    def interrupted(*arguments):
        if blocks.planes["T"] is plane and onnode._lent:  # others know the address already
            signal.raise_signal(signal.SIGINT)
        return work(*arguments)

    blocks = blocks_of(comm.rank, comm.size, "identical")
    plane = blocks.planes["T"]
    kept = []
    kind = InterruptedByUser if comm.rank == 0 else RemoteError

    def reduce_and_look():
        try:
            strategies.reduce(mine, blocks, SUM)
        finally:
            kept.extend(planes["T"] for _, planes in onnode._lent)

    with monkeypatch.context() as patch:
        if comm.rank == 0:
            patch.setattr(onnode, place, interrupted)
        with pytest.raises(kind), g3reduce.guard(mine):
            reduce_and_look()
    assert any(each is plane for each in kept) or comm.rank
    blocks = blocks_of(comm.rank, comm.size, "overlapping")
    outcome = strategies.reduce(mine, blocks, SUM)
    check(comm, outcome, "overlapping", "root", 0)
    assert not onnode._lent


@pytest.mark.ranks(3)
def test_a_user_may_add_a_strategy(comm, ways_of_memory, monkeypatch):
    class Mine(registry.Tree):
        name = "mine"

        def cost(self, profile):
            return 0.0

    monkeypatch.setattr(registry, "_STRATEGIES", dict(registry._STRATEGIES))
    g3reduce.register_strategy(Mine())
    with pytest.raises(UsageError, match="'mine' already"):
        g3reduce.register_strategy(Mine())
    blocks = blocks_of(comm.rank, comm.size, "random")
    outcome = strategies.reduce(ways_of_memory("messages"), blocks, SUM)
    assert outcome.statistics.strategy == "mine"
    check(comm, outcome, "random", "root", 0)


@pytest.mark.ranks(2)
def test_a_reduction_that_is_not_elementwise_is_refused(comm):
    blocks = blocks_of(comm.rank, comm.size, "random")
    with pytest.raises(UsageError, match="'join' is not elementwise"):
        strategies.reduce(comm, blocks, Reduction("join", lambda a, b: a + b))
