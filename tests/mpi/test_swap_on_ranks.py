"""The exchange of pieces of arrays: any sizes and strides, and no rank waits for ever."""

import itertools
import time

import numpy as np
import pytest

from g3reduce.limits import LIMITS
from g3reduce.mpi.swap import swap

DTYPES = ("f8", "f4", "i8", "i4", "u1")
UNTOUCHED = 77


class Strict:
    """A communicator whose messages are sent only while they are received: the least that MPI
    promises."""

    def __init__(self, comm):
        self.rank, self.size = comm.rank, comm.size
        self.Isend, self.Irecv = comm.Issend, comm.Irecv


class Late(Strict):
    """One that says only after a while that a message was sent."""

    def __init__(self, comm):
        from mpi4py import MPI

        super().__init__(comm)

        class LateRequest(MPI.Request):
            def Test(self, *arguments):
                asked[self] = asked.get(self, 0) + 1
                return asked[self] > 10 and super().Test(*arguments)

            __hash__ = object.__hash__

        asked = {}
        self.Isend = lambda *arguments: LateRequest(comm.Issend(*arguments))


class Apart(Strict):
    """One that refuses memory into which another message is still to come."""

    def __init__(self, comm):
        from mpi4py import MPI

        super().__init__(comm)
        pending = {}

        class Arriving(MPI.Request):
            def Wait(self, *arguments):
                del pending[self]
                return super().Wait(*arguments)

            __hash__ = object.__hash__

        def receive(array, source):
            assert not any(np.may_share_memory(array, other) for other in pending.values())
            request = Arriving(comm.Irecv(array, source))
            pending[request] = array
            return request

        self.Irecv = receive


def strided(rng, values):
    """The same values in a part of a larger array, in any order of memory; and that array."""
    rows, columns = values.shape
    step, turned = rng.integers(1, 3, 2)
    whole = np.full((step * rows + 1, columns + 2), UNTOUCHED, values.dtype)
    view = whole[1:][::step][:rows, 1:-1]
    if turned == 2:
        whole = np.full((columns, rows), UNTOUCHED, values.dtype)
        view = whole.T
    view[...] = values
    return view, whole


def cuts(rng, length, n_pieces):
    ends = np.sort(rng.integers(0, length + 1, max(0, n_pieces - 1)))
    return [slice(a, b) for a, b in itertools.pairwise([0, *ends, length])]


class Traffic:
    """What all ranks send to all, which each rank knows from a seed.

    `amount` gives for sender and receiver the number of rows and columns, and in how many pieces
    each is cut; some are empty.
    """

    def __init__(self, seed, amount):
        self.seed, self.amount = seed, amount

    def values(self, sender, receiver):
        rng = np.random.default_rng([self.seed, sender, receiver])
        rows, columns, n_pieces = self.amount(rng, sender, receiver)
        values = rng.integers(0, 100, (rows, columns)).astype(rng.choice(DTYPES))
        pieces = itertools.product(cuts(rng, rows, n_pieces), cuts(rng, columns, n_pieces))
        return values, list(pieces)

    def run(self, comm):
        rng = np.random.default_rng([self.seed, comm.rank])
        arrived, wholes = [], []
        for sender in range(comm.size):
            values, _ = self.values(sender, comm.rank)
            view, whole = strided(rng, np.full_like(values, UNTOUCHED))
            arrived.append(view)
            wholes.append((view, whole))

        def outgoing(receiver):
            values, pieces = self.values(comm.rank, receiver)
            view, _ = strided(rng, values)
            return (view[piece] for piece in pieces)

        def incoming(sender):
            _, pieces = self.values(sender, comm.rank)
            return (arrived[sender][piece] for piece in pieces)

        swap(comm, outgoing, incoming)
        for sender, (view, whole) in enumerate(wholes):
            expected, _ = self.values(sender, comm.rank)
            np.testing.assert_array_equal(view, expected)
            view[...] = UNTOUCHED
            assert (whole == UNTOUCHED).all()  # nothing was written beside its place


def any_amount(rng, sender, receiver):
    rows, columns = rng.integers(0, 40, 2)
    return rows, columns, rng.integers(1, 5)


def from_one(rng, sender, receiver):
    """All from the first rank to the last, and a little on the way between others."""
    if (sender, receiver) == (0, 1):
        return 30, 50, 7
    return (0, 0, 1) if sender == 0 or rng.random() < 0.5 else (1, 1, 1)


def to_one(rng, sender, receiver):
    return (20, 30, 5) if receiver == 0 else (0, 5, 1)


def large(rng, sender, receiver):
    """Above what MPI sends without asking first, in more pieces than there are on the way."""
    return 6, 60_000 * (1 + sender), 3


@pytest.mark.ranks(1, 2, 3, 5)
def test_all_that_is_sent_arrives_in_its_place(comm, limits):
    limits(swap_piece=64)  # pieces are larger and smaller than that
    for seed in range(10 // comm.size):
        Traffic(seed, any_amount).run(comm)


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize("kind", [Strict, Late, Apart])
@pytest.mark.parametrize("amount", [any_amount, from_one, to_one, large])
def test_no_rank_relies_on_messages_that_are_kept_for_the_receiver(comm, kind, amount):
    Traffic(1, amount).run(kind(comm))


@pytest.mark.ranks(2, 3)
@pytest.mark.parametrize(("coming", "going"), [(1, 1), (1, 4), (2, 1), (5, 2)])
def test_any_number_of_pieces_may_be_under_way(comm, limits, coming, going):
    limits(swap_incoming=coming, swap_outgoing=going)
    for amount in (any_amount, from_one):
        Traffic(coming + going, amount).run(Strict(comm))


@pytest.mark.ranks(2, 3)
def test_exchanges_one_after_another_do_not_mix_even_if_a_rank_is_late(comm):
    for seed in range(5):
        if seed % comm.size == comm.rank:
            time.sleep(0.002)
        Traffic(seed, any_amount).run(comm)


@pytest.mark.ranks(2, 3)
def test_pieces_as_large_as_they_may_be_go_through_the_buffers(comm):
    n = LIMITS.swap_piece // 8
    sent = np.random.default_rng(comm.rank).random((3, n))
    came = np.zeros((comm.size, n, 3))
    swap(
        comm,
        lambda receiver: iter(sent),
        lambda sender: (came[sender, :, column] for column in range(3)),
    )
    for sender in range(comm.size):
        np.testing.assert_array_equal(came[sender].T, np.random.default_rng(sender).random((3, n)))
