"""The protocol between readers and workers, by itself: bytes instead of frames."""

import time

import pytest

from g3reduce.errors import G3ReduceError, MismatchError
from g3reduce.mpi.messages import drain
from g3reduce.pipeline.dispatch import DATA, METADATA, Receiver, Sender

pytestmark = pytest.mark.ranks(2, 3, 5)


@pytest.fixture
def duplicate(comm):
    """A communicator for one test, so that what a failed one leaves does not reach the next."""
    mine = comm.Dup()
    yield mine
    drain(mine)  # tests of errors leave messages, which must not turn up on the next communicator
    mine.Free()


def receive_all(receiver, wait=0.0):
    parcels = []
    while (parcel := receiver.next()) is not None:
        time.sleep(wait)
        parcels.append(parcel)
    return parcels


def sizes_of(comm, parcels):
    """How many bytes came to each rank, in all."""
    return comm.allgather([len(parcel.content) for parcel in parcels])


@pytest.mark.parametrize("size", [0, 1, 2**15, 2**15 + 1, 3 * 2**20])
def test_contents_come_as_they_were(duplicate, size):
    content = bytes(i * i % 251 for i in range(1000)) * (size // 1000 + 1)
    content = content[:size]
    parcels = []
    if duplicate.rank == 0:
        sender = Sender(duplicate, 1)
        sender.metadata(content, "the name", "M")
        for i in range(6):
            sender.data(content, i)
        sender.end()
    else:
        parcels = receive_all(Receiver(duplicate, 1))
        assert all(parcel.content == content for parcel in parcels)
        assert (parcels[0].what, parcels[0].unit) == (METADATA, "the name")
        assert all(parcel.what == DATA for parcel in parcels[1:])
        numbers = [parcel.unit for parcel in parcels[1:]]
        assert numbers == sorted(numbers)
    everywhere = duplicate.allgather([parcel.unit for parcel in parcels[1:]])
    assert sorted(number for numbers in everywhere for number in numbers) == list(range(6))


@pytest.mark.ranks(3, 5)
def test_frames_go_to_the_worker_that_is_free(duplicate):
    parcels = []
    if duplicate.rank == 0:
        sender = Sender(duplicate, 1)
        for i in range(40):
            sender.data(b"x", i)
        sender.end()
    else:
        parcels = receive_all(Receiver(duplicate, 1), 0.2 if duplicate.rank == 1 else 0.005)
    counts = duplicate.allgather(len(parcels))
    assert sum(counts) == 40
    assert counts[1] <= 5, "the slow one has few"


def test_no_more_frames_are_under_way_than_were_asked_for(duplicate):
    """A reader that is ahead holds few frames, and a worker that is behind was sent few."""
    if duplicate.rank == 0:
        sender = Sender(duplicate, 1, read_ahead=2)
        for i in range(20):
            sender.data(bytes(2**16), i)
            assert len(sender._queue) <= 2
            assert len(sender._under_way) <= 2 * (duplicate.size - 1)
        sender.end()
    else:
        receiver = Receiver(duplicate, 1)
        while receiver.next() is not None:
            time.sleep(0.01)
            assert len(receiver._ready) <= 1


def test_metadata_wait_for_workers_that_are_behind(duplicate):
    if duplicate.rank == 0:
        sender = Sender(duplicate, 1, metadata_ahead=3)
        for i in range(10):
            sender.metadata(bytes(2**16), i, f"M{i}")
            assert len(sender._under_way) <= 3 * (duplicate.size - 1)
        sender.end()
    else:
        parcels = receive_all(Receiver(duplicate, 1), 0.01)
        assert [parcel.unit for parcel in parcels] == list(range(10))


def test_frames_that_were_lost_are_noticed(duplicate):
    if duplicate.rank == 0:
        sender = Sender(duplicate, 1)
        sender.data(b"x", 0)
        sender.flush()
        sender.sent = {worker: count + 1 for worker, count in sender.sent.items()}
        # Without farewells an end would wait for ever: only its first half is done here.
        sender._serve_until(lambda: not sender._under_way, "")
        sender._at_end.update(range(1, duplicate.size))
        sender.end()
    else:
        with pytest.raises(G3ReduceError, match=r"Rank 0 sent [12] .* received [01]\. .* lost"):
            receive_all(Receiver(duplicate, 1))
    duplicate.Barrier()


@pytest.mark.ranks(3, 5)
def test_readers_that_do_not_see_the_same_metadata_are_noticed(duplicate):
    if duplicate.rank < 2:
        sender = Sender(duplicate, 2)
        if duplicate.rank == 0:
            sender.metadata(b"x", None, "a Wiring frame (f.g3, frame 0)")
        sender._at_end.update(range(2, duplicate.size))
        sender.end()
    else:
        with pytest.raises(
            MismatchError,
            match=r"rank 0 has a Wiring frame \(f\.g3, frame 0\), rank 1 has its end",
        ):
            receive_all(Receiver(duplicate, 2))
    duplicate.Barrier()


@pytest.mark.ranks
@pytest.mark.parametrize(("n_ranks", "n_readers"), [(2, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_nothing_at_all(duplicate, n_ranks, n_readers):
    if duplicate.rank < n_readers:
        Sender(duplicate, n_readers).end()
    else:
        assert receive_all(Receiver(duplicate, n_readers)) == []
