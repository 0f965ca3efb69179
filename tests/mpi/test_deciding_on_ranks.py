"""One rank decides for all: reports, decisions and errors reach those that they are for."""

import pickle
import time

import pytest

from g3reduce import DuplicateError, G3ReduceError, RemoteError, guard
from g3reduce.mpi import communicators, waiting
from g3reduce.mpi.deciding import decide_at
from g3reduce.mpi.messages import Failure

WHAT = "the decision of a test"


@pytest.mark.ranks(1, 2, 3, 5)
def test_one_rank_has_all_reports_and_the_others_what_it_tells(comm, limits):
    limits(message_piece=2500)  # reports and decisions are cut into pieces
    mine = communicators.private(comm)
    for root in range(comm.size):
        report = f"rank {comm.rank} " + "long " * 600 * comm.rank
        found = decide_at(
            mine,
            root,
            report,
            lambda reports: [len(one) for one in reports],
            what=WHAT,
            told=lambda lengths: ("told", sum(lengths), "long " * 600),
        )
        lengths = [len(f"rank {rank} ") + 3000 * rank for rank in range(comm.size)]
        told = ("told", sum(lengths), "long " * 600)
        assert found == (lengths if comm.rank == root else told)


class OfSomebodyElse(DuplicateError):
    """It cannot be sent."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.ranks(2, 3)
def test_all_ranks_raise_what_the_deciding_one_raises(comm):
    mine = communicators.private(comm)
    root = comm.size - 1

    def refuse(reports):
        raise DuplicateError(f"There are {len(reports)}.", fault="twice")

    with pytest.raises(DuplicateError, match=f"There are {comm.size}") as caught:
        decide_at(mine, root, None, refuse, what=WHAT)
    assert caught.value.fault == "twice"
    assert caught.value.reporter == root  # shows it, alone

    for error in (OfSomebodyElse("one", "two"), ZeroDivisionError("0")):

        def fail(reports, error=error):
            raise error

        with pytest.raises(type(error) if comm.rank == root else RemoteError) as caught:
            decide_at(mine, root, None, fail, what=WHAT)
        assert comm.rank == root or root in caught.value.failures
    assert decide_at(mine, 0, comm.rank, sum, what=WHAT) == sum(range(comm.size))


@pytest.mark.ranks(3)
@pytest.mark.parametrize("fails", ["pack", "unpack", "told"])
def test_a_report_that_cannot_be_sent_is_an_error_on_all_ranks(comm, fails):
    mine = communicators.private(comm)

    def pack(report):
        if fails == "pack" and report == 2:
            raise MemoryError("no memory for it")
        return pickle.dumps(report)

    def unpack(content):
        if fails == "unpack":
            raise MemoryError("no memory for it")
        return pickle.loads(content)

    def told(decision):
        if fails == "told":
            raise MemoryError("no memory for it")
        return decision

    where = 2 if fails == "pack" else 0
    with pytest.raises(MemoryError if comm.rank == where else RemoteError) as caught:
        decide_at(mine, 0, comm.rank, sum, what=WHAT, pack=pack, unpack=unpack, told=told)
    if comm.rank != where:
        assert caught.value.failures == {where: "MemoryError: no memory for it"}
    assert decide_at(mine, 0, comm.rank, sum, what=WHAT) == 3


@pytest.mark.ranks(2, 3)
def test_a_failure_that_is_heard_of_before_the_decision_leaves_no_message_behind(comm):
    """As over a network, where messages of a guard may overtake those of other communicators."""
    mine = communicators.private(comm)

    def refuse(reports):
        mailbox = waiting.open_guards()[-1]._mailbox
        mailbox.report_failure(Failure("There are two.", own=True))
        time.sleep(0.2)  # the others have heard of it, and wait for the decision
        raise DuplicateError("There are two.")

    with pytest.raises(G3ReduceError, match="There are two"), guard(comm):
        decide_at(mine, 0, None, refuse, what=WHAT)
    assert decide_at(mine, 0, comm.rank, sum, what=WHAT) == sum(range(comm.size))
