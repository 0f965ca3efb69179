"""Which of many combinations are tried: some by default, all with ``G3REDUCE_TEST_ALL=1``.

The checks of a release (``.ci/run``) run all combinations of each file that imports this one.
"""

import itertools
import os

import pytest

ALL = os.environ.get("G3REDUCE_TEST_ALL") == "1"

# For a test that takes long and would find little that others do not.
among_all = pytest.mark.skipif(not ALL, reason="runs with G3REDUCE_TEST_ALL=1")


def some_of(*choices, fewer):
    """All values of one choice, or all combinations of several; by default only these few."""
    texts = [choice for choice in choices if isinstance(choice, str)]
    if texts:  # of which all combinations of letters would be tried
        raise TypeError(f"{texts[0]!r} is one value; expected a list of all values of a choice.")
    if not ALL:
        return fewer
    return list(itertools.product(*choices)) if len(choices) > 1 else choices[0]
