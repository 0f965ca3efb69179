"""The running elements of states on one rank, and the rules by which they are combined.

Each kind of number of a group (a key of ``by=``) lies in planes, as `Blocks` has them: one for the
numbers as they are; or, for exact sums of floats, one for each limb. What is cut into rows, moved
and joined are planes, whatever they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..arrays.arithmetic import Arithmetic, Plain
from ..arrays.blocks import Blocks
from ..arrays.exactarithmetic import Exact
from ..arrays.exactness import Exactness, Grid, refuse_more
from ..arrays.reduction import Reduction
from ..errors import InputError, UsageError
from .states import Array, ArrayLeaf

DType = np.dtype[Any]

_MOST_ROWS = 4096

_EXTREMES = ("MIN", "MAX")


@dataclass(frozen=True)
class ElementwiseRules:
    """The rules by which the states of a reducer are combined element by element.

    Attributes
    ----------
    reduction : Reduction
        An elementwise one.
    exactness : Exactness or None
        The wish that the result does not depend on the order, and what is known of floats that are
        summed.
    """

    reduction: Reduction
    exactness: Exactness | None = None

    @property
    def name(self) -> str:
        """The name of the values in messages, and of their planes."""
        return f"the reduction {self.reduction.name!r}"

    def arithmetic(self, dtype: DType, grid: Grid | None = None) -> Arithmetic:
        """The arithmetic for numbers of a kind; on this grid, where they are summed exactly."""
        if self.exactness is None or self.reduction.operation != "SUM" or dtype.kind not in "fc":
            return Plain(self.reduction, dtype)
        return Exact(self.exactness, {} if grid is None else {self.name: grid}, dtype)

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
        if operation == "SUM" and dtype.itemsize > (16 if dtype.kind == "c" else 8):
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
    """The wish that the arguments of a reducer express; None if the order may matter.

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


class Held:
    """The running elements of one kind of number on this rank.

    All floats of one kind in a state are on one grid, where they are summed exactly.

    Parameters
    ----------
    rules : ElementwiseRules
    dtype : dtype
    leaves : sequence of ArrayLeaf
        Those of this kind in the structure of the states.

    Attributes
    ----------
    blocks : Blocks
        All of its rows are held.
    """

    def __init__(self, rules: ElementwiseRules, dtype: DType, leaves: Sequence[ArrayLeaf]):
        self._name = rules.name
        self._arithmetic = rules.arithmetic(dtype)
        width = self._arithmetic.width
        size = sum(prod(leaf.shape) for leaf in leaves)
        length = row_length((size,))
        n_rows = -(-size // length)
        self.blocks = Blocks(n_rows, length * width, {})
        self.blocks.replace(np.arange(n_rows), {})
        self._arithmetic.begin(self.blocks, self._name)
        for plane in self.blocks.planes.values():
            plane.reshape(-1)[size * width :] = self._arithmetic.identity

    @property
    def grid(self) -> Grid | None:
        """The grid of exact sums; None for numbers as they are."""
        return self._arithmetic.grids.get(self._name)

    def combine(self, arrays: Sequence[Array], where: str, *, first: bool = False) -> None:
        """Combine with the arrays of another state; those of the first one are copied."""
        if self.grid is not None:
            refuse_more("states", self.grid.addends + 1, where)
        self._arithmetic.add_all(self.blocks, self._name, arrays, first=first, where=where)
        if self.grid is not None:
            self.grid.addends += 1

    def align(self, grid: Grid | None) -> None:
        """Bring exact sums to the grid of all ranks."""
        if grid is not None:
            self._arithmetic.align(self.blocks, {self._name: grid})


def row_length(sizes: Sequence[int]) -> int:
    """Elements in a row, for arrays of these sizes of which each begins with a row."""
    return 1 << max(0, (sum(sizes) // max(len(sizes), _MOST_ROWS)).bit_length() - 1)
