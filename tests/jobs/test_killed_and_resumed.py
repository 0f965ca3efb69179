"""Jobs that are killed at every stage, and resumed, come to the sum of an undisturbed one.

How many are killed says G3REDUCE_TEST_KILLS; ``tests/support/kills.py`` kills more, with both MPIs.
"""

import os
import sys

import kills
import pytest
from choices import ALL

pytestmark = pytest.mark.skipif("G3REDUCE_TEST_NOTES" in os.environ, reason="starts ranks itself")

KILLS = int(os.environ.get("G3REDUCE_TEST_KILLS", 12 if ALL else 0))


@pytest.mark.skipif(not KILLS, reason="runs with G3REDUCE_TEST_KILLS or G3REDUCE_TEST_ALL=1")
def test_no_frame_is_lost_or_doubled_by_kills(tmp_path):
    figures = kills.try_kills(KILLS, 1, [sys.executable], tmp_path)
    print(figures)
    assert (figures.lost, figures.doubled) == (0, 0)
    assert sum(figures.killed.values()) >= KILLS
