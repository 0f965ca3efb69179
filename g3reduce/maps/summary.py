"""Summaries of sums of map frames: everything but the pixels."""

from __future__ import annotations

import functools
import math
import operator
import pickle
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays.exactness import Grid, join_grids, refuse_more
from ..g3files.archive import EMPTY
from ..spt3gtypes import SkyMap
from .agreement import Parts, require_agreement, require_same_parts, unset_differences
from .numbering import ByPixel, Key, Whole
from .pixels import fuller, is_flat


@dataclass
class Summary:
    """Everything about a sum but its pixels; ranks exchange it before they join their sums.

    Attributes
    ----------
    stubs, storage : dict
        An empty map with the attributes of each plane, and how the output will be stored.
    overflow : dict of str to float
        The sum of what the map-maker found outside of the map, for each plane.
    numbering : Key or None
        How pixels are numbered; None as long as there was none.
    parts : Parts
        Which planes the frames have had.
    where : str
        How messages name the first frame that was added.
    grids : dict of str to Grid
        How each plane is summed, where sums are exact; else empty.
    beyond : dict of str to list of float
        For exact sums, all overflows that are not 0: `overflow` is 0 until they are joined, and
        their sum from then on.
    skipped : int
        How many pixels of the frames were left out, because they are not finite.
    n_flips : int
        How many sign-flip realisations of this sum there are beside it.
    overflow_of_flips : dict of str to float64 array, shape (n_flips,)
        The overflow of each of them, for planes that have had any.
    """

    stubs: dict[str, SkyMap]
    storage: dict[str, str]
    overflow: dict[str, float]
    numbering: Key | None
    parts: Parts
    where: str
    grids: dict[str, Grid] = field(default_factory=dict)
    beyond: dict[str, list[float]] = field(default_factory=dict)
    skipped: int = 0
    n_flips: int = 0
    overflow_of_flips: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        stubs = {name: pickle.dumps(stub) for name, stub in self.stubs.items()}
        return self.__dict__ | {"stubs": stubs}

    def __setstate__(self, state: dict[str, Any]) -> None:
        stubs = {name: _unpickled(stub) for name, stub in state["stubs"].items()}
        self.__dict__.update(state | {"stubs": stubs})

    @classmethod
    def empty(
        cls, stubs: Mapping[str, SkyMap], parts: Parts, where: str, n_flips: int = 0
    ) -> Summary:
        """The summary of a sum of no frames, that is to be one of frames with these planes."""
        return cls(
            stubs={name: stub.clone(False) for name, stub in stubs.items()},
            storage=dict.fromkeys(stubs, EMPTY),
            overflow=dict.fromkeys(stubs, 0.0),
            numbering=None,
            parts=parts,
            where=where,
            n_flips=n_flips,
        )

    def signed(self, subtracts: Collection[str], *, remove: bool) -> Summary:
        """The summary of what is added to a sum if this one is.

        Parameters
        ----------
        subtracts : collection of str
            The planes that are subtracted.
        remove : bool
            Whether what was added like this before is taken away.
        """
        signs = {name: -1 if (name in subtracts) != remove else 1 for name in self.stubs}
        times = -1 if remove else 1
        return replace(
            self,
            overflow={name: signs[name] * x for name, x in self.overflow.items()},
            beyond={name: [signs[name] * x for x in found] for name, found in self.beyond.items()},
            grids={
                name: replace(grid, addends=times * grid.addends)
                for name, grid in self.grids.items()
            },
            skipped=times * self.skipped,
        )


@functools.lru_cache(maxsize=64)
def _unpickled(stub: bytes) -> SkyMap:
    """A stub from another rank, which is not to be changed.

    An empty HEALPix map of high resolution takes half a millisecond to make, and all ranks send the
    same ones.
    """
    return pickle.loads(stub)


def require_same(other: Summary, first: Summary, *, require_weights: bool) -> None:
    """Find out whether two sums agree.

    Raises
    ------
    MismatchError
        If not.
    """
    require_agreement(other.stubs, first.stubs, other.where, first.where)
    require_same_parts(other.parts, first.parts, other.where, first.where, weights=require_weights)


def join_agreeing(summaries: Sequence[Summary], *, require_weights: bool) -> Summary:
    """The summary of the sum of several sums, if they agree with the first of them.

    Raises
    ------
    MismatchError, InputError
        If they do not, or are of too many addends.
    """
    first, *others = summaries
    for other in others:
        require_same(other, first, require_weights=require_weights)
    return join(summaries)


def join(summaries: Sequence[Summary]) -> Summary:
    """The summary of the sum of several sums that agree; their order does not matter.

    Raises
    ------
    InputError
        If there are too many addends to be summed exactly.
    """
    joined = Summary(
        stubs={},
        storage={},
        overflow={},
        numbering=_common_numbering([summary.numbering for summary in summaries]),
        parts=functools.reduce(operator.or_, (summary.parts for summary in summaries)),
        where=summaries[0].where,
        skipped=sum(summary.skipped for summary in summaries),
        n_flips=max(summary.n_flips for summary in summaries),
    )
    for summary in summaries:
        for name, found_of_flips in summary.overflow_of_flips.items():
            joined.overflow_of_flips[name] = (
                joined.overflow_of_flips.get(name, 0.0) + found_of_flips
            )
    for name in sorted({name for summary in summaries for name in summary.stubs}):
        having = [summary for summary in summaries if name in summary.stubs]
        stub = having[0].stubs[name].clone(False)
        for summary in having[1:]:
            unset_differences(stub, summary.stubs[name])
        storage = fuller(*(summary.storage[name] for summary in having))
        if not is_flat(stub):
            stub.shift_ra = any(summary.stubs[name].shift_ra for summary in having)
        joined.stubs[name], joined.storage[name] = stub, storage
        found = [x for summary in having for x in summary.beyond.get(name, ())]
        found += [summary.overflow[name] for summary in having if not summary.grids]
        joined.overflow[name] = _sum_in_any_order(found)
        grids = [summary.grids[name] for summary in having if summary.grids]
        if grids and found:
            joined.beyond[name] = found
        if grids:
            joined.grids[name] = join_grids(grids)
            refuse_more(f"maps {name}", joined.grids[name].addends, "All ranks together")
    return joined


def _sum_in_any_order(values: Sequence[float]) -> float:
    """The sum, the same in whatever order; of infinities and the like, what numpy makes of them."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        with np.errstate(invalid="ignore", over="ignore"):
            return float(np.sum(sorted(values)))


def _common_numbering(numberings: Sequence[Key | None]) -> Key | None:
    """The numbering in which sums with these can be joined."""
    met = {key for key in numberings if key is not None}
    if len(met) < 2:
        return next(iter(met), None)
    return Whole.key if Whole.key in met else ByPixel.key
