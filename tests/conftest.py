"""Fixtures for all tests. Those on MPI ranks are explained in ``ranks_plugin``."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

# spt3g's apply_weights, which is the oracle of some tests, is right on one thread only.
os.environ["OMP_NUM_THREADS"] = "1"

# What a shell starts in the background ignores Ctrl-C, and that is inherited by the processes
# that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["ranks_plugin"]


@pytest.fixture(scope="session")
def comm():
    """The world of a test that is marked with its number of ranks."""
    from mpi4py import MPI

    return MPI.COMM_WORLD


@pytest.fixture(scope="module", params=["numpy", "numba"])
def each_kernels(request):
    """Exact sums are made by these kernels in all tests of a module, which runs with each."""
    from g3reduce import UsageError
    from g3reduce.arrays import kernels

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(kernels.KERNELS, request.param)
        try:
            kernels.check()
        except UsageError as error:
            pytest.skip(str(error))
        yield


@pytest.fixture
def limits(monkeypatch):
    """Sets limits of sizes for one test, as in ``limits(step=16)``."""
    from g3reduce.limits import LIMITS

    def set_limits(**sizes):
        for name, size in sizes.items():
            monkeypatch.setattr(LIMITS, name, size)

    return set_limits


@pytest.fixture
def shared_folder(comm):
    """A folder that all ranks of a test see."""
    folder = comm.bcast(tempfile.mkdtemp(prefix="g3reduce-") if comm.rank == 0 else None)
    yield Path(folder)
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)
