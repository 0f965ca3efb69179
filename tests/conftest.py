"""What all tests have: the runner of ranks (``plugins/``), and makers of input (``support/``)."""

import os
import signal
from pathlib import Path

import pytest

# spt3g's apply_weights, which is the oracle of some tests, is right on one thread only.
os.environ["OMP_NUM_THREADS"] = "1"

# What a shell starts in the background ignores Ctrl-C, and that is inherited by the processes
# that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SUPPORT = Path(__file__).parent / "support"
pytest.register_assert_rewrite(*(path.stem for path in SUPPORT.glob("*.py")))
pytest_plugins = ["ranks_plugin", "common_fixtures"]
