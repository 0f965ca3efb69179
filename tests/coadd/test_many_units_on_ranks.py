"""Very many frames on ranks: the ledgers of all are on the root alone, in order of the input."""

import pytest
from choices import among_all
from manyunits import coadds_of, entry_of, forget_peak, joined, peak

from g3reduce import DuplicateError
from g3reduce.mpi import communicators

# What a rank takes to tell the root of a frame in one ledger, in bytes; and of whatever else.
FOR_EACH, FOR_ALL = 1600, 8 * 2**20


def growth(comm, mine):
    """The coadds of all ranks, and by how much the memory of this one has grown to join them."""
    joined(comm, coadds_of(comm.rank, 2))  # what is imported and compiled
    before = forget_peak()
    found = joined(comm, mine)
    return found, peak() - before


@pytest.mark.ranks(5)
def test_ranks_other_than_the_root_do_not_hold_the_ledgers_of_all(comm):
    comm = communicators.private(comm)
    n_units = 8000
    found, grown = growth(comm, coadds_of(comm.rank, n_units))
    if comm.rank:
        assert grown < FOR_ALL + FOR_EACH * n_units
        assert not found.coadds
    else:
        ledger = found.coadds["split 0"].ledger
        assert ledger.entries == list(map(entry_of, range(n_units * comm.size)))


@among_all
@pytest.mark.ranks(2, 3, 5, seconds=600)
def test_a_million_frames(comm):
    """The same bound for each rank, whatever the number of ranks."""
    comm = communicators.private(comm)
    n_units = 200_000
    found, grown = growth(comm, coadds_of(comm.rank, n_units))
    if comm.rank:
        assert grown < FOR_ALL + FOR_EACH * n_units
    else:
        assert grown < FOR_ALL + FOR_EACH * n_units * comm.size
        assert len(found.coadds["split 0"].ledger) == n_units * comm.size


@pytest.mark.ranks(3)
@pytest.mark.parametrize("result", ["root", "all"])
def test_frames_in_many_splits_are_there_once(comm, result):
    comm = communicators.private(comm)
    root = 1
    found = joined(comm, coadds_of(comm.rank, 50, n_coadds=6), result, root)
    assert found.names == [f"split {number}" for number in range(6)]
    assert found.note.n_seen == {"90GHz": 3}
    here = result == "all" or comm.rank == root
    assert bool(found.coadds) == here
    if here:
        plain = list(map(entry_of, range(150)))
        for number, coadd in enumerate(found.coadds.values()):
            sign = -1 if number % 2 else 1
            assert coadd.ledger.entries == [one._replace(sign=sign) for one in plain]
        assert found.note.with_maps == {0, 1, 2}
    if here and comm.rank != root:  # what came from other ranks
        entries = [one for coadd in found.coadds.values() for one in coadd.ledger]
        assert len({id(one) for one in entries}) == 2 * 150  # of either sign


@pytest.mark.ranks(3)
def test_one_frame_among_many_that_two_ranks_have_counted_is_refused_on_all(comm):
    comm = communicators.private(comm)
    mine = coadds_of(comm.rank, 500)
    if comm.rank == 2:
        mine["split 0"].ledger.entries[77] = entry_of(123)
    with pytest.raises(DuplicateError, match=r"obs_000000123\.g3, frame 3 was counted on rank 0"):
        joined(comm, mine)
