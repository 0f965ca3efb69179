"""Adding numbers to planes: what any way of adding has in common, and the plain one.

An arithmetic knows which planes of `Blocks` hold the sums of one name (a map, or a kind of number
of a state), and what a value adds to each. Which value belongs where is up to its users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .blocks import Blocks
from .exact import Values
from .exactness import Grid
from .reduction import SUM, Reduction
from .scattered import Scattered

Array: TypeAlias = NDArray[Any]
Term: TypeAlias = "tuple[Array, Array]"


class Match(NamedTuple):
    """A plane, and one of another sum that is combined with it.

    Attributes
    ----------
    mine, theirs : str
    subtract : bool
        Subtract it in place of adding it.
    convert : callable or None
        What is done to its numbers before.
    """

    mine: str
    theirs: str
    subtract: bool
    convert: Callable[[Array], Array] | None = None


class Arithmetic(Protocol):
    """A way of adding numbers of one kind.

    Attributes
    ----------
    grids : mapping of str to Grid
        By name, where sums are exact; else empty.
    width : int
        How many numbers of a plane one number is.
    identity : number
        What planes hold where nothing was added.
    """

    @property
    def grids(self) -> Mapping[str, Grid]:
        """See above."""
        ...

    @property
    def width(self) -> int:
        """See above."""
        ...

    @property
    def identity(self) -> Any:
        """See above."""
        ...

    def begin(self, blocks: Blocks, name: str) -> None:
        """Make planes for the sums of a name, filled as the blocks are."""
        ...

    def add(
        self,
        blocks: Blocks,
        name: str,
        start: int,
        values: Array,
        *,
        subtract: bool = False,
        where: str,
    ) -> None:
        """Add values to neighbouring numbers.

        Parameters
        ----------
        blocks : Blocks
        name : str
        start : int
            The first position, counted over all rows.
        values : float64 array, shape (n,)
        subtract : bool
        where : str
            How messages name the frame.
        """
        ...

    def add_runs(
        self, blocks: Blocks, name: str, runs: Scattered, *, subtract: bool, where: str
    ) -> None:
        """Add values that belong to several places of a plane."""
        ...

    def add_all(
        self, blocks: Blocks, name: str, arrays: Sequence[Array], *, first: bool, where: str
    ) -> None:
        """Add arrays of any shapes, whose elements come one after the other in the planes.

        With `first`, nothing was added so far.
        """
        ...

    def terms(
        self, blocks: Blocks, name: str, values: Values, *, subtract: bool, where: str
    ) -> list[Term]:
        """Planes, flat, and what values add to each of them (or take, with `subtract`)."""
        ...

    def align(self, blocks: Blocks, grids: dict[str, Grid]) -> None:
        """Bring sums to the grids of all ranks."""
        ...

    def to_numbers(self, planes: dict[str, Array], name: str, *, keep: bool = False) -> Array:
        """The sums of a name as ordinary numbers.

        Its planes are taken out and used up, unless they are to be kept as they are.
        """
        ...

    def matched(self, name: str, grid: Grid | None, *, subtract: bool, remove: bool) -> list[Match]:
        """The planes of a name, and which planes of another sum are to be combined with each.

        Parameters
        ----------
        name : str
        grid : Grid or None
            That of the other sum, whose top must not be higher; None if that is a plain one.
        subtract : bool
            Subtract its values in place of adding them.
        remove : bool
            Take away what `subtract` had added before.
        """
        ...


class Plain:
    """Combining numbers as they are, in one plane for each name; see `Arithmetic`.

    Parameters
    ----------
    reduction : Reduction
        An elementwise one. `terms`, and to subtract, are for sums.
    dtype : dtype
    """

    grids: ClassVar[Mapping[str, Grid]] = {}
    width = 1

    def __init__(self, reduction: Reduction = SUM, dtype: DTypeLike = np.float64):
        self._combine = reduction.combine
        self._dtype = dtype
        self.identity = reduction.identity_of(dtype)

    def begin(self, blocks: Blocks, name: str) -> None:
        """See `Arithmetic`."""
        blocks.add_plane(name, self._dtype)

    def add(
        self,
        blocks: Blocks,
        name: str,
        start: int,
        values: Array,
        *,
        subtract: bool = False,
        where: str,
    ) -> None:
        """In place."""
        stretch = flat_of(blocks, name)[start : start + len(values)]
        (np.subtract if subtract else self._combine)(stretch, values, out=stretch)

    def add_runs(
        self, blocks: Blocks, name: str, runs: Scattered, *, subtract: bool, where: str
    ) -> None:
        """In place."""
        add_scattered(flat_of(blocks, name), runs, subtract=subtract)

    def add_all(
        self, blocks: Blocks, name: str, arrays: Sequence[Array], *, first: bool, where: str
    ) -> None:
        """In place; the first ones are copied."""
        flat, start = flat_of(blocks, name), 0
        for array in arrays:
            mine = flat[start : start + array.size]
            if array.ndim != 1:
                mine = mine.reshape(array.shape)
            if first:
                mine[...] = array
            else:
                self._combine(mine, array, out=mine)
            start += array.size

    def terms(
        self, blocks: Blocks, name: str, values: Values, *, subtract: bool, where: str
    ) -> list[Term]:
        """The values themselves."""
        return [(flat_of(blocks, name), values)]

    def align(self, blocks: Blocks, grids: dict[str, Grid]) -> None:
        """Nothing to do."""

    def to_numbers(self, planes: dict[str, Array], name: str, *, keep: bool = False) -> Array:
        """The plane itself."""
        return planes[name] if keep else planes.pop(name)

    def matched(self, name: str, grid: Grid | None, *, subtract: bool, remove: bool) -> list[Match]:
        """The plane of this name."""
        return [Match(name, name, subtract != remove)]


def add_scattered(flat: Array, runs: Scattered, *, subtract: bool) -> None:
    """Add values to the numbers of a plane, in place, or subtract them."""
    places = runs.places
    if runs.loops:
        runs.loops.add_runs(flat, runs.raw, *places.for_loops, places.step, subtract)
    else:
        runs.combine(flat, np.subtract if subtract else np.add)


def flat_of(blocks: Blocks, plane: str) -> NDArray[Any]:
    """The numbers of a plane in a row."""
    return blocks.planes[plane].reshape(-1)
