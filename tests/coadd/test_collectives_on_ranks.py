"""How often ranks wait for each other around one coadd: a small job must not be all waiting."""

import pytest
import skies

import g3reduce

# What the strategy does inside of the reduction: it finds out which rows there are, and how many
# each rank holds. The transfers of sums by a tree go from rank to rank.
OF_THE_STRATEGY = 2

COLLECTIVES = {
    *("barrier", "bcast", "gather", "gatherv", "scatter", "scatterv", "allgather", "allgatherv"),
    *("alltoall", "alltoallv", "alltoallw", "reduce", "allreduce", "reduce_scatter", "scan"),
    *("exscan", "reduce_scatter_block", "split", "split_type", "dup", "create"),
}


def counting(comm):
    """A communicator that writes down the collective calls on it and on those made of it."""
    from mpi4py import MPI

    calls = []

    def counted(name):
        def call(self, *args, **kwargs):
            calls.append(name)
            return getattr(MPI.Intracomm, name)(self, *args, **kwargs)

        return call

    # Those that do not block have the same names with an I, Ibcast.
    names = [
        name
        for name in dir(MPI.Intracomm)
        if name.lower() in COLLECTIVES or (name[0] == "I" and name[1:].lower() in COLLECTIVES)
    ]
    kind = type("Counting", (MPI.Intracomm,), {name: counted(name) for name in names})
    return kind(comm.Dup()), calls


@pytest.mark.ranks(3, one_node=True)
@pytest.mark.parametrize("guarded", [False, True])
def test_one_coadd_is_few_collective_calls(comm, shared_folder, guarded):
    """Counted are all collective calls, also those that pickle, on the second of two coadds: the
    first also finds out what belongs to the communicator. Inside of a guard ranks meet by
    messages between two ranks before each, which are not collective."""
    files = comm.bcast(
        skies.write_files(shared_folder, 6, "flat sparse", "polarized", map_ids=("90GHz",))
        if comm.rank == 0
        else None
    )
    counted, calls = counting(comm)
    output = shared_folder / "coadd.g3"
    g3reduce.coadd_files(files, output, mpicomm=counted, strategy="tree")
    calls.clear()
    if guarded:
        with g3reduce.guard(comm):
            g3reduce.coadd_files(files, output, mpicomm=counted, strategy="tree")
    else:
        g3reduce.coadd_files(files, output, mpicomm=counted, strategy="tree")
    assert len(calls) <= 9 + OF_THE_STRATEGY, " ".join(calls)
    # Objects are pickled where names of files, summaries of maps, and what each rank took go, and
    # by the strategy.
    assert sum(name.islower() for name in calls) <= 4, calls
    counted.Free()
