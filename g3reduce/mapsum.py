"""The running sum of map frames: planes over the submaps that were hit."""

from __future__ import annotations

import functools
import hashlib
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import skymaps
from .blocks import Blocks
from .pixels import (
    DENSE,
    EMPTY,
    Dense,
    Pixels,
    Plane,
    Points,
    Runs,
    encode,
    fuller,
    is_flat,
)
from .reductions import SUM
from .skymaps import MapFrame, Parts
from .weighting import STOKES


@dataclass
class Summary:
    """What ranks tell each other of a sum before they join it: all but the pixels.

    Attributes
    ----------
    stubs, storage : dict
        An empty map with the attributes of each plane, and how the output will be stored.
    overflow : dict of str to float
        The sum of what the map-maker found outside of the map, for each plane.
    by_rows : bool
        Whether pixels of a flat-sky map are numbered row by row (else column by column).
    parts : Parts
        Which planes the frames have had.
    where : str
        How messages name the first frame that was added.
    """

    stubs: dict[str, Any]
    storage: dict[str, str]
    overflow: dict[str, float]
    by_rows: bool
    parts: Parts
    where: str


class MapSum:
    """A sum of map frames, as planes of numpy arrays over submaps.

    The 1-D index of pixels is cut into equal submaps, and only those that were hit are held, as
    rows of `blocks`. Pixels are numbered as in the map, except that those of flat-sky maps are
    numbered by columns (as sparse ones are stored) until the first dense one comes.

    Parameters
    ----------
    summary : Summary
        Of which maps this is to be a sum.
    require_weights : bool
        Refuse to add frames with weights to frames without.

    Attributes
    ----------
    blocks : Blocks
        The sums, one plane of float64 for each map of a frame.
    summary : Summary
        Everything else.
    """

    def __init__(self, summary: Summary, *, require_weights: bool = True):
        self.summary = summary
        self._require_weights = require_weights
        stub = next(iter(summary.stubs.values()))
        self._npix = int(stub.size)
        self._length = submap_length(self._npix)
        n_rows = -(-self._npix // self._length)
        self.blocks = Blocks(
            n_rows, self._length, dict.fromkeys(summary.stubs, np.float64), fill=SUM.identity
        )
        self._shape: tuple[int, int] | None = stub.shape if is_flat(stub) else None

    @classmethod
    def of(cls, frame: MapFrame, *, require_weights: bool = True) -> MapSum:
        """An empty sum for frames like this one."""
        empty = Summary(
            stubs={name: stub.clone(False) for name, stub in frame.stubs.items()},
            storage=dict.fromkeys(frame.stubs, EMPTY),
            overflow=dict.fromkeys(frame.stubs, 0.0),
            by_rows=False,
            parts=Parts.of(frame.planes),
            where=frame.where,
        )
        return cls(empty, require_weights=require_weights)

    def add(self, frame: MapFrame, sign: int = 1) -> None:
        """Add a frame; with ``sign=-1`` subtract its T, Q and U. Weights and hits always add.

        Raises
        ------
        MismatchError
            Before anything is added, if the frame does not agree with those that were.
        """
        self.check(frame)
        self.summary.parts |= Parts.of(frame.planes)
        for name in frame.stubs:
            if name not in self.summary.stubs:  # weights or hits, which the first frame had not
                self._add_plane(name, frame.stubs[name])
        for name, plane in frame.planes.items():
            subtract = (sign < 0 and name in STOKES) != (name in frame.flipped)
            self._note_storage(name, plane)
            self.summary.overflow[name] += -plane.overflow if subtract else plane.overflow
            with np.errstate(invalid="ignore", over="ignore"):  # inf - inf is NaN, as it should be
                self._add_pixels(name, plane.pixels(), np.subtract if subtract else np.add)

    def check(self, frame: MapFrame) -> None:
        """Find out whether a frame agrees with those that were added.

        Raises
        ------
        MismatchError
            If not.
        """
        mine, there = self.summary, self.summary.where
        skymaps.require_agreement(frame.stubs, mine.stubs, frame.where, there)
        skymaps.require_same_parts(
            Parts.of(frame.planes), mine.parts, frame.where, there, weights=self._require_weights
        )

    def digest(self) -> bytes:
        """A short name of the sums: equal for equal pixels, empty if all are 0."""
        if not any(np.any(plane) for plane in self.blocks.planes.values()):
            return b""
        digest = hashlib.blake2b(self.blocks.rows.tobytes(), digest_size=16)
        for name in sorted(self.blocks.planes):
            digest.update(name.encode())
            digest.update(self._flat(name).view(np.uint8).data)
        return digest.digest()

    def prepare(self, summaries: Sequence[Summary]) -> None:
        """Make ready for joining with the sums of other ranks, whose summaries these are.

        Afterwards the blocks of all ranks number their rows and pixels in the same way and have
        the same planes, and `summary` describes the whole.

        Raises
        ------
        MismatchError
            The same on all ranks, if the sums do not agree.
        """
        first, *others = summaries
        for other in others:
            skymaps.require_agreement(other.stubs, first.stubs, other.where, first.where)
            skymaps.require_same_parts(
                other.parts, first.parts, other.where, first.where, weights=self._require_weights
            )
        joined = join(summaries)
        for name, stub in joined.stubs.items():
            if name not in self.blocks.planes:
                self._add_plane(name, stub)
        self.blocks.planes = {name: self.blocks.planes[name] for name in sorted(joined.stubs)}
        if joined.by_rows:
            self._number_by_rows()
        self.summary = joined

    def to_maps(self) -> dict[str, Any]:
        """The sums as new spt3g maps, one for each plane, stored as the input was."""
        return {name: self._to_map(name) for name in self.summary.stubs}

    def _note_storage(self, name: str, plane: Plane) -> None:
        stored = self.summary.storage
        stored[name] = fuller(stored[name], plane.storage)
        if self._shape is None and plane.stub.shift_ra:
            self.summary.stubs[name].shift_ra = True
        if plane.storage == DENSE:
            self._number_by_rows()

    def _add_plane(self, name: str, stub: Any) -> None:
        self.summary.stubs.setdefault(name, stub)
        self.summary.storage.setdefault(name, EMPTY)
        self.summary.overflow.setdefault(name, 0.0)
        shape = (len(self.blocks.rows), self._length)
        self.blocks.planes[name] = np.zeros(shape)

    def _flat(self, name: str) -> NDArray[np.float64]:
        return self.blocks.planes[name].reshape(-1)  # type: ignore[return-value]

    def _add_pixels(self, name: str, pixels: Pixels, add: np.ufunc) -> None:
        if isinstance(pixels, Dense):
            self.blocks.insert(np.arange(self.blocks.n_rows))
            whole = self._flat(name)[: self._npix]
            add(whole, pixels.values, out=whole)
        elif isinstance(pixels, Runs):
            self._add_runs(name, pixels, add)
        else:
            self._add_points(name, pixels, add)

    def _add_runs(self, name: str, runs: Runs, add: np.ufunc) -> None:
        length = np.array([len(values) for values in runs.values], np.int64)
        if not self.summary.by_rows:
            last = (runs.first + length - 1) // self._length
            self.blocks.insert(_union_of_ranges(runs.first // self._length, last))
        positions, step = self._positions(runs.first)
        flat = self._flat(name)
        # Rows are held in rising order, so a run of pixels lies in one stretch (of that step).
        for position, values in zip(positions.tolist(), runs.values, strict=True):
            stretch = flat[position : position + step * len(values) : step]
            add(stretch, values, out=stretch)

    def _add_points(self, name: str, points: Points, add: np.ufunc) -> None:
        if not self.summary.by_rows:
            self.blocks.insert(np.unique(points.pixels // self._length))
        positions, _ = self._positions(points.pixels)
        flat = self._flat(name)
        flat[positions] = add(flat[positions], points.values)

    def _positions(self, pixels: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Where pixels (by columns in a flat map) stand in a plane, and the step to the next."""
        if self.summary.by_rows and self._shape is not None:
            n_y, n_x = self._shape
            return pixels % n_y * n_x + pixels // n_y, n_x
        rows = self.blocks.locate(pixels // self._length)
        return rows * self._length + pixels % self._length, 1

    def _number_by_rows(self) -> None:
        """Go over from columns to rows of a flat map. All submaps are held from then on."""
        if self.summary.by_rows or self._shape is None:
            return
        full = self.blocks.like()
        full.insert(np.arange(full.n_rows))
        n_y, n_x = self._shape
        for name in self.blocks.planes:
            pixels, values = self._nonzero(name)
            full.planes[name].reshape(-1)[pixels % n_y * n_x + pixels // n_y] = values
        self.blocks = full
        self.summary.by_rows = True

    def _nonzero(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers and values of the pixels that are not 0 (by columns in a flat map)."""
        flat = self._flat(name)
        if self.summary.by_rows and self._shape is not None:
            flat = np.ascontiguousarray(flat[: self._npix].reshape(self._shape).T).reshape(-1)
            pixels = np.flatnonzero(flat)
            return pixels, flat[pixels]
        held = np.flatnonzero(flat)
        rows, offsets = np.divmod(held, self._length)
        return self.blocks.rows[rows] * self._length + offsets, flat[held]

    def _to_map(self, name: str) -> Any:
        stub, storage = self.summary.stubs[name].clone(False), self.summary.storage[name]
        stub.overflow = self.summary.overflow[name]
        if storage != DENSE:
            return encode(stub, storage, *self._nonzero(name))
        whole = np.asarray(stub).reshape(-1)  # this makes the stub dense, and shares its memory
        if self.blocks.complete:
            whole[:] = self._flat(name)[: self._npix]
        else:
            pixels, values = self._nonzero(name)
            whole[pixels] = values
        return stub


def submap_length(npix: int) -> int:
    """Pixels in a submap of a map of `npix` pixels.

    Short enough that the submaps of a patch are mostly full, long enough that they are few: a
    power of two from 64 to 1024, about 4096 of them where that allows.
    """
    return int(2 ** min(10, max(6, round(math.log2(npix / 4096)))))


def join(summaries: Sequence[Summary]) -> Summary:
    """The summary of the sum of several sums that agree; their order does not matter."""
    joined = Summary(
        stubs={},
        storage={},
        overflow={},
        by_rows=any(summary.by_rows for summary in summaries),
        parts=functools.reduce(operator.or_, (summary.parts for summary in summaries)),
        where=summaries[0].where,
    )
    for name in sorted({name for summary in summaries for name in summary.stubs}):
        having = [summary for summary in summaries if name in summary.stubs]
        stub = having[0].stubs[name].clone(False)
        storage = fuller(*(summary.storage[name] for summary in having))
        if not is_flat(stub):
            stub.shift_ra = any(summary.stubs[name].shift_ra for summary in having)
        joined.stubs[name], joined.storage[name] = stub, storage
        joined.overflow[name] = _sum_in_any_order([summary.overflow[name] for summary in having])
    return joined


def _sum_in_any_order(values: Sequence[float]) -> float:
    """The sum, the same in whatever order; of infinities and the like, what numpy makes of them."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        with np.errstate(invalid="ignore", over="ignore"):
            return float(np.sum(sorted(values)))


def _union_of_ranges(first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    """All numbers that are in any of the ranges ``first <= number <= last``."""
    if not len(first):
        return np.empty(0, np.int64)
    begin = int(first.min())
    change = np.zeros(int(last.max()) - begin + 2, np.int64)
    np.add.at(change, first - begin, 1)
    np.add.at(change, last - begin + 1, -1)
    return np.flatnonzero(np.cumsum(change)) + begin
