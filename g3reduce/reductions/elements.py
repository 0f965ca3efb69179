"""States that are combined element by element, such as sums of arrays, on one rank.

From its first frame on a group (a key of ``by=``) has a few arrays for each kind of number, cut
into rows as strategies want them, so that nothing large is copied before it is joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..arrays.exactness import Grid, join_grids, refuse_more
from ..arrays.reduction import Reduction
from ..errors import MismatchError
from .held import DType, ElementwiseRules, Held
from .states import Array, ArrayLeaf, Structure, array_leaves, leaves_of, take_apart

T = TypeVar("T")


class ArrayShard(NamedTuple):
    """The part of an array that a rank owns after ``result="sharded"``.

    Attributes
    ----------
    indices : int64 array
        Which elements of the flattened array.
    values : array
        These elements.
    shape : tuple of int
        Of the whole array.
    """

    indices: np.ndarray[Any, np.dtype[np.int64]]
    values: Array
    shape: tuple[int, ...]


class GroupSummary(NamedTuple):
    """The summary of a group, which ranks exchange before the group is joined.

    Attributes
    ----------
    structure : Structure
    where : str
        The frame of which it is.
    grids : dict of dtype to Grid
        The grid of each kind of number that is summed exactly.
    """

    structure: Structure
    where: str
    grids: dict[DType, Grid]


class Elements:
    """The running state of one group on this rank.

    Parameters
    ----------
    rules : ElementwiseRules
        How it is combined, and where its arrays are to lie.
    state : object
        That of the first frame. It is copied.
    where : str
        How messages name that frame.
    """

    def __init__(self, rules: ElementwiseRules, state: Any, where: str):
        self._rules, self._where = rules, where
        self._structure, arrays = take_apart(state, elementwise=True)
        _require_numbers(rules, self._structure, where)
        leaves = _by_dtype(self._structure, array_leaves(self._structure))
        self.held = {dtype: Held(rules, dtype, those) for dtype, those in leaves.items()}
        with np.errstate(invalid="ignore", over="ignore"):
            for dtype, those in self._prepared(arrays, where).items():
                self.held[dtype].combine(those, where, first=True)

    @property
    def summary(self) -> GroupSummary:
        """The summary of this rank's group, for the other ranks."""
        grids = {dtype: held.grid for dtype, held in self.held.items() if held.grid is not None}
        return GroupSummary(self._structure, self._where, grids)

    def combine(self, state: Any, where: str) -> None:
        """Combine with the state of another frame.

        Raises
        ------
        MismatchError
            If it is of another kind, shape or dtype.
        InputError
            If it is one more than can be summed exactly.
        """
        structure, arrays = take_apart(state, elementwise=True)
        if structure != self._structure:
            _require_numbers(self._rules, structure, where)
            raise mismatch(self._rules.reduction, self.summary, GroupSummary(structure, where, {}))
        with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
            for dtype, those in self._prepared(arrays, where).items():
                self.held[dtype].combine(those, where)

    def _prepared(self, arrays: list[Array], where: str) -> dict[DType, list[Array]]:
        return _by_dtype(self._structure, self._rules.prepare(arrays, where))


def _by_dtype(structure: Structure, things: Sequence[T]) -> dict[DType, list[T]]:
    """Things that belong to the arrays of a structure, in their order, by kind of number."""
    found: dict[DType, list[T]] = {}
    for leaf, thing in zip(array_leaves(structure), things, strict=True):
        found.setdefault(leaf.dtype, []).append(thing)
    return found


def mismatch(reduction: Reduction, first: GroupSummary, second: GroupSummary) -> MismatchError:
    """The error for two states that cannot be combined."""
    return MismatchError(
        f"The reduction {reduction.name!r} cannot combine {first.structure} (from {first.where}) "
        f"and {second.structure} (from {second.where}): it works element by element, so all "
        "states must have the same shapes and kinds of numbers."
    )


def join_summaries(rules: ElementwiseRules, summaries: Sequence[GroupSummary]) -> GroupSummary:
    """The summary of a group on all ranks together.

    Raises
    ------
    MismatchError
        If they cannot be combined.
    InputError
        If they are more than can be summed exactly.
    """
    first, *others = summaries
    for theirs in others:
        if theirs.structure != first.structure:
            raise mismatch(rules.reduction, first, theirs)
    grids = {
        dtype: join_grids([theirs.grids[dtype] for theirs in summaries]) for dtype in first.grids
    }
    for grid in grids.values():
        refuse_more("states", grid.addends, "All ranks together")
    return first._replace(grids=grids)


def _require_numbers(rules: ElementwiseRules, structure: Structure, where: str) -> None:
    reduction = rules.reduction
    for leaf in leaves_of(structure):
        if isinstance(leaf, ArrayLeaf) and reduction.takes(leaf.dtype):
            rules.require(leaf.dtype, where)
            continue
        raise MismatchError(
            f"extract of the reduction {reduction.name!r} returned {leaf} (from {where}); the "
            f"operation {reduction.operation} takes numbers on which it is defined, arrays of "
            "them, and dictionaries, lists, tuples and dataclasses of these."
        )
