"""The elements of one kind of number in a state: as they are, or as sums whose order is no matter.

Each kind of number of a group (a key of ``by=``) lies in planes, as `Blocks` has them: one for the
numbers as they are; or, for exact sums of floats, one for each limb. What is cut into rows, moved
and joined are planes, whatever they stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from ..arrays import exact
from ..arrays.arithmetic import Exact, Exactness, Grid, planes_of, refuse_more
from ..arrays.blocks import Blocks
from ..arrays.memory import PRIVATE, Memory
from ..arrays.reduction import Reduction
from ..errors import InputError, UsageError
from .states import Array, ArrayLeaf

DType = np.dtype[Any]

_MOST_ROWS = 4096

# Floats that are summed exactly at once: of small arrays many, because each takes several calls of
# numpy; of large ones a stretch that stays in the cache, also as float64.
_AT_ONCE = 2**15

_EXTREMES = ("MIN", "MAX")


class Held(Protocol):
    """The running elements of one kind of number on this rank.

    Attributes
    ----------
    planes : dict of str to array
        Flat, of whole rows.
    grid : Grid or None
        Where sums are exact: how.
    """

    @property
    def planes(self) -> Mapping[str, Array]:
        """See above."""
        ...

    @property
    def grid(self) -> Grid | None:
        """See above."""
        ...

    def begin(self, arrays: Sequence[Array], where: str) -> None:
        """Take the arrays of the first state. They are copied."""
        ...

    def combine(self, arrays: Sequence[Array], where: str) -> None:
        """Combine with those of another."""
        ...


@dataclass(frozen=True)
class Manner:
    """How the states of a reducer are combined element by element.

    Attributes
    ----------
    reduction : Reduction
        An elementwise one.
    memory : Memory
        Where the planes lie.
    exactness : Exactness or None
        That the result is not to depend on the order, and what is known of floats that are summed.
    """

    reduction: Reduction
    memory: Memory = PRIVATE
    exactness: Exactness | None = None

    @property
    def name(self) -> str:
        """How messages name the values that are combined."""
        return f"the reduction {self.reduction.name!r}"

    def sums_exactly(self, dtype: DType) -> bool:
        """Whether numbers of this kind are held as exact sums."""
        summed = self.exactness is not None and self.reduction.operation == "SUM"
        return summed and dtype.kind in "fc"

    def hold(self, dtype: DType, leaves: Sequence[ArrayLeaf]) -> Held:
        """Room for the elements of arrays of one kind of number."""
        return Limbs(self, dtype, leaves) if self.sums_exactly(dtype) else Flat(self, dtype, leaves)

    def planes(self, dtype: DType, grid: Grid | None) -> dict[str, DType]:
        """The planes in which such elements are, and their kinds of number."""
        names = planes_of(self.name, grid) if grid else [self.name]
        return dict.fromkeys(names, np.dtype(np.int64) if grid else dtype)

    def width(self, dtype: DType) -> int:
        """How many numbers of a plane such an element is."""
        return _floats_in(dtype) if self.sums_exactly(dtype) else 1

    def identity(self, dtype: DType) -> Any:
        """What planes hold where there is nothing."""
        return 0 if self.sums_exactly(dtype) else self.reduction.identity_of(dtype)

    def settle(self, planes: Mapping[str, Array], dtype: DType, grid: Grid | None) -> Array:
        """The elements that planes stand for. The planes are used up."""
        if grid is None:
            return planes[self.name]
        names = planes_of(self.name, grid)
        limbs: list[Any] = [planes[name] for name in names[: grid.limbs]]
        codes: Any = planes[names[-1]] if grid.special else None
        return exact.settle(limbs, grid.top, codes, _real(dtype).type).view(dtype)

    def require(self, dtype: DType, where: str) -> None:
        """Refuse numbers whose combination depends on the order, if it is not to.

        Raises
        ------
        UsageError
        """
        if self.exactness is None or dtype.kind not in "fc":
            return
        name, operation = self.reduction.name, self.reduction.operation
        if operation == "PROD":
            raise UsageError(
                f"The reduction {name!r} multiplies {dtype} numbers (from {where}), and each "
                "product is rounded, so that reproducible=True cannot be kept. It can for sums of "
                "floats, and for integers: sum the logarithms in extract, with operation='SUM'."
            )
        if operation == "SUM" and _real(dtype).itemsize > 8:
            raise UsageError(
                f"The reduction {name!r} sums {dtype} numbers (from {where}); reproducible=True "
                "takes float32, float64, complex64, complex128 and integers. Convert them in "
                "extract: .astype(np.float64)."
            )

    def prepare(self, arrays: Sequence[Array], where: str) -> list[Array]:
        """The arrays of a state as they are to be combined.

        If extremes are not to depend on the order they have one zero, because of 0.0 and -0.0
        either may be taken, and no NaN.

        Raises
        ------
        InputError
            If there is a NaN.
        """
        if self.exactness is None or self.reduction.operation not in _EXTREMES:
            return list(arrays)
        floats = [array for array in arrays if array.dtype.kind == "f"]
        if any(np.isnan(array).any() for array in floats):
            raise InputError(
                f"{where}: {self.name} has a NaN. What the {self.reduction.operation} of that and "
                "a number is depends on the order, so that reproducible=True cannot be kept. "
                "Replace NaN in extract, as g3reduce.reductions.minimum and maximum do."
            )
        return [array + 0.0 if array.dtype.kind == "f" else array for array in arrays]


def exactness_of(
    reduction: Reduction, reproducible: bool, absmax: float | None
) -> Exactness | None:
    """What the arguments of a reducer ask for; None if the order may matter.

    Raises
    ------
    UsageError
        If they cannot be used.
    """
    if isinstance(absmax, Mapping):
        raise UsageError(
            f"absmax is {absmax!r}; expected one number, which holds for all floats of a state."
        )
    exactness = Exactness.of(reproducible, absmax, ())
    if exactness and not reduction.elementwise:
        raise UsageError(
            f"The reduction {reduction.name!r} combines whole states, so that its result depends "
            "on their order, and reproducible=True cannot be kept. It can for reductions that "
            "name their operation: sum the parts (such as n and the sums of x and of x**2) with "
            "operation='SUM', and make the result of them in finalize."
        )
    return exactness


class Flat:
    """Numbers as they are, combined by numpy's function; see `Held`."""

    grid = None

    def __init__(self, manner: Manner, dtype: DType, leaves: Sequence[ArrayLeaf]):
        self._name, self._combine = manner.name, manner.reduction.combine
        size = sum(prod(leaf.shape) for leaf in leaves)
        length = row_length((size,))
        self._flat = manner.memory.zeros((-(-size // length), length), dtype).reshape(-1)
        if self._flat.size > size:
            self._flat[size:] = manner.identity(dtype)
        self._views, begin = [], 0
        for leaf in leaves:
            end = begin + prod(leaf.shape)
            self._views.append(self._flat[begin:end].reshape(leaf.shape))
            begin = end

    @property
    def planes(self) -> Mapping[str, Array]:
        """One."""
        return {self._name: self._flat}

    def begin(self, arrays: Sequence[Array], where: str) -> None:
        """Copy them."""
        for mine, array in zip(self._views, arrays, strict=True):
            mine[...] = array

    def combine(self, arrays: Sequence[Array], where: str) -> None:
        """In place."""
        for mine, array in zip(self._views, arrays, strict=True):
            self._combine(mine, array, out=mine)


class Limbs:
    """Floats, summed as `g3reduce.arrays.arithmetic.Exact` sums maps; see `Held`.

    A complex number is two floats. All floats of one kind in a state are on one grid.
    """

    def __init__(self, manner: Manner, dtype: DType, leaves: Sequence[ArrayLeaf]):
        self._name, self._dtype = manner.name, dtype
        size = sum(prod(leaf.shape) for leaf in leaves)
        length = row_length((size,))
        n_rows = -(-size // length)
        self._exact = Exact(manner.exactness or Exactness(), {})
        self._blocks = Blocks(n_rows, length * _floats_in(dtype), {}, memory=manner.memory)
        self._blocks.replace(np.arange(n_rows), {})
        self._exact.begin(self._blocks, self._name)

    @property
    def planes(self) -> Mapping[str, Array]:
        """The limbs, and the codes of what is not finite, if there is any."""
        return {name: plane.reshape(-1) for name, plane in self._blocks.planes.items()}

    @property
    def grid(self) -> Grid:
        """See `Held`."""
        return self._exact.grids[self._name]

    def begin(self, arrays: Sequence[Array], where: str) -> None:
        """Add them to zeros."""
        self.combine(arrays, where)

    def combine(self, arrays: Sequence[Array], where: str) -> None:
        """Add them."""
        refuse_more("states", self.grid.addends + 1, where)
        for start, values in _stretches(arrays, self._dtype):
            self._exact.add(self._blocks, self._name, start, values, subtract=False, where=where)
        self.grid.addends += 1

    def align(self, grid: Grid) -> None:
        """Raise the sums to the grid of all ranks."""
        self._exact.align(self._blocks, {self._name: grid})


def row_length(sizes: Sequence[int]) -> int:
    """Elements in a row, for arrays of these sizes of which each begins with a row."""
    return 1 << max(0, (sum(sizes) // max(len(sizes), _MOST_ROWS)).bit_length() - 1)


def _floats_in(dtype: DType) -> int:
    """How many floats one element is: a complex number is two."""
    return 2 if dtype.kind == "c" else 1


def _real(dtype: DType) -> DType:
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def _stretches(arrays: Sequence[Array], dtype: DType) -> Iterator[tuple[int, Any]]:
    """The floats of all arrays one after the other, as float64, and where each stretch begins."""
    start, size, waiting = 0, 0, []
    for number, array in enumerate(arrays, 1):
        waiting.append(np.ascontiguousarray(array, dtype).reshape(-1))
        size += array.size * _floats_in(dtype)
        if size >= _AT_ONCE or number == len(arrays):
            values = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            values = values.view(_real(dtype))
            for begin in range(0, size, _AT_ONCE):
                stretch = values[begin : begin + _AT_ONCE]
                yield start + begin, stretch.astype(np.float64, copy=False)
            start, size, waiting = start + size, 0, []
