"""The choice of loops: numpy's or those that numba compiles. Both give the same bits.

But where a NaN is added to a NaN, which of the two remains is up to the compiler; and sums of sign
flips are rounded elsewhere.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from ..errors import UsageError
from ..limits import LIMITS
from ..spt3glog import unit_logger

logger = unit_logger(__name__)

# The variable of the environment: the kernels that it names are used from the first value on.
KERNELS, NUMBA, NUMPY = "G3REDUCE_KERNELS", "numba", "numpy"

_expected = 0  # bytes that are about to be read
_added = 0  # bytes


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
            "Mend that, or leave the variable out."
        )


def expect(n_bytes: float) -> None:
    """Say about how many bytes of maps this process is going to read, before it does.

    Then loops are compiled from the first value on if that saves more time than it takes.
    """
    global _expected
    _expected = max(_expected, int(n_bytes))


def would_load(n_bytes: float) -> bool:
    """Whether a process that reads so many bytes of maps loads numba, if it is there."""
    asked = os.environ.get(KERNELS)
    return asked == NUMBA or (not asked and n_bytes >= LIMITS.worth_compiling)


def loops(n_values: int = 0) -> Any:
    """The module `g3reduce.kernels.compiled`, or None where numpy is to be used.

    The values of all calls are counted: from enough of them on it pays to load numba.

    Parameters
    ----------
    n_values : int
        How many values are about to be added.
    """
    global _added
    _added += n_values * 8
    if not would_load(max(_expected, _added)):
        return None
    return _load()[0]


@functools.cache
def _load() -> tuple[Any, str]:
    """The module, or None and why not."""
    try:
        from . import compiled as module
    except Exception as error:  # a compiler, and the files that it keeps, can fail in many ways
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        logger.info("Numpy adds the maps, since numba cannot be used: %s", why)
        return None, why
    logger.info("Loops that numba compiled add the maps.")
    return module, ""
