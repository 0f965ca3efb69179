"""Adding numbers so that their order does not matter: an arithmetic of integers on grids."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..limits import LIMITS
from ..spt3glog import unit_logger
from . import exact
from .arithmetic import Array, Match, Term, flat_of
from .blocks import Blocks
from .exact import Values
from .exactness import Exactness, Grid
from .scattered import Scattered

logger = unit_logger(__name__)


class Exact:
    """Adding integers on a grid, as `g3reduce.arrays.exact` has it; see `Arithmetic`.

    Blocks hold planes of int64: for the map ``T`` the limb arrays ``T#0``, ``T#1``, ..., and
    ``T#n`` from the first value on that is not finite. So ranks join them by the same sum as any
    others. A complex number is two floats.

    Parameters
    ----------
    exactness : Exactness
    grids : dict of str to Grid
        Those that there are; they are kept up to date.
    dtype : dtype
        Of the numbers that are added: float32, float64 or complex numbers of these.
    """

    identity = 0

    def __init__(self, exactness: Exactness, grids: dict[str, Grid], dtype: DTypeLike = np.float64):
        self.grids = grids
        self._exactness = exactness
        self._dtype = np.dtype(dtype)
        self.width = 2 if self._dtype.kind == "c" else 1
        self._float = np.dtype(f"f{self._dtype.itemsize // self.width}")

    def begin(self, blocks: Blocks, name: str) -> None:
        """One plane for each limb, and for the codes of what is not finite if there is any."""
        grid = self.grids.setdefault(name, self._exactness.grid_of(name))
        for limb in [*_limbs(name, grid), *([_special(name)] if grid.special else [])]:
            blocks.add_plane(limb, np.int64)

    def add(
        self,
        blocks: Blocks,
        name: str,
        start: int,
        values: Values,
        *,
        subtract: bool = False,
        where: str,
    ) -> None:
        """All limbs at a time, in steps that stay in the cache."""
        values, codes = self._make_fit(blocks, name, values, subtract, where)
        grid, part = self.grids[name], slice(start, start + len(values))
        limbs = [flat_of(blocks, limb)[part] for limb in _limbs(name, grid)]
        exact.deposit(limbs, values, grid.top, subtract=subtract)
        if codes is not None:
            flat_of(blocks, _special(name))[part] += codes

    def add_runs(
        self, blocks: Blocks, name: str, runs: Scattered, *, subtract: bool, where: str
    ) -> None:
        """Straight from the bytes where loops are compiled and all values are finite."""
        if loops := runs.loops:
            where_in_raw, step = (runs.raw, *runs.places.for_loops), runs.places.step
            bound = loops.largest_of_runs(*where_in_raw)
            if math.isfinite(bound):
                grid = self._grid_for(blocks, name, bound, where)
                limbs = [flat_of(blocks, limb) for limb in _limbs(name, grid)]
                scale, lifts = exact.lifts(grid.top, len(limbs), subtract=subtract)
                loops.deposit_runs(*limbs[:2], limbs[-1], *where_in_raw, step, scale, lifts)
                return
        terms = self.terms(blocks, name, runs.in_a_row(), subtract=subtract, where=where)
        for flat, values in terms:
            runs.combine(flat, np.subtract if subtract else np.add, values)

    def add_all(
        self, blocks: Blocks, name: str, arrays: Sequence[Array], *, first: bool, where: str
    ) -> None:
        """Small arrays together, large ones in parts."""
        for start, values in self._cut(arrays):
            self.add(blocks, name, start, values, where=where)

    def terms(
        self, blocks: Blocks, name: str, values: Values, *, subtract: bool, where: str
    ) -> list[Term]:
        """The integers that are added to each limb array."""
        values, codes = self._make_fit(blocks, name, values, subtract, where)
        grid = self.grids[name]
        planes, parts = _limbs(name, grid), exact.split(values, grid.top, grid.limbs)
        if codes is not None:  # they count, whatever the sign
            planes.append(_special(name))
            parts.append(-codes if subtract else codes)
        return [(flat_of(blocks, plane), part) for plane, part in zip(planes, parts, strict=True)]

    def align(self, blocks: Blocks, grids: dict[str, Grid]) -> None:
        """Raise all tops to those of `grids`, and hold the same planes as other ranks."""
        for name, grid in grids.items():
            self._raise(blocks, name, grid.top)
            if grid.special:
                self._count_specials(blocks, name)
        self.grids = grids

    def to_numbers(self, planes: dict[str, Array], name: str, *, keep: bool = False) -> Array:
        """Each sum, rounded once."""
        grid = self.grids[name]
        take = planes.__getitem__ if keep else planes.pop
        limbs = [take(limb) for limb in _limbs(name, grid)]
        codes = take(_special(name)).reshape(-1) if grid.special else None
        shape, flat = limbs[0].shape, [limb.reshape(-1) for limb in limbs]
        floats = exact.to_floats(flat, grid.top, codes, self._float.type, keep=keep)
        return floats.reshape(shape).view(self._dtype)

    def matched(self, name: str, grid: Grid | None, *, subtract: bool, remove: bool) -> list[Match]:
        """Limbs of the same quantum; those of the other sum that are below all of mine are dropped.

        Of values that are not finite, codes are counted.
        """
        if grid is None:
            raise TypeError("a plain sum, and an exact one")
        mine = self.grids[name]
        steps = (mine.top - grid.top) // exact.WIDTH
        pairs = zip(_limbs(name, mine)[steps:], _limbs(name, grid), strict=False)
        matches = [Match(*pair, subtract != remove) for pair in pairs]
        if grid.special:
            code = _special(name)
            matches.append(Match(code, code, remove, exact.swapped if subtract else None))
        return matches

    def _cut(self, arrays: Sequence[Array]) -> Iterator[tuple[int, Values]]:
        """The floats of all arrays as float64, in stretches, and where each begins."""
        at_once, start, size, waiting = LIMITS.exact_floats, 0, 0, []
        for number, array in enumerate(arrays, 1):
            waiting.append(np.ascontiguousarray(array, self._dtype).reshape(-1))
            size += array.size * self.width
            if size >= at_once or number == len(arrays):
                values = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                values = values.view(self._float)
                for begin in range(0, size, at_once):
                    stretch = values[begin : begin + at_once]
                    yield start + begin, stretch.astype(np.float64, copy=False)
                start, size, waiting = start + size, 0, []

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
        self._grid_for(blocks, name, bound, where)
        return values, codes

    def _grid_for(self, blocks: Blocks, name: str, bound: float, where: str) -> Grid:
        """The grid of a name, raised so far that values up to a bound fit."""
        expected = self._exactness.bound_of(name)
        if expected is not None and bound > expected and not self._exactness.warned:
            self._exactness.warned.add(where)
            logger.warning(
                "%s: %s has a value of %g, beyond the bound that absmax gives (%g). The sums stay "
                "reproducible, but may be less precise. (There is no warning of further values.)",
                *(where, name, bound, expected),
            )
        if not exact.fits(bound, self.grids[name].top):
            self._raise(blocks, name, exact.top_for(bound, self.grids[name].top))
        return self.grids[name]

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


def _limbs(name: str, grid: Grid) -> list[str]:
    return [f"{name}#{number}" for number in range(grid.limbs)]


def _special(name: str) -> str:
    return f"{name}#n"
