"""A reduction as data: what to take from a frame, and how to combine two states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..errors import UsageError
from ..spt3gmarks import useful
from ..spt3gtypes import Frame

# MPI's operations on arrays, and numpy's functions that do the same.
OPERATIONS: dict[str, np.ufunc] = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MIN": np.minimum,
    "MAX": np.maximum,
    "BOR": np.bitwise_or,
    "BAND": np.bitwise_and,
    "BXOR": np.bitwise_xor,
    "LOR": np.logical_or,
    "LAND": np.logical_and,
    "LXOR": np.logical_xor,
}
# The kinds of numbers (`numpy.dtype.kind`) on which each of them is defined.
_KINDS = {"SUM": "iufc", "PROD": "iufc", "MIN": "iuf", "MAX": "iuf"}
_KINDS |= dict.fromkeys(("BOR", "BAND", "BXOR"), "iu") | dict.fromkeys(("LOR", "LAND", "LXOR"), "b")
_NOT_IN_MPI = ("e",)  # float16
_IDENTITY = {"PROD": 1, "BAND": -1, "LAND": True}


def _keep(value: Any) -> Any:
    return value


@dataclass(frozen=True)
@useful
class Reduction:
    """A way of combining many values into one, whichever ranks hold them.

    Attributes
    ----------
    name : str
        Its name in messages and logs.
    combine : callable, optional
        ``combine(a, b)`` combines two states, of which `a` comes first. It is associative. It may
        change `a` and return it, if `extract` makes a new state each time; `b` it leaves alone. An
        elementwise one is the numpy ufunc of its `operation`, which is the default.
    identity : object, optional
        The state of nothing: combining with it changes nothing. It is what is finalized if nothing
        took part. None: then there is no result.
    extract : callable, optional
        ``extract(frame)`` is the state that one frame makes, None if it does not take part.
    finalize : callable, optional
        ``finalize(state)`` is the result.
    operation : str, optional
        The name of the MPI operation that does the same as `combine`, element by element:
        ``"SUM"``, ``"PROD"``, ``"MIN"``, ``"MAX"``, ``"BOR"``, ``"BAND"``, ``"BXOR"``, ``"LOR"``,
        ``"LAND"`` or ``"LXOR"``. Such a reduction may be cut into pieces, in any order; one without
        is only ever combined whole, in the order of the ranks.
    commutes : bool
        Whether ``combine(a, b)`` and ``combine(b, a)`` are the same, so that states need not be
        combined in the order of the ranks. Elementwise ones do.

    Raises
    ------
    UsageError
        If it has neither `combine` nor `operation`, or they contradict each other.

    Examples
    --------
    The longest scan. Numbers, arrays, and dictionaries, tuples and dataclasses of these are joined
    element by element:

    >>> longest = Reduction("longest", operation="MAX", extract=lambda frame: len(frame["Time"]))

    Which detectors there were, a state of any kind:

    >>> names = Reduction(
    ...     "detectors",
    ...     combine=lambda a, b: a | b,
    ...     identity=frozenset(),
    ...     extract=lambda frame: frozenset(frame["CalTimestreams"].keys()),
    ...     commutes=True,
    ... )
    """

    name: str
    combine: Callable[..., Any] = None  # type: ignore[assignment]  # that of the operation
    identity: Any = None
    extract: Callable[[Frame], Any] = _keep
    finalize: Callable[[Any], Any] = _keep
    operation: str | None = None
    commutes: bool = False

    def __post_init__(self) -> None:
        if self.operation is not None:
            if self.operation not in OPERATIONS:
                raise UsageError(
                    f"The reduction {self.name!r} has operation={self.operation!r}; expected one "
                    f"of {', '.join(OPERATIONS)}."
                )
            ufunc = OPERATIONS[self.operation]
            if self.combine not in (None, ufunc):
                raise UsageError(
                    f"The reduction {self.name!r} has operation={self.operation!r}, which combines "
                    f"by numpy.{ufunc.__name__}, and another function to combine: give one or the "
                    "other."
                )
            object.__setattr__(self, "combine", ufunc)
            object.__setattr__(self, "commutes", True)
        for what in ("combine", "extract", "finalize"):
            if not callable(getattr(self, what)):
                raise UsageError(
                    f"The reduction {self.name!r} has {what}={getattr(self, what)!r}; expected a "
                    "function" + (", or operation=." if what == "combine" else ".")
                )

    @property
    def elementwise(self) -> bool:
        """Whether it works element by element, by an MPI operation."""
        return self.operation is not None

    def takes(self, dtype: DTypeLike) -> bool:
        """Whether this elementwise reduction is defined on such numbers."""
        dtype = np.dtype(dtype)
        return dtype.kind in _KINDS[str(self.operation)] and dtype.char not in _NOT_IN_MPI

    def identity_of(self, dtype: DTypeLike) -> Any:
        """The number that changes nothing in this elementwise reduction on such numbers."""
        dtype = np.dtype(dtype)
        if self.operation not in ("MIN", "MAX"):
            number = _IDENTITY.get(str(self.operation), 0)
            return ~dtype.type(0) if number == -1 else number
        if dtype.kind == "f":
            return np.inf if self.operation == "MIN" else -np.inf
        limits = np.iinfo(dtype)
        return limits.max if self.operation == "MIN" else limits.min


SUM = Reduction("sum", np.add, identity=0, operation="SUM")
"""The elementwise sum: what a coadd is."""
