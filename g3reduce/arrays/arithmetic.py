"""How the values of a running sum are added: as floats, or so that their order does not matter.

An arithmetic knows which planes of `Blocks` hold the sum of a map, and what a value adds to each.
Which pixel stands where is not its business.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from . import exact, kernels
from .blocks import Blocks
from .exact import Values

logger = logging.getLogger(__name__)

Term: TypeAlias = "tuple[NDArray[Any], NDArray[Any]]"

# Limbs of the sums of a map: with a bound that the user gives, and without any.
_BOUNDED, _UNBOUNDED = 2, 3


@dataclass
class Grid:
    """The grid of an exact sum, of a map or of a state: what is needed to make its integers again.

    Attributes
    ----------
    top : int
        The power of two of the highest digit: see `g3reduce.arrays.exact`.
    limbs : int
        How many integers there are for each number.
    addends : int
        How many maps, or states, were added.
    special : bool
        Whether any of their values was not finite.
    """

    top: int
    limbs: int
    addends: int = 0
    special: bool = False


@dataclass(frozen=True)
class Exactness:
    """That sums are to be exact, and what is known of the values before they come.

    Parameters
    ----------
    bounds : dict of str to float
        The largest absolute value that is expected, by plane, or by the key of the frame, or, by
        the name ``""``, for all planes that are not named.
    told : set of str
        Where it was told that a value is beyond its bound. Once for all sums of a module: a frame
        with all its maps beyond the bound, in ten sums, is told of once.
    """

    bounds: Mapping[str, float] = field(default_factory=dict)
    told: set[str] = field(default_factory=set, compare=False)

    @classmethod
    def of(
        cls, reproducible: bool, absmax: float | Mapping[str, float] | None, keys: Iterable[str]
    ) -> Exactness | None:
        """What the arguments of a coadder ask for; None for plain sums.

        Parameters
        ----------
        reproducible : bool
        absmax : float, dict of str to float, or None
        keys : iterable of str
            The keys of frames that hold maps.

        Raises
        ------
        UsageError
            If they cannot be used, or the environment asks for kernels that cannot.
        """
        if reproducible:
            kernels.check()
        if absmax is None:
            return cls() if reproducible else None
        if not reproducible:
            raise UsageError(
                "absmax is given, but is of use with reproducible=True only: say that, too, or "
                "leave it out."
            )
        bounds = dict(absmax) if isinstance(absmax, Mapping) else {"": absmax}
        known = [*keys, *([] if isinstance(absmax, Mapping) else [""])]
        for name, bound in bounds.items():
            if not isinstance(name, str) or name.split(".")[0] not in known:
                raise UsageError(
                    f"absmax has a bound for {name!r}; expected a plane such as 'T' or 'Wpol.TT', "
                    f"or one of {', '.join(key for key in known if key)}."
                )
            if isinstance(bound, bool) or not isinstance(bound, int | float | np.number):
                raise UsageError(f"absmax is {bound!r}; expected a number.")
            if not 0 < bound < math.inf:
                raise UsageError(f"absmax is {bound!r}; expected a positive, finite number.")
        return cls({name: float(bound) for name, bound in bounds.items()})

    def bound_of(self, name: str) -> float | None:
        """The bound for a plane, if there is one."""
        for key in (name, name.split(".")[0], ""):
            if key in self.bounds:
                return self.bounds[key]
        return None

    def grid_of(self, name: str) -> Grid:
        """The grid on which the sums of a plane begin.

        Where a bound is given, its top fits that closely, so that two limbs reach far enough.
        """
        bound = self.bound_of(name)
        if bound is None:
            return Grid(exact.LOWEST, _UNBOUNDED)
        closest = max(math.frexp(bound)[1] + 1, exact.LOWEST)
        return Grid(closest, _BOUNDED)


class Arithmetic(Protocol):
    """A way of adding.

    Attributes
    ----------
    grids : dict of str to Grid
        By plane, where sums are exact; else empty.
    """

    @property
    def grids(self) -> dict[str, Grid]:
        """See above."""
        ...

    def begin(self, blocks: Blocks, name: str) -> None:
        """Hold what the sums of a map need."""
        ...

    def add(
        self, blocks: Blocks, name: str, start: int, values: Values, *, subtract: bool, where: str
    ) -> None:
        """Add values to neighbouring places.

        Parameters
        ----------
        blocks : Blocks
        name : str
            The plane.
        start : int
            The first place, counted over all rows.
        values : float64 array, shape (n,)
        subtract : bool
        where : str
            How messages name the frame.
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

    def settle(self, blocks: Blocks) -> None:
        """Make ordinary planes of float64 of what was summed up."""
        ...


class Plain:
    """Adding floats, each sum rounded; see `Arithmetic`."""

    grids: dict[str, Grid] = {}  # noqa: RUF012 (never any)

    def begin(self, blocks: Blocks, name: str) -> None:
        """One plane."""
        blocks.add_plane(name, np.float64)

    def add(
        self, blocks: Blocks, name: str, start: int, values: Values, *, subtract: bool, where: str
    ) -> None:
        """In place."""
        stretch: Any = _flat(blocks, name)[start : start + len(values)]
        (np.subtract if subtract else np.add)(stretch, values, out=stretch)

    def terms(
        self, blocks: Blocks, name: str, values: Values, *, subtract: bool, where: str
    ) -> list[Term]:
        """The values themselves."""
        return [(_flat(blocks, name), values)]

    def align(self, blocks: Blocks, grids: dict[str, Grid]) -> None:
        """Nothing to do."""

    def settle(self, blocks: Blocks) -> None:
        """Nothing to do."""


class Exact:
    """Adding integers on a grid, as `g3reduce.arrays.exact` has it; see `Arithmetic`.

    Blocks hold planes of int64: for the map ``T`` the limbs ``T#0``, ``T#1``, ..., and ``T#n`` from
    the first value on that is not finite. So ranks join them by the same sum as any others.

    Parameters
    ----------
    exactness : Exactness
    grids : dict of str to Grid
        Those that there are; they are kept up to date.
    """

    def __init__(self, exactness: Exactness, grids: dict[str, Grid]):
        self.grids = grids
        self._exactness = exactness

    def begin(self, blocks: Blocks, name: str) -> None:
        """The limbs."""
        grid = self.grids.setdefault(name, self._exactness.grid_of(name))
        for plane in planes_of(name, grid):
            blocks.add_plane(plane, np.int64)

    def add(
        self, blocks: Blocks, name: str, start: int, values: Values, *, subtract: bool, where: str
    ) -> None:
        """Block by block, all limbs at a time."""
        values, codes = self._make_fit(blocks, name, values, subtract, where)
        grid, place = self.grids[name], slice(start, start + len(values))
        limbs = [_flat(blocks, plane)[place] for plane in _limbs(name, grid)]
        exact.deposit(limbs, values, grid.top, subtract=subtract)
        if codes is not None:
            _flat(blocks, _special(name))[place] += codes

    def terms(
        self, blocks: Blocks, name: str, values: Values, *, subtract: bool, where: str
    ) -> list[Term]:
        """What is added to each limb."""
        values, codes = self._make_fit(blocks, name, values, subtract, where)
        grid = self.grids[name]
        parts = exact.split(values, grid.top, grid.limbs)
        if codes is not None:  # they count, whatever the sign
            parts.append(-codes if subtract else codes)
        planes = [*_limbs(name, grid), *([] if codes is None else [_special(name)])]
        flat = [_flat(blocks, plane) for plane in planes]
        return list(zip(flat, parts, strict=True))

    def align(self, blocks: Blocks, grids: dict[str, Grid]) -> None:
        """Raise all tops to those of `grids`, and hold the same planes as other ranks."""
        for name, grid in grids.items():
            self._raise(blocks, name, grid.top)
            if grid.special:
                self._count_specials(blocks, name)
        self.grids = grids

    def settle(self, blocks: Blocks) -> None:
        """Round each sum, once."""
        planes: dict[str, NDArray[Any]] = {}
        for name, grid in self.grids.items():
            shape = blocks.planes[_limbs(name, grid)[0]].shape
            limbs: list[Any] = [_flat(blocks, plane) for plane in _limbs(name, grid)]
            codes: Any = _flat(blocks, _special(name)) if grid.special else None
            for plane in planes_of(name, grid):  # so that it is freed before the next is settled
                del blocks.planes[plane]
            planes[name] = exact.settle(limbs, grid.top, codes).reshape(shape)
        blocks.planes.update(planes)

    def _make_fit(
        self, blocks: Blocks, name: str, values: Values, subtract: bool, where: str
    ) -> tuple[Values, NDArray[np.int64] | None]:
        """Make planes ready for values. Those that are not finite become 0, and codes."""
        bound, codes = exact.largest(values), None
        if not math.isfinite(bound):
            codes = exact.specials(values, subtract=subtract)
            values = np.where(codes == 0, values, 0.0)
            bound = exact.largest(values)
            self._count_specials(blocks, name)
        expected = self._exactness.bound_of(name)
        if expected is not None and bound > expected and not self._exactness.told:
            self._exactness.told.add(where)
            logger.warning(
                "%s: %s has a value of %g, beyond the bound that absmax gives (%g). The sums stay "
                "reproducible, but may be less precise. (Further values are not told of.)",
                *(where, name, bound, expected),
            )
        if not exact.fits(bound, self.grids[name].top):
            self._raise(blocks, name, exact.top_for(bound, self.grids[name].top))
        return values, codes

    def _raise(self, blocks: Blocks, name: str, top: int) -> None:
        grid = self.grids[name]
        if top == grid.top:
            return
        planes = _limbs(name, grid)
        limbs: list[Any] = [blocks.planes[plane] for plane in planes]
        steps = (top - grid.top) // exact.WIDTH
        blocks.planes.update(zip(planes, exact.raised(limbs, steps), strict=True))
        grid.top = top

    def _count_specials(self, blocks: Blocks, name: str) -> None:
        if not self.grids[name].special:
            self.grids[name].special = True
            blocks.add_plane(_special(name), np.int64)


def refuse_more(what: str, addends: int, where: str) -> None:
    """Refuse as many addends as would overflow.

    Parameters
    ----------
    what : str
        How messages name them, such as ``"maps T"``.
    addends : int
    where : str
        With which frame there are as many.

    Raises
    ------
    InputError
        Before anything wrong is summed.
    """
    if addends > exact.MOST_ADDENDS:
        raise InputError(
            f"{where}: {addends} {what} are too many to be summed with reproducible=True, "
            f"which can take {exact.MOST_ADDENDS}. Sum groups of them first, and then their sums."
        )


def join_grids(grids: list[Grid]) -> Grid:
    """The grid on which sums of all these can be joined; their order does not matter."""
    return Grid(
        top=max(grid.top for grid in grids),
        limbs=grids[0].limbs,
        addends=sum(grid.addends for grid in grids),
        special=any(grid.special for grid in grids),
    )


def _limbs(name: str, grid: Grid) -> list[str]:
    return [f"{name}#{number}" for number in range(grid.limbs)]


def _special(name: str) -> str:
    return f"{name}#n"


def planes_of(name: str, grid: Grid) -> list[str]:
    """The planes that hold exact sums: their limbs, and then the codes if any are special."""
    return [*_limbs(name, grid), *([_special(name)] if grid.special else [])]


def _flat(blocks: Blocks, plane: str) -> NDArray[Any]:
    return blocks.planes[plane].reshape(-1)
