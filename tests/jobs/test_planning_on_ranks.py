"""Plans of splittings, against what each rank of a coadd holds before the sums are joined."""

import os

import pytest
import skies
from choices import some_of

from g3reduce import coadd_files, plan_coadd, splits
from g3reduce.coadd.coadder import MPIMapCoadder

N_FILES = 6

BUNDLES = splits.bundles(3)

CASES = {
    "bundles": splits.by("id") * (BUNDLES + splits.jackknife(BUNDLES)),
    "flips": splits.split(some="observation=100[0-2]", all="all") * splits.signflips(5),
}


@pytest.mark.ranks(*some_of((1, 2, 3), fewer=(1, 2)))
@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_ranks_hold_what_was_planned(comm, shared_folder, on_first, monkeypatch, case, checkpoints):
    """Footprints of the files differ, and each rank has about as many of them."""
    files = on_first(lambda: skies.write_files(shared_folder, N_FILES, "flat sparse", "polarized"))
    held = []
    join = MPIMapCoadder.join

    def noting(self, *rest):
        held.append(sum(one.total.blocks.nbytes for one in self._intake.coadds.values()))
        return join(self, *rest)

    monkeypatch.setattr(MPIMapCoadder, "join", noting)
    assign = CASES[case]
    plan = plan_coadd(files, assign=assign, checkpoints=checkpoints, memory_per_node=4e9)
    options = {"checkpoint": os.path.join(shared_folder, case)} if checkpoints else {}
    coadds = coadd_files(files, mpicomm=comm, assign=assign, schedule="static", **options)
    mine, *_ = held
    planned = plan.work.held_after(-(-N_FILES // comm.size))
    on_ranks = comm.allgather(mine)
    # How sums grow between one file and all is a power law, and blocks of pixels are held whole. Of
    # few files some bring more than others: what a plan is about is the memory of a node.
    assert sum(on_ranks) <= 1.25 * comm.size * planned
    if comm.size <= 2:  # each has three files or more
        assert max(on_ranks) <= 1.25 * planned
    assert max(on_ranks) <= plan.work.union
    assert sum(on_ranks) >= plan.work.union / 2
    if coadds.here:
        assert len(coadds) == plan.n_coadds + plan.n_flips == 12
