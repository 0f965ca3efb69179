"""That sums are to be exact: what a user asks for, and on what grids they are computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..errors import InputError, UsageError
from ..kernels import choice as kernels
from . import exact

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
    """A wish for exact sums, and what is known of the values before they come.

    Parameters
    ----------
    bounds : dict of str to float
        The largest absolute value that is expected, by plane, or by the key of the frame, or, by
        the name ``""``, for all planes that are not named.
    warned : set of str
        The frames of which a warning said that a value is beyond its bound. One for all sums of a
        module: a frame with all its maps beyond the bound, in ten sums, is warned of once.
    """

    bounds: Mapping[str, float] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set, compare=False)

    @classmethod
    def of(
        cls, reproducible: bool, absmax: float | Mapping[str, float] | None, keys: Iterable[str]
    ) -> Exactness | None:
        """The wish that the arguments of a coadder express; None for plain sums.

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


def joinable(a: Grid, b: Grid) -> bool:
    """Whether sums on these grids can be joined: their quanta are the same, at different limbs."""
    return a.limbs == b.limbs and (a.top - b.top) % exact.WIDTH == 0


def join_grids(grids: list[Grid]) -> Grid:
    """The grid on which sums of all these can be joined; their order does not matter."""
    return Grid(
        top=max(grid.top for grid in grids),
        limbs=grids[0].limbs,
        addends=sum(grid.addends for grid in grids),
        special=any(grid.special for grid in grids),
    )
