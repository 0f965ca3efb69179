"""Reductions as data: what to take from a frame, and how to combine two of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


def _keep(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Reduction:
    """A way of joining many values into one. It knows nothing of ranks.

    Parameters
    ----------
    name : str
        How messages and logs name it.
    combine : callable
        ``combine(a, b)`` joins two states. It is associative. An elementwise one is a numpy
        ufunc, so that it also takes ``out=``.
    identity : object
        The state of nothing: combining with it changes nothing.
    extract : callable
        ``extract(value)`` is the state that one value makes, None if it does not take part.
    finalize : callable
        ``finalize(state)`` is the result.
    operation : str or None
        The name of the MPI operation that does the same as `combine`, element by element
        (``"SUM"``, ``"MIN"``, ``"MAX"``, ``"BOR"``, ...). Such a reduction may be cut into
        pieces, in any order; one without is only ever combined whole, in the order of the ranks.
    """

    name: str
    combine: Callable[..., Any]
    identity: Any = None
    extract: Callable[[Any], Any] = _keep
    finalize: Callable[[Any], Any] = _keep
    operation: str | None = None

    @property
    def elementwise(self) -> bool:
        """Whether elements are independent of each other."""
        return self.operation is not None


SUM = Reduction("sum", np.add, identity=0, operation="SUM")
"""The elementwise sum: what a coadd is."""
