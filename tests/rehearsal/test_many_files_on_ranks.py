"""Thousands of tiny files: each counts once, and none costs more than a line in the ledger."""

from __future__ import annotations

import os
import resource

import manyfiles
import pytest
from choices import some_of

from g3reduce import coadd_files

# What a file may cost, in bytes: with the names of its folders, some 1700 were measured.
PER_FILE = 6000


def peak():
    """The memory that this process had at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.ranks(*some_of([1, 3], fewer=[3]), seconds=300)
@pytest.mark.parametrize("number", some_of([1000, 10_000], fewer=[1000]))
def test_each_of_many_files_counts_once(comm, shared_folder, on_first, number):
    files = on_first(lambda: manyfiles.write(shared_folder, number))
    coadd_files(files[:10], mpicomm=comm)  # for what is needed once
    before = peak()
    coadds = coadd_files(files, shared_folder / "coadd.g3", mpicomm=comm)
    assert peak() - before < PER_FILE * number + 2**23
    if comm.rank == 0:
        assert [coadds.frame["T"][pixel] for pixel in (1, 2, 7)] == manyfiles.sum_of(number)
        assert [entry.unit.file for entry in coadds.ledger.entries] == files
        assert len(set(os.listdir(shared_folder))) == number + 1
