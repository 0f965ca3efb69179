"""The choice of loops for exact sums: numpy or numba. Both give the same bits."""

from __future__ import annotations

import functools
import logging
import os
from typing import Any

from ..errors import UsageError
from ..limits import LIMITS

logger = logging.getLogger(__name__)

# The variable of the environment: the kernels that it names are used from the first value on.
KERNELS, NUMBA, NUMPY = "G3REDUCE_KERNELS", "numba", "numpy"

_added = 0


def check() -> None:
    """Check the kernels that the environment asks for.

    Raises
    ------
    UsageError
        If there are no such kernels, or numba is asked for and cannot be used.
    """
    asked = os.environ.get(KERNELS, "")
    if asked not in ("", NUMBA, NUMPY):
        raise UsageError(f"{KERNELS}={asked} in the environment; expected {NUMBA} or {NUMPY}.")
    if asked == NUMBA and _load()[0] is None:
        raise UsageError(
            f"{KERNELS}={NUMBA} in the environment, but numba cannot be used ({_load()[1]}). "
            "Install the extra 'fast', or leave the variable out."
        )


def loops(n_values: int = 0) -> Any:
    """The module `g3reduce.kernels.compiled`, or None where numpy is to be used.

    Parameters
    ----------
    n_values : int
        How many values are about to be added.
    """
    global _added
    _added += n_values
    asked = os.environ.get(KERNELS)
    if asked == NUMPY or (not asked and _added < LIMITS.worth_compiling):
        return None
    return _load()[0]


@functools.cache
def _load() -> tuple[Any, str]:
    """The module, or None and why not."""
    try:
        from . import compiled as module
    except Exception as error:  # a compiler, and the files that it keeps, can fail in many ways
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.info("Exact sums are added by numpy; numba cannot be used: %s", why)
        return None, why
    logger.info("Exact sums are added by loops that numba compiled.")
    return module, ""
