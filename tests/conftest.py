"""What all tests have: the runner of ranks (``plugins/``), and makers of input (``support/``)."""

import itertools
import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Cores are shared, and a first call imports or compiles: how long an example takes says nothing.
# Checks of a commit always take the same examples, so that it passes or fails once and for all.
# Whoever runs the tests by hand looks for others each time.
settings.register_profile(
    "here",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
    print_blob=True,
)
settings.load_profile("here")

# spt3g's apply_weights, which is the oracle of some tests, is right on one thread only.
os.environ["OMP_NUM_THREADS"] = "1"

# What a shell starts in the background ignores Ctrl-C, and that is inherited by the processes
# that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SUPPORT = Path(__file__).parent / "support"
pytest.register_assert_rewrite(*(path.stem for path in SUPPORT.glob("*.py")))
pytest_plugins = ["ranks_plugin", "common_fixtures"]

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def folder_for_mpirun(monkeypatch, tmp_path_factory):
    """A folder of its own for what Open MPI's mpirun keeps while it runs.

    A killed one leaves it behind, under the number of its process. A later one with that number
    would then not start: "The PMIx server's listener thread failed to start".
    """
    folder = tmp_path_factory.getbasetemp() / f"mpirun-{next(_numbers)}"
    monkeypatch.setenv("PRTE_MCA_prte_tmpdir_base", str(folder))
